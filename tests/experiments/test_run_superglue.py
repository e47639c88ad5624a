"""Runs on SuperGLUE: every method on a task of groups and on one of spans; scores from predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.helpers import run_folder
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.reporting.results import Results
from methods.rows import ROWS

TinyRun = Callable[..., RunConfig]
# The options of each method's first row; the budget of SPT's row is for another size of model.
METHODS = {row.config: row.overrides for row in reversed(ROWS) if "bert" in row.on}
METHODS |= {"spt_adapter": ("density=0.03", "rank=4"), "spt_lora": ("density=0.03", "rank=4")}
BOTH = ["copa", "wsc"]
NOUNS = ("station", "museum", "library", "castle", "mayor", "painter")


@pytest.fixture(scope="module")
def superglue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with few made-up rows of COPA, MultiRC and WSC in the official format."""
    root = tmp_path_factory.mktemp("superglue")
    rng = np.random.default_rng(0)
    for split, rows in (("train", 16), ("val", 8), ("test", 4)):
        nouns = [rng.permutation(NOUNS) for _ in range(rows)]
        labels = [{"label": int(rng.integers(2))} if split != "test" else {} for _ in range(rows)]
        copa = [
            {"premise": f"the {a} was sold", "choice1": f"the {b} was near", "choice2": f"the {c} was not"}
            | {"question": "cause", "idx": idx, **label}
            for idx, ((a, b, c, *_), label) in enumerate(zip(nouns, labels, strict=True))
        ]
        wsc = [
            {"text": f"the {a} was near the {b} and it was sold", "idx": idx, **label}
            | {"target": {"span1_text": b, "span1_index": 5, "span2_text": "it", "span2_index": 7}}
            for idx, ((a, b, *_), label) in enumerate(zip(nouns, labels, strict=True))
        ]
        multirc = [
            {"idx": idx, "passage": {"text": f"the {a} was near the {b}", "questions": [
                {"idx": idx, "question": "what was near?", "answers": [
                    {"idx": 3 * idx + number, "text": text, **label}
                    for number, text in enumerate((a, b, c))]}]}}
            for idx, ((a, b, c, *_), label) in enumerate(zip(nouns, labels, strict=True))
        ]  # fmt: skip
        for folder, records in (("COPA", copa), ("WSC", wsc), ("MultiRC", multirc)):
            path = root / folder / f"{split}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return root


@pytest.fixture
def superglue_run(tiny_run: TinyRun, superglue: Path) -> TinyRun:
    local = ("data=local", f"data.root={superglue}", "trainer.epochs=1")
    return lambda *overrides: tiny_run(*local, *overrides)


# One run on both tasks, except for methods that refuse mixtures
@pytest.mark.parametrize(
    ("method", "tasks"),
    [(name, [task]) for name in ("adamix", "dyt") for task in BOTH]
    + [(name, BOTH) for name in METHODS if name not in ("adamix", "dyt")],
)
def test_every_method_runs_on_groups_and_on_spans(
    superglue_run: TinyRun, method: str, tasks: list[str]
) -> None:
    options = [f"method.{override}" for override in METHODS[method]]
    task = ["task=mixture", f"task.members=[{','.join(tasks)}]"] if len(tasks) > 1 else [f"task={tasks[0]}"]
    record = execute(superglue_run(f"method={method}", *task, *options))
    assert record.status == "complete"
    scored = [f"{name}.accuracy" for name in tasks] if len(tasks) > 1 else ["accuracy"]
    for metrics in record.metrics.values():
        assert all(0 <= metrics[name] <= 1 for name in scored)


def test_the_scores_of_groups_can_be_computed_again_from_the_predictions(
    superglue_run: TinyRun, tmp_path: Path
) -> None:
    config = superglue_run("method=bitfit", "task=multirc", "trainer.epochs=2")
    record = execute(config)
    rows = pd.read_parquet(run_folder(config) / "predictions.parquet")
    for selection, part in rows.groupby("selection"):
        assert len(part) == 24
        right = (part["output_1"] > part["output_0"]) == (part["label"] == 1)
        exact = np.mean([right[part["group"] == group].all() for group in set(part["group"])])
        assert record.metrics[selection]["exact_match"] == pytest.approx(exact)
    results = Results(Path(config.results.root), tmp_path / "published")
    scores = results.accuracy.set_index(["metric", "selection"])
    for metric in ("f1", "exact_match"):
        row = scores.loc[(metric, "held_out")]
        assert row["predictions"].scores == pytest.approx([row["mean"]])
        assert row["low"] <= row["mean"] <= row["high"]


def test_copa_is_scored_by_the_better_choice_of_each_question(superglue_run: TinyRun) -> None:
    config = superglue_run("method=bitfit", "task=copa")
    record = execute(config)
    rows = pd.read_parquet(run_folder(config) / "predictions.parquet").query("selection == 'last'")
    scores = (rows["output_1"] - rows["output_0"]).to_numpy().reshape(8, 2)
    labels = rows["label"].to_numpy().reshape(8, 2)
    assert record.metrics["last"]["accuracy"] == pytest.approx(
        (scores.argmax(axis=1) == labels.argmax(axis=1)).mean()
    )


def test_a_mixture_keeps_the_groups_of_its_members(superglue_run: TinyRun) -> None:
    config = superglue_run("method=bitfit", "task=mixture", "task.members=[copa,wsc,multirc]")
    record = execute(config)
    names = {"copa.accuracy", "wsc.accuracy", "multirc.f1", "multirc.exact_match", "average", "epoch"}
    assert set(record.metrics["held_out"]) == names
    rows = pd.read_parquet(run_folder(config) / "predictions.parquet").query("selection == 'last'")
    copa = rows[rows["split"] == "copa.validation"]
    assert copa.groupby("group").size().tolist() == [2] * 8
    assert rows[rows["split"] == "wsc.validation"]["group"].isna().all()
    # the columns of copa are the first two of the mixture
    best = (copa["output_1"] - copa["output_0"]).groupby(copa["group"]).idxmax()
    assert record.metrics["last"]["copa.accuracy"] == pytest.approx(copa.loc[best, "label"].mean())


@pytest.mark.parametrize("option", ["task.max_train_examples=9", "task.validation_from_train=9"])
def test_rows_are_sampled_in_whole_questions(superglue_run: TinyRun, option: str) -> None:
    plan = plan_run(superglue_run("method=bitfit", "task=multirc", "task.max_train_examples=null", option))
    (data,) = plan.data
    train = plan.training_rows(data)
    validation = data.splits["validation"]
    assert set(train.groupby("group").size()) == set(validation.groupby("group").size()) == {3}
    if "max" in option:
        assert len(train) == 9
    else:
        assert (len(train), len(validation)) == (48 - 9, 9)
        assert not set(train["group"]) & set(validation["group"])
