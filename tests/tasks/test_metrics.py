"""The metrics against scikit-learn, scipy and hand-made cases, and where they are degenerate."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from gluelamp.errors import InputError
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.metrics import compute_metrics
from gluelamp.tasks.predictions import predictions_from_outputs
from gluelamp.tasks.task import Task


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("network used")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def _random_case(task: Task, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that agree with about half of the labels."""
    generator = np.random.default_rng(7)
    if task.is_regression:
        labels = generator.uniform(0, 5, n)
        return (labels + generator.normal(0, 2, n)).astype(np.float32), labels
    labels = generator.integers(0, task.num_outputs, n)
    noise = generator.integers(0, task.num_outputs, n)
    return np.where(generator.random(n) < 0.3, labels, noise), labels


def _reference(name: str, predictions: np.ndarray, labels: np.ndarray) -> float:
    match name:
        case "accuracy":
            return sk.accuracy_score(labels, predictions)
        case "f1":
            return sk.f1_score(labels, predictions, pos_label=1, average="binary")
        case "matthews_correlation":
            return sk.matthews_corrcoef(labels, predictions)
        case "pearson":
            return np.corrcoef(predictions.astype(np.float64), labels)[0, 1]
        case "spearman":
            return np.corrcoef(stats.rankdata(predictions), stats.rankdata(labels))[0, 1]
    raise AssertionError(name)


@pytest.mark.parametrize("name", GLUE)
def test_every_glue_task_gets_its_metrics_as_the_reference_libraries_compute_them(name: str) -> None:
    task = GLUE[name]
    predictions, labels = _random_case(task)
    result = compute_metrics(task, predictions, labels)
    assert tuple(result) == task.metrics
    for metric, value in result.items():
        assert type(value) is float
        # numpy's correlation sums in another order than scipy's
        assert value == pytest.approx(_reference(metric, predictions, labels), rel=1e-12)


def test_glue_tasks_have_the_metrics_of_the_benchmark() -> None:
    assert {name: task.metrics for name, task in GLUE.items()} == {
        "cola": ("matthews_correlation",),
        "ax": ("matthews_correlation",),
        "mrpc": ("accuracy", "f1"),
        "qqp": ("accuracy", "f1"),
        "stsb": ("pearson", "spearman"),
        **dict.fromkeys(("sst2", "mnli", "qnli", "rte", "wnli"), ("accuracy",)),
    }


def test_hidden_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"2 of 3 labels of task 'rte' are hidden"):
        compute_metrics(GLUE["rte"], np.array([0, 1, 1]), np.array([-1, 1, -1]))


@pytest.mark.parametrize("shapes", [((3,), (2,)), ((3, 1), (3, 1)), ((0,), (0,))])
def test_predictions_that_do_not_match_the_labels_are_refused(
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compute_metrics(GLUE["rte"], *(np.zeros(shape, dtype=np.int64) for shape in shapes))


RIGHT_AND_WRONG = [1, 1, 1, 0, 0], [1, 1, 0, 1, 0]  # 2 true positives, 1 false, 1 missed, 1 true negative
ONES, ZEROS = [1, 1, 1, 1], [0, 0, 0]
LINE, SQUARE = [0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 4.0, 9.0]


@pytest.mark.parametrize(
    ("name", "predictions", "labels", "expected"),
    [
        ("mrpc", *RIGHT_AND_WRONG, {"accuracy": 3 / 5, "f1": 4 / 6}),
        ("cola", *RIGHT_AND_WRONG, {"matthews_correlation": (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2)}),
        ("stsb", SQUARE, LINE, {"pearson": 15 / math.sqrt(5 * 49), "spearman": 1.0}),
        # undefined where one side is constant
        ("cola", ONES, [0, 1, 1, 0], {"matthews_correlation": 0.0}),
        ("mrpc", ZEROS, ZEROS, {"accuracy": 1.0, "f1": 0.0}),
        ("stsb", [2.5] * 4, LINE, {"pearson": 0.0, "spearman": 0.0}),
        ("stsb", LINE, [2.5] * 4, {"pearson": 0.0, "spearman": 0.0}),
    ],
)
def test_cases_counted_by_hand(
    name: str, predictions: list[float], labels: list[float], expected: dict[str, float]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compute_metrics(GLUE[name], np.array(predictions), np.array(labels))
    assert result == pytest.approx(expected, rel=1e-15)


def test_values_that_are_not_finite_are_counted_in_the_error() -> None:
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="for 2 of 3 examples of task 'stsb' are not finite"):
            compute_metrics(GLUE["stsb"], np.array([bad, 1.0, bad]), np.array([1.0, 2.0, 3.0]))
    outputs = np.array([[0.0, np.nan], [1.0, 2.0], [np.nan, np.nan]])
    with pytest.raises(InputError, match="for 2 of 3 examples of task 'cola' are not finite"):
        predictions_from_outputs(GLUE["cola"], outputs)


def test_predictions_are_the_largest_outputs_or_the_single_column() -> None:
    outputs = np.array([[0.1, 0.3, 0.2], [-1.0, -3.0, -2.0], [0.0, 1.0, 9.0]], dtype=np.float32)
    classes = predictions_from_outputs(GLUE["mnli"], outputs)
    numbers = predictions_from_outputs(GLUE["stsb"], np.array([[5.5], [-0.25]]))
    assert (classes.tolist(), classes.dtype) == ([1, 0, 2], np.int64)
    assert (numbers.tolist(), numbers.dtype) == ([5.5, -0.25], np.float64)  # not clipped


@pytest.mark.parametrize(("task", "shape"), [("mnli", (4, 2)), ("stsb", (4,))])
def test_outputs_of_another_shape_are_refused(task: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"task '{task}' have shape .*expected \(n, "):
        predictions_from_outputs(GLUE[task], np.zeros(shape))


def test_evaluate_is_imported_only_when_a_metric_is_computed() -> None:
    light = "import sys, gluelamp.tasks.metrics; print({'evaluate', 'datasets', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_module_can_also_be_loaded_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    from gluelamp.tasks import glue_metrics

    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", tmp_path / "modules")
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = evaluate.load(
        str(glue_metrics.__file__), "classification", cache_dir=str(tmp_path), keep_in_memory=True
    )
    # two batches: 2 of 3 labels are right
    module.add_batch(predictions=[[0, 1]], references=[[0, 1]])
    module.add_batch(predictions=[[1]], references=[[0]])
    assert module.compute(metrics=["accuracy"]) == {"accuracy": pytest.approx(2 / 3, rel=1e-15)}
