"""The accuracy table: what is grouped, what is never mixed, what the page says."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gluelamp.records import RunRecord, find_records, find_runs
from gluelamp.reporting import write_tables
from gluelamp.reporting.accuracy_page import accuracy_page
from gluelamp.reporting.aggregation import ACCURACY_COLUMNS, summarise
from gluelamp.reporting.published import COLUMNS, read_published

AddRecord = Callable[..., RunRecord]
AddPredictions = Callable[..., Path]

LABELS = np.arange(200) % 2


def summary(root: Path) -> pd.DataFrame:
    complete = [run for run in find_runs(root) if run[1].status == "complete"]
    return summarise(complete, read_published(root / "published") if (root / "published").exists() else {})


def table(root: Path) -> pd.DataFrame:
    return summary(root)[ACCURACY_COLUMNS]


def page(root: Path) -> str:
    return accuracy_page(summary(root), [one for one in find_records(root) if one.status == "failed"])


def right_on(share: float) -> np.ndarray:
    """Return predictions that are right on a share of the rows, the same easy ones first."""
    return np.where(np.arange(len(LABELS)) < share * len(LABELS), LABELS, 1 - LABELS)


def section(root: Path, title: str) -> list[str]:
    """Return the lines of a section of the page that are not empty."""
    (found,) = [part for part in page(root).split("\n#")[1:] if part.lstrip("# ").startswith(title)]
    return [line for line in found.splitlines()[1:] if line]


def test_seeds_of_one_configuration_make_one_row_per_metric_and_selection(
    tmp_path: Path, add_record: AddRecord
) -> None:
    scores = [0.61, 0.63, 0.68]
    for seed, score in enumerate(scores):
        add_record("pafi", "mrpc", score, seed)
    rows = table(tmp_path)
    assert ",".join(rows.columns) == (
        "data,backbone,method,task,metric,mean,median,std,low,high,seeds,epochs,selection,published"
    )
    keys = list(zip(rows["metric"], rows["selection"], strict=True))
    metrics = ("accuracy", "f1")
    assert keys == [(metric, selection) for metric in metrics for selection in ("best", "last")]
    best = rows.iloc[0]
    assert best["mean"] == pytest.approx(statistics.mean(scores), abs=1e-6)
    assert best["median"] == pytest.approx(statistics.median(scores), abs=1e-6)
    assert best["std"] == pytest.approx(statistics.stdev(scores), abs=1e-6)
    assert (best["seeds"], best["epochs"]) == (3, 3)
    assert rows.loc[1, "mean"] == pytest.approx(statistics.mean(scores) - 0.01, abs=1e-6)


def test_one_seed_has_no_deviation(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "cola", 0.5)
    assert table(tmp_path)["std"].isna().all()
    assert "| pafi | 50.00 |" in page(tmp_path)
    assert "one seed" in page(tmp_path)


def test_a_seed_without_a_score_is_not_averaged_away(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "stsb", 0.9, seed=1)
    add_record("pafi", "stsb", None, seed=2)
    assert table(tmp_path)["mean"].isna().all()
    assert "| pafi | n/a (2) |" in page(tmp_path)


def test_variants_are_named_by_the_settings_in_which_they_differ(
    tmp_path: Path, add_record: AddRecord
) -> None:
    for seed in (1, 2):
        add_record("pafi", options={"density": 0.005, "order": "smallest"}, seed=seed)
        add_record("pafi", options={"density": 0.01, "order": "smallest"}, seed=seed)
    add_record("bitfit", epochs=3)
    add_record("bitfit", epochs=10)
    add_record("hiwi", options={"bottleneck": 4})
    rows = table(tmp_path)
    assert list(rows["method"].unique()) == [
        "bitfit [trainer.epochs=10]",
        "bitfit [trainer.epochs=3]",
        "hiwi",
        "pafi [density=0.005]",
        "pafi [density=0.01]",
    ]
    assert set(rows.loc[rows["method"].str.startswith("pafi"), "seeds"]) == {2}


def test_rows_that_differ_between_tasks_do_not_make_variants(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "cola", fingerprint="a" * 64)
    add_record("pafi", "mnli", fingerprint="b" * 64)
    assert set(table(tmp_path)["method"]) == {"pafi"}
    add_record("pafi", "mnli", fingerprint="c" * 64)
    labels = table(tmp_path).groupby("task")["method"].unique().map(list).to_dict()
    assert labels["cola"] == ["pafi"]
    assert labels["mnli"] == ["pafi [data.fingerprint=bbbbbbbb]", "pafi [data.fingerprint=cccccccc]"]


def test_a_run_on_other_rows_or_for_longer_than_most_says_so(tmp_path: Path, add_record: AddRecord) -> None:
    for method in ("bitfit", "hiwi", "lora"):
        add_record(method, "cola", fingerprint="a" * 64)
    add_record("full", "cola", fingerprint="b" * 64)
    add_record("pafi", "cola", fingerprint="a" * 64, epochs=50)
    assert list(table(tmp_path)["method"].unique()) == [
        *("bitfit", "full [data.fingerprint=bbbbbbbb]", "hiwi", "lora", "pafi [trainer.epochs=50]")
    ]


def test_another_setting_on_one_task_is_a_row_of_its_own(tmp_path: Path, add_record: AddRecord) -> None:
    for task in ("cola", "rte"):
        add_record("full", task, 0.5, options={"rank": 1})
        add_record("pafi", task, 0.4)
    add_record("full", "rte", 0.9, options={"rank": 2})
    assert section(tmp_path, "local data, minilm_l6, best epoch")[2:5] == [
        "| full [rank=1] | 50.00 | 50.00 | 50.00 |",
        "| full [rank=2] |  | 90.00 |  |",
        "| pafi | 40.00 | 40.00 | 40.00 |",
    ]


def test_a_setting_that_only_one_variant_has_is_unset_in_the_other(
    tmp_path: Path, add_record: AddRecord
) -> None:
    add_record("pafi", options={})
    add_record("pafi", options={"candidates": ["bias"]})
    assert set(table(tmp_path)["method"]) == {
        "pafi [candidates=unset]",
        'pafi [candidates=["bias"]]',
    }


def test_a_label_is_no_markup_on_the_page(tmp_path: Path, add_record: AddRecord) -> None:
    for exclude in ("embeddings.*|pooler.*", "pooler.*"):
        add_record("pafi", options={"exclude": exclude})
    assert "pafi [exclude=embeddings.*|pooler.*]" in set(table(tmp_path)["method"])
    assert page(tmp_path).count(r"| pafi [exclude=embeddings.\*\|pooler.\*] | ") == 3


def test_sources_are_never_mixed(tmp_path: Path, add_record: AddRecord) -> None:
    for source in ("hub", "local", "sample"):
        for seed in (1, 2):
            add_record(source=source, seed=seed)
    rows = table(tmp_path)
    assert list(rows["data"].unique()) == ["hub", "local", "sample"]
    assert set(rows["method"]) == {"pafi"}
    assert set(rows["seeds"]) == {2}


@pytest.mark.parametrize("what", ["fingerprint", "checksum"])
def test_other_rows_or_weights_under_the_same_name_are_never_mixed(
    tmp_path: Path, add_record: AddRecord, what: str
) -> None:
    add_record(seed=1, **{what: "a" * 64})
    add_record(seed=2, **{what: "b" * 64})
    rows = table(tmp_path)
    assert set(rows["seeds"]) == {1}
    key = {"fingerprint": "data.fingerprint", "checksum": "backbone.checksum"}[what]
    assert set(rows["method"]) == {f"pafi [{key}=aaaaaaaa]", f"pafi [{key}=bbbbbbbb]"}


def test_runs_that_differ_in_the_seed_alone_are_one_row(tmp_path: Path, add_record: AddRecord) -> None:
    add_record(seed=1)
    add_record(seed=2)
    assert table(tmp_path)["seeds"].unique().tolist() == [2]


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "local"),
        ({"max_train_examples": 100}, "local (subset)"),
        ({"deviations": ("train has 10 rows; the official split has 8,551",)}, "local (subset)"),
        (
            {"deviations": ("validation has 9 rows; the official split has 1,043",)},
            "local (subset)",
        ),
        ({"deviations": ("test is missing; the official split has 1,063",)}, "local"),
        ({"source": "sample", "deviations": ("the rows are the bundled sample",)}, "sample"),
    ],
)
def test_a_run_on_part_of_the_data_is_flagged(
    tmp_path: Path, add_record: AddRecord, changes: dict[str, object], label: str
) -> None:
    add_record(**changes)
    assert set(table(tmp_path)["data"]) == {label}


def test_published_numbers_stand_beside_all_rows_of_real_data_only(
    tmp_path: Path, add_record: AddRecord
) -> None:
    (tmp_path / "published").mkdir()
    row = ["P", "1", "pafi", "minilm_l6", "dev", "mrpc", "accuracy", "88.25", "S"]
    pd.DataFrame([row], columns=COLUMNS).to_csv(tmp_path / "published" / "pafi.csv", index=False)
    for source in ("local", "sample"):
        for options in ({"density": 0.005}, {"density": 0.01}):
            add_record("pafi", "mrpc", source=source, options=options)
    add_record("pafi", "mrpc", max_train_examples=100)
    add_record("hiwi", "mrpc")
    rows = table(tmp_path)
    joined = rows[rows["published"].notna()]
    assert set(joined["data"]) == {"local"}
    assert set(joined["method"]) == {"pafi [density=0.005]", "pafi [density=0.01]"}
    assert set(joined["metric"]) == {"accuracy"}
    assert set(joined["published"]) == {0.8825}
    local, sample = page(tmp_path).split("## sample data", 1)
    assert "Published for the same method" in local
    assert "| pafi | 88.25 |" in local
    assert "Published" not in sample


def test_each_page_section_is_one_data_backbone_and_selection_strictest_first(
    tmp_path: Path, add_record: AddRecord
) -> None:
    add_record(backbone="minilm_l6", held_out=0.4)
    add_record(backbone="roberta_base", source="hub")
    titles = [line for line in page(tmp_path).splitlines() if line.startswith("## ")]
    assert titles == [
        "## hub data, roberta_base, best epoch",
        "## hub data, roberta_base, last epoch",
        "## hub data, roberta_base, task by task",
        "## local data, minilm_l6, held-out epoch",
        "## local data, minilm_l6, best epoch",
        "## local data, minilm_l6, last epoch",
        "## local data, minilm_l6, task by task",
    ]
    assert table(tmp_path)["selection"].tolist() == ["best", "last", "held_out", "best", "last"]


def test_selections_stand_side_by_side_in_the_order_of_the_strictest(
    tmp_path: Path, add_record: AddRecord
) -> None:
    for seed in (1, 2):
        add_record("pafi", score=0.60 + seed / 100, seed=seed, held_out=0.50 + seed / 100)
    add_record("bitfit", score=0.55, held_out=0.54)
    add_record("hiwi", score=0.70)  # an old record
    assert section(tmp_path, "cola") == [
        "| method | rank | held-out epoch | 95 % | median | best epoch | last epoch |",
        "| :-- | --: | --: | --: | --: | --: | --: |",
        "| bitfit |  | 54.00 |  | 54.00 | 55.00 | 54.00 |",
        "| pafi |  | 51.50 ± 0.71 (2) |  | 51.50 | 61.50 ± 0.71 (2) | 60.50 ± 0.71 (2) |",
        "| hiwi |  |  |  |  | 70.00 | 69.00 |",
    ]


def test_predictions_give_intervals_ranks_and_bold_ties(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    for method, share in (("bitfit", 0.55), ("hiwi", 0.79), ("pafi", 0.80)):
        add_predictions(add_record(method, "rte", share, held_out=share), LABELS, right_on(share))
    held_out = section(tmp_path, "local data, minilm_l6, held-out epoch")
    assert held_out[2:] == ["| bitfit | 55.00 |", "| hiwi | **79.00** |", "| pafi | **80.00** |"]
    lines = [line.split(" | ") for line in section(tmp_path, "rte")[2:]]
    assert [line[:3] for line in lines] == [
        ["| pafi", "1 [1, 2]", "80.00"],
        ["| hiwi", "2 [1, 2]", "79.00"],
        ["| bitfit", "3 [3, 3]", "55.00"],
    ]
    rows = table(tmp_path).query("method == 'pafi' and selection == 'held_out'")
    half = 1.96 * np.sqrt(0.8 * 0.2 / 200)
    bounds = rows[["low", "high"]].to_numpy()[0]
    assert bounds == pytest.approx([0.8 - half, 0.8 + half], abs=0.002)
    assert lines[0][3] == f"[{100 * bounds[0]:.2f}, {100 * bounds[1]:.2f}]"


@pytest.mark.parametrize("why", ["no predictions", "other rows"])
def test_methods_that_cannot_be_compared_are_tabled_without_bold_and_ranks(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions, why: str
) -> None:
    add_predictions(add_record("pafi", "rte", 0.8), LABELS, right_on(0.8))
    other = add_record("hiwi", "rte", 0.7)
    if why == "other rows":
        add_predictions(other, LABELS[:100], LABELS[:100])
    assert section(tmp_path, "local data, minilm_l6, best epoch")[2:] == [
        "| hiwi | 70.00 |",
        "| pafi | 80.00 |",
        "No bold and no ranks, since some runs have no predictions here or are on other rows: rte.",
    ]
    assert [line.split(" | ")[1] for line in section(tmp_path, "rte")[2:]] == ["", ""]
    assert table(tmp_path).query("method == 'pafi'")["low"].notna().all()


def test_a_table_of_the_sample_says_so(tmp_path: Path, add_record: AddRecord) -> None:
    note = "The bundled sample is synthetic: it shows that the machinery runs and says nothing about GLUE."
    add_record(source="local")
    assert note not in page(tmp_path)
    add_record(source="sample")
    _, *sections = page(tmp_path).split("\n## ")
    assert [note in section for section in sections] == [section.startswith("sample") for section in sections]


def test_tasks_are_columns_in_the_benchmarks_order(tmp_path: Path, add_record: AddRecord) -> None:
    for seed in (1, 2, 3):
        for task in ("rte", "cola"):
            add_record("pafi", task, 0.60 + seed / 1000, seed)
            add_record("bitfit", task, 0.50 + seed / 1000, seed)
    assert section(tmp_path, "local data, minilm_l6, best epoch")[:4] == [
        "| method | cola (matthews correlation) | rte (accuracy) | average of cola, rte |",
        "| :-- | --: | --: | --: |",
        "| bitfit | 50.20 ± 0.10 (3) | 50.20 ± 0.10 (3) | 50.20 |",
        "| pafi | 60.20 ± 0.10 (3) | 60.20 ± 0.10 (3) | 60.20 |",
    ]


def test_an_average_is_over_the_same_tasks_and_seeds_for_every_method(
    tmp_path: Path, add_record: AddRecord
) -> None:
    for method in ("bitfit", "pafi"):
        for task in ("cola", "rte"):
            add_record(method, task, 0.5, seed=1)
    add_record("hiwi", "cola", 0.5, seed=1)  # a task is missing
    add_record("lora", "cola", 0.5, seed=1)
    add_record("lora", "rte", 0.5, seed=2)  # another seed
    header, _, *lines = section(tmp_path, "local data, minilm_l6, best epoch")
    assert header.endswith(" | average of cola, rte |")
    cells = {line.split(" | ")[0][2:]: line.split(" | ")[-1] for line in lines if line.startswith("|")}
    assert cells == {"bitfit": "50.00 |", "hiwi": " |", "lora": " |", "pafi": "50.00 |"}


def test_the_average_of_the_benchmark_is_over_its_eight_tasks(tmp_path: Path, add_record: AddRecord) -> None:
    tasks = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte")
    for number, task in enumerate(tasks[1:], start=1):
        add_record(task=task, score=number / 10)
    assert "GLUE average" not in page(tmp_path)
    assert "average of sst2, mrpc, qqp, stsb, mnli, qnli, rte |" in page(tmp_path)
    add_record(task="wnli", score=0.9)  # left out, as papers do
    add_record(task="cola", score=0)
    best = section(tmp_path, "local data, minilm_l6, best epoch")
    assert best[0].endswith(" | GLUE average |")
    assert best[2].endswith(" | 35.00 |")


def test_one_task_has_no_average(tmp_path: Path, add_record: AddRecord) -> None:
    add_record()
    assert "average of" not in page(tmp_path)


def test_failed_runs_are_listed_and_never_averaged(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "cola", 0.5, seed=1)
    add_record("pafi", "cola", seed=2, error="the loss is\nnot | finite: <pad> *c*")
    assert set(table(tmp_path)["seeds"]) == {1}
    _, failures = page(tmp_path).split("## Failed runs")
    assert "| minilm_l6 | pafi | cola | 2 | the loss is not \\| finite: \\<pad> \\*c\\* |" in failures


def test_a_sweep_of_failures_only_is_a_table_without_rows(tmp_path: Path, add_record: AddRecord) -> None:
    add_record(error="out of memory")
    write_tables(tmp_path)
    tables = tmp_path / "tables"
    assert len(pd.read_csv(tables / "glue_accuracy.csv")) == 0
    assert "out of memory" in (tables / "glue_accuracy.md").read_text(encoding="utf-8")
