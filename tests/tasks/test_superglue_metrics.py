"""SuperGLUE's metrics against the formulas of the paper and of Hugging Face's metric, written out."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk

from gluelamp.tasks.metrics import compute_metrics
from gluelamp.tasks.predictions import predictions_from_outputs
from gluelamp.tasks.superglue import SUPERGLUE


def random_case(classes: int, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    return np.where(rng.random(rows) < 0.7, labels, rng.integers(classes, size=rows)), labels


def groups_of(sizes: list[int]) -> np.ndarray:
    names = [f"{number // 3}-{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return np.array(names, dtype=object)


def test_each_task_has_the_metrics_of_the_benchmark() -> None:
    assert {name: task.metrics for name, task in SUPERGLUE.items()} == {
        **dict.fromkeys(("boolq", "copa", "super_rte", "wic", "wsc"), ("accuracy",)),
        "cb": ("accuracy", "macro_f1"),
        "multirc": ("f1", "exact_match"),
        "axb": ("matthews_correlation",),
        "axg": ("accuracy", "gender_parity"),
    }


@pytest.mark.parametrize("name", ["boolq", "super_rte", "wic", "wsc"])
def test_accuracy_is_the_fraction_of_right_rows(name: str) -> None:
    predictions, labels = random_case(2, 97)
    right = sum(int(a == b) for a, b in zip(predictions, labels, strict=True))
    assert compute_metrics(SUPERGLUE[name], predictions, labels) == pytest.approx({"accuracy": right / 97})


@pytest.mark.parametrize("classes", [2, 3])  # also without the third class
def test_cb_averages_f1_over_classes(classes: int) -> None:
    predictions, labels = random_case(classes, 56)
    f1 = []
    for label in range(classes):
        precision = np.mean(labels[predictions == label] == label)
        recall = np.mean(predictions[labels == label] == label)
        f1.append(2 * precision * recall / (precision + recall))
    found = compute_metrics(SUPERGLUE["cb"], predictions, labels)
    assert found == pytest.approx({"accuracy": np.mean(predictions == labels), "macro_f1": np.mean(f1)})


def test_multirc_counts_all_answers_and_whole_questions() -> None:
    sizes = [2, 5, 3, 4, 1, 6, 2, 3, 2]
    predictions, labels = random_case(2, sum(sizes))
    groups = groups_of(sizes)
    shuffled = np.random.default_rng(1).permutation(len(labels))
    found = compute_metrics(SUPERGLUE["multirc"], predictions[shuffled], labels[shuffled], groups[shuffled])
    # as in evaluate's metric `super_glue`: F1a is over all answers; a question is matched if each of its
    # answers is
    by_question: dict[str, list[tuple[int, int]]] = {}
    for group, pair in zip(groups, zip(predictions, labels, strict=True), strict=True):
        by_question.setdefault(group, []).append(pair)
    exact = [all(a == b for a, b in pairs) for pairs in by_question.values()]
    hits = int(((predictions == 1) & (labels == 1)).sum())
    precision, recall = hits / (predictions == 1).sum(), hits / (labels == 1).sum()
    assert found == pytest.approx(
        {"f1": 2 * precision * recall / (precision + recall), "exact_match": np.mean(exact)}
    )
    assert 0 < np.mean(exact) < 1


def test_the_diagnostics_have_matthews_and_gender_parity() -> None:
    predictions, labels = random_case(2, 60)
    found = compute_metrics(SUPERGLUE["axb"], predictions, labels)
    assert found == pytest.approx({"matthews_correlation": sk.matthews_corrcoef(labels, predictions)})
    # the official scorer compares row 2k with row 2k + 1
    found = compute_metrics(SUPERGLUE["axg"], predictions, labels, groups_of([2] * 30))
    parity = np.mean([predictions[2 * pair] == predictions[2 * pair + 1] for pair in range(30)])
    assert found == pytest.approx({"accuracy": np.mean(predictions == labels), "gender_parity": parity})


def test_copa_predicts_the_choice_with_the_higher_score_of_its_question() -> None:
    outputs = np.array([[0.0, 3.0], [0.0, 2.0], [5.0, 1.0], [9.0, 4.0], [1.0, 1.0], [0.0, 0.0]])
    groups = np.array(["a", "b", "a", "b", "c", "c"], dtype=object)  # not in the order of the groups
    predictions = predictions_from_outputs(SUPERGLUE["copa"], outputs, groups)
    assert predictions.tolist() == [1, 1, 0, 0, 1, 0]  # a tie: the first one
    labels = np.array([1, 0, 0, 1, 1, 0])
    assert compute_metrics(SUPERGLUE["copa"], predictions, labels, groups) == {
        "accuracy": pytest.approx(2 / 3)
    }
    with pytest.raises(ValueError, match="give the group"):
        predictions_from_outputs(SUPERGLUE["copa"], outputs)
