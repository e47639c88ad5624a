"""Tasks on a user's own rows: file formats, kinds of labels, the sampled validation rows, and wrong files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from gluelamp.errors import InputError
from gluelamp.experiments.config import parse_task
from gluelamp.tasks.config import CustomTaskConfig, DataConfig
from gluelamp.tasks.custom import read_custom
from gluelamp.tasks.inspection import label_counts, text_warnings
from gluelamp.tasks.metrics import compute_metrics
from gluelamp.tasks.task import TaskData

ROWS = [(f'text {number}, "quoted"', ("neg", "pos", "mixed")[number % 3]) for number in range(30)]


def frame(rows: list[tuple[Any, ...]] = ROWS, columns: tuple[str, ...] = ("text", "label")) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))


def write(path: Path, rows: pd.DataFrame) -> str:
    """Write rows in the format of the file's name, by other means than the suite reads them."""
    if path.suffix == ".csv":
        rows.to_csv(path, index=False)
    elif path.suffix == ".tsv":
        lines = ["\t".join(map(str, row)) for row in [tuple(rows), *rows.itertuples(index=False)]]
        path.write_text("\n".join(lines), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows.to_dict("records"))), encoding="utf-8")
    else:
        rows.to_parquet(path)
    return str(path)


def read(**options: Any) -> TaskData:
    config = parse_task(options)
    assert isinstance(config, CustomTaskConfig)
    return read_custom(config, DataConfig())


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., str]:
    return lambda rows=ROWS, name="reviews.csv", **kwargs: write(tmp_path / name, frame(rows, **kwargs))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_all_formats_give_the_same_task_and_fingerprint(train: Callable[..., str], suffix: str) -> None:
    data = read(train=train(name=f"reviews.{suffix}"))
    assert (data.task.name, data.task.labels) == ("reviews", ("mixed", "neg", "pos"))
    assert data.source == "custom"
    rows = pd.concat([data.splits["train"], data.splits["validation"]]).sort_values("idx")
    assert rows["text"].tolist() == [text for text, _ in ROWS]
    assert [data.task.labels[label] for label in rows["label"]] == [label for _, label in ROWS]
    assert data.fingerprint == read(train=train()).fingerprint


def test_the_sampled_validation_rows_have_a_fifth_of_each_class_and_no_text_of_a_training_row(
    train: Callable[..., str],
) -> None:
    data = read(train=train([*ROWS, *ROWS]))
    counts = {name: rows["label"].value_counts().to_dict() for name, rows in data.splits.items()}
    assert counts == {"train": dict.fromkeys(range(3), 16), "validation": dict.fromkeys(range(3), 4)}
    assert not set(data.splits["train"]["text"]) & set(data.splits["validation"]["text"])
    assert data.declaration is not None
    assert data.declaration.validation_fraction == 0.2


def test_numbers_are_classes_in_the_order_of_their_values(train: Callable[..., str], tmp_path: Path) -> None:
    labels = [10, 9, 2]
    rows = [(f"text {number}", labels[number % 3]) for number in range(9)]
    validation = write(tmp_path / "dev.csv", frame([("other", "9"), ("another", "10.0")][:1]))
    data = read(train=train(rows, name="a.jsonl"), validation=validation)
    assert data.task.labels == ("2", "9", "10")
    assert data.splits["validation"]["label"].tolist() == [1]
    assert data.declaration is not None
    assert data.declaration.validation_fraction is None


@pytest.mark.parametrize(
    ("labels", "kind", "expected"),
    [
        ([0.5, 1.5, 2.0], "auto", "regression"),
        (list(range(21)), "auto", "regression"),
        (list(range(20)), "auto", "classification"),
        ([1, 2, 3], "regression", "regression"),
        ([0.5, 1.5], "classification", "classification"),
    ],
)
def test_the_kind_of_the_labels(
    train: Callable[..., str], labels: list[float], kind: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(f"text {number}", labels[number % len(labels)]) for number in range(60)]
    with caplog.at_level(logging.INFO):
        data = read(train=train(rows, name="a.parquet"), kind=kind)
    assert data.task.kind == expected
    assert (f"a {expected} " in caplog.text) == (kind == "auto")
    if expected == "regression":
        assert data.task.label_range == (min(labels), max(labels))


def test_negative_numbers_are_scored_and_an_error_is_better_if_lower(train: Callable[..., str]) -> None:
    rows = [(f"text {number}", number / 4 - 3) for number in range(30)]
    task = read(train=train(rows), metrics=["mae", "rmse", "pearson"]).task
    assert (task.main_metric, task.lower_is_better) == ("mae", True)
    labels = np.array([-3.0, -1.0, 0.5, 2.0])
    predictions = labels + np.array([0.5, -0.5, 1.0, 0.0])
    scores = compute_metrics(task, predictions, labels)
    expected = {"mae": 0.5, "rmse": np.sqrt(1.5 / 4), "pearson": pearsonr(labels, predictions)[0]}
    assert scores == pytest.approx(expected)


def test_pairs_of_texts_and_metrics_by_choice(train: Callable[..., str]) -> None:
    rows = [(f"left {number}", f"right {number}", number % 2) for number in range(20)]
    data = read(
        train=train(rows, columns=("a", "b", "same")),
        text=["a", "b"],
        label="same",
        metrics=["matthews_correlation", "f1"],
    )
    assert data.task.text_columns == ("a", "b")
    assert data.task.metrics == ("matthews_correlation", "f1")
    assert compute_metrics(data.task, np.array([1, 1, 0]), np.array([1, 0, 0])) == pytest.approx(
        {"matthews_correlation": 0.5, "f1": 2 / 3}
    )


def test_the_test_rows_need_no_labels_and_do_not_change_the_fingerprint(
    train: Callable[..., str], tmp_path: Path
) -> None:
    test = write(tmp_path / "new.csv", frame([("unseen", "x")], columns=("text", "other")))
    with_test, without = read(train=train(), test=test), read(train=train())
    assert with_test.splits["test"]["label"].tolist() == [-1]
    assert with_test.fingerprint == without.fingerprint


def test_users_have_a_fifth_of_their_own_rows_to_validate(train: Callable[..., str]) -> None:
    rows = [(f"text {number}", number % 2, 7 + number % 3) for number in range(30)]
    data = read(train=train(rows, name="a.jsonl", columns=("text", "label", "who")), user="who")
    assert data.task.user_column == "who"
    assert data.splits["validation"]["who"].value_counts().to_dict() == {"7": 2, "8": 2, "9": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("body,label\na,1\n", r"reviews.csv has no column 'text'. Its columns are: body, label. Name yours"),
        ("texts,label\na,1\n", r"no column 'text' \(nearest: 'texts'\)"),
        ("text,label\na,1\nb,2,3\n", r"reviews.csv, line 3 has 3 fields where the file has 2 columns"),
        ('text,label\n"a"b,1\n', r"reviews.csv, line 2 is not valid CSV"),
        ("text,label\na,1\nb,\n", r"reviews.csv, line 3: 'label' is empty"),
        ("text,label\n" + "".join(f"{n},1\n" for n in range(20)), r"reviews.csv has one class only, '1'"),
        ("text,label\n", r"reviews.csv has no rows"),
        ("text,label\na,1\nb,2\n", r"validation_fraction=0.2 of the 2 rows of .* fewer than two rows"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read(train=str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["acuracy"]}, r"'acuracy' is unknown; did you mean 'accuracy'"),
        ({"metrics": ["f1"]}, r"f1 is of two classes, and there are 3"),
        ({"kind": "regression"}, r"reviews.csv, line \d+: label '\w+' is not a number"),
        ({"text": ["text", "label"]}, r"must be different columns"),
        ({"name": "cola"}, r"task.name='cola' is not allowed"),
        ({"validation": "none.csv"}, r"none.csv does not exist"),
        ({"validation": "rows.xlsx"}, r"task.validation='rows.xlsx' is not allowed: .*\.parquet"),
        (
            {"validation": "org/name:dev"},
            r"org/name:dev cannot be read: .*hub did not answer.*Save the split as a Parquet",
        ),
    ],
)
def test_a_wrong_option_is_refused(train: Callable[..., str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(train=train(), **options)


def test_a_label_that_no_training_row_has_is_refused(train: Callable[..., str], tmp_path: Path) -> None:
    validation = write(tmp_path / "dev.csv", frame([("a", "neg"), ("b", "great")]))
    message = r"dev.csv, line 3: label 'great' does not occur in the training rows, whose labels are mixed"
    with pytest.raises(InputError, match=message):
        read(train=train(), validation=validation)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("reviews/train.tsv", "reviews"),
        ("data/my reviews.csv", "my_reviews"),
        ("org/imdb:train", "imdb"),
    ],
)
def test_a_task_has_the_name_of_its_file(place: str, name: str) -> None:
    assert parse_task({"train": place}).name == name


def test_repeated_conflicting_and_empty_texts_are_counted(train: Callable[..., str]) -> None:
    task = read(train=train()).task
    rows = frame([("a", 0), ("a", 1), ("b", 0), ("b", 0), ("c", 2)])
    scored = frame([("a", 0), ("b", 1), ("d", 0), (" ", 0)])
    repeated, known, empty = text_warnings(task, rows, scored)
    assert repeated.startswith("2 training rows repeat an earlier text; 1 texts have different labels")
    assert known.startswith("2 of 4 validation rows have the text of a training row, 1 of them with another")
    assert empty == "1 of 9 rows have an empty text"
    assert label_counts(task, "train", rows) == "train: 5 rows: mixed 3 (60%), neg 1 (20%), pos 1 (20%)"
