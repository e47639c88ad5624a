"""Cross-fitted (2-fold) epoch selection: scores on rows that did not select their evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, matthews_corrcoef

from gluelamp.errors import InputError
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.halves import in_first_half
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.training.held_out import HeldOut


def split_of(labels: np.ndarray, groups: np.ndarray | None = None) -> EncodedSplit:
    rows = np.arange(len(labels))
    return EncodedSplit(
        rows.astype(np.int32), None, np.arange(len(labels) + 1), labels, rows, 0, groups=groups
    )


def random_outputs(rows: int, evaluations: int, seed: int) -> list[np.ndarray]:
    values = np.random.default_rng(seed).normal(size=(evaluations, rows, 2))
    return list(values.astype(np.float32))


@pytest.mark.parametrize("rows", [2, 3, 101, 1043])
def test_the_halves_divide_the_rows_evenly_and_stay_the_same(rows: int) -> None:
    first = in_first_half(rows)
    assert first.sum() == (rows + 1) // 2
    np.testing.assert_array_equal(first, in_first_half(rows))
    assert rows < 100 or abs(np.corrcoef(first, np.arange(rows))[0, 1]) < 0.2  # not by order


@pytest.mark.parametrize("seed", range(3))
def test_each_half_is_scored_at_the_evaluation_that_the_other_half_selects(seed: int) -> None:
    labels = np.random.default_rng(100 + seed).integers(2, size=61)
    outputs = random_outputs(61, 6, seed)
    held_out = HeldOut(GLUE["cola"], {"validation": split_of(labels)})
    for number, values in enumerate(outputs):
        held_out.update(number, {"validation": values})

    first = in_first_half(61)
    predictions = [values.argmax(axis=1) for values in outputs]
    chosen = [
        int(np.argmax([matthews_corrcoef(labels[half], predicted[half]) for predicted in predictions]))
        for half in (first, ~first)
    ]
    assert held_out.numbers == tuple(chosen)
    expected = np.where(first, predictions[chosen[1]], predictions[chosen[0]])
    np.testing.assert_array_equal(held_out.outputs["validation"].argmax(axis=1), expected)
    score = matthews_corrcoef(labels, expected)
    assert held_out.metrics == pytest.approx({"matthews_correlation": score})


def test_selection_among_noise_biases_the_best_score_and_not_the_held_out_score() -> None:
    best, crossed = [], []
    for seed in range(10):
        labels = np.random.default_rng(1000 + seed).integers(2, size=200)
        outputs = random_outputs(200, 10, seed)
        held_out = HeldOut(GLUE["rte"], {"validation": split_of(labels)})
        for number, values in enumerate(outputs):
            held_out.update(number, {"validation": values})
        best.append(max(accuracy_score(labels, values.argmax(axis=1)) for values in outputs))
        crossed.append(held_out.metrics["accuracy"])
    standard_error = np.sqrt(0.25 / 200 / 10)
    assert abs(np.mean(crossed) - 0.5) < 3 * standard_error
    assert np.mean(best) - 0.5 > 3 * standard_error  # expected: 4.9, the mean maximum of ten


def test_of_equal_evaluations_the_first_is_selected() -> None:
    labels = np.array([0, 1, 0, 1])
    held_out = HeldOut(GLUE["rte"], {"validation": split_of(labels)})
    for number, scale in enumerate((1.0, 2.0, 3.0)):
        held_out.update(number, {"validation": scale * np.eye(2, dtype=np.float32)[labels]})
    assert held_out.numbers == (0, 0)


def test_the_first_split_selects_for_the_second_one_too() -> None:
    labels = np.arange(30) % 3
    held_out = HeldOut(
        GLUE["mnli"],
        {"validation_matched": split_of(labels), "validation_mismatched": split_of(labels[:20])},
    )
    good, bad = np.eye(3, dtype=np.float32)[labels], np.eye(3, dtype=np.float32)[(labels + 1) % 3]
    held_out.update(0, {"validation_matched": bad, "validation_mismatched": good[:20]})
    held_out.update(1, {"validation_matched": good, "validation_mismatched": bad[:20]})
    assert held_out.metrics == {"accuracy": 1.0, "accuracy_mismatched": 0.0}


def test_a_resumed_run_continues_with_the_selected_evaluations() -> None:
    labels = np.random.default_rng(7).integers(2, size=40)
    outputs = random_outputs(40, 4, 7)
    whole, killed, resumed = (HeldOut(GLUE["cola"], {"validation": split_of(labels)}) for _ in range(3))
    for number, values in enumerate(outputs):
        whole.update(number, {"validation": values})
        (killed if number < 2 else resumed).update(number, {"validation": values})
        if number == 1:
            resumed.load_state_dict(killed.state_dict())
    assert resumed.numbers == whole.numbers
    np.testing.assert_array_equal(resumed.outputs["validation"], whole.outputs["validation"])


def test_a_split_of_one_row_has_no_halves_and_is_refused() -> None:
    with pytest.raises(InputError, match=r"Split 'validation' has 1 rows.*two rows or more"):
        HeldOut(GLUE["rte"], {"validation": split_of(np.array([1]))})


def test_a_group_is_in_one_half_and_is_selected_as_a_whole() -> None:
    groups = np.repeat([f"question {number}" for number in range(31)], 2).astype(object)
    shuffled = np.random.default_rng(0).permutation(62)
    labels, groups = np.tile([0, 1], 31)[shuffled], groups[shuffled]
    split = split_of(labels, groups)
    first = in_first_half(len(split), split.groups)
    assert not set(groups[first]) & set(groups[~first])
    assert first.sum() == 2 * 16  # of 31 groups

    outputs = random_outputs(62, 5, 1)
    held_out = HeldOut(SUPERGLUE["copa"], {"validation": split})
    for number, values in enumerate(outputs):
        held_out.update(number, {"validation": values})

    def questions_right(values: np.ndarray, half: np.ndarray) -> float:
        scores = values[:, 1] - values[:, 0]
        right = []
        for group in sorted(set(groups[half])):
            rows = np.flatnonzero(groups == group)
            right.append(labels[rows[scores[rows].argmax()]])
        return float(np.mean(right))

    chosen = tuple(
        int(np.argmax([questions_right(values, half) for values in outputs])) for half in (first, ~first)
    )
    assert held_out.numbers == chosen
    expected = (
        16 * questions_right(outputs[chosen[1]], first) + 15 * questions_right(outputs[chosen[0]], ~first)
    ) / 31
    assert held_out.metrics == pytest.approx({"accuracy": expected})


def test_one_group_cannot_be_divided() -> None:
    split = split_of(np.array([1, 0]), np.array(["a", "a"], dtype=object))
    with pytest.raises(InputError, match=r"'validation' has 1 groups.*needs two groups"):
        HeldOut(SUPERGLUE["copa"], {"validation": split})
