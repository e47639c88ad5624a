"""The accuracy table: what is grouped, what is never mixed, what the page says."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.records import RunRecord
from gluelamp.reporting import write_tables
from gluelamp.reporting.published import COLUMNS

AddRecord = Callable[..., RunRecord]


def table(root: Path) -> pd.DataFrame:
    write_tables(root)
    return pd.read_csv(root / "tables" / "glue_accuracy.csv")


def page(root: Path) -> str:
    write_tables(root)
    return (root / "tables" / "glue_accuracy.md").read_text(encoding="utf-8")


def test_seeds_of_one_configuration_make_one_row_per_metric_and_selection(
    tmp_path: Path, add_record: AddRecord
) -> None:
    scores = [0.61, 0.63, 0.68]
    for seed, score in enumerate(scores):
        add_record("pafi", "mrpc", score, seed)
    rows = table(tmp_path)
    assert ",".join(rows.columns) == (
        "data,backbone,method,task,metric,mean,std,seeds,epochs,selection,published"
    )
    keys = list(zip(rows["metric"], rows["selection"], strict=True))
    metrics = ("accuracy", "f1")
    assert keys == [(metric, selection) for metric in metrics for selection in ("best", "last")]
    best = rows.iloc[0]
    assert best["mean"] == pytest.approx(statistics.mean(scores), abs=1e-6)
    assert best["std"] == pytest.approx(statistics.stdev(scores), abs=1e-6)
    assert (best["seeds"], best["epochs"]) == (3, 3)
    assert rows.loc[1, "mean"] == pytest.approx(statistics.mean(scores) - 0.01, abs=1e-6)


def test_one_seed_has_no_deviation(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "cola", 0.5)
    assert table(tmp_path)["std"].isna().all()
    assert "| pafi | **50.00** |" in page(tmp_path)
    assert "one seed" in page(tmp_path)


def test_a_seed_without_a_score_is_not_averaged_away(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "stsb", 0.9, seed=1)
    add_record("pafi", "stsb", None, seed=2)
    assert table(tmp_path)["mean"].isna().all()
    assert "| pafi | n/a ± n/a (2) |" in page(tmp_path)


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


def test_settings_that_differ_between_tasks_do_not_make_variants(
    tmp_path: Path, add_record: AddRecord
) -> None:
    add_record("pafi", "cola", epochs=10)
    add_record("pafi", "mnli", epochs=3)
    rows = table(tmp_path)
    assert set(rows["method"]) == {"pafi"}
    assert dict(zip(rows["task"], rows["epochs"], strict=True)) == {"cola": 10, "mnli": 3}


def test_a_setting_that_only_one_variant_has_is_unset_in_the_other(
    tmp_path: Path, add_record: AddRecord
) -> None:
    add_record("pafi", options={})
    add_record("pafi", options={"candidates": ["bias"]})
    assert set(table(tmp_path)["method"]) == {
        "pafi [candidates=unset]",
        'pafi [candidates=["bias"]]',
    }


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


def test_published_numbers_stand_beside_real_data_only(tmp_path: Path, add_record: AddRecord) -> None:
    (tmp_path / "published").mkdir()
    row = ["P", "1", "pafi", "minilm_l6", "dev", "mrpc", "accuracy", "88.25", "S"]
    pd.DataFrame([row], columns=COLUMNS).to_csv(tmp_path / "published" / "pafi.csv", index=False)
    for source in ("local", "sample"):
        for options in ({"density": 0.005}, {"density": 0.01}):
            add_record("pafi", "mrpc", source=source, options=options)
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


def test_each_page_section_is_one_data_backbone_and_selection_best_first(
    tmp_path: Path, add_record: AddRecord
) -> None:
    add_record(backbone="minilm_l6")
    add_record(backbone="roberta_base", source="hub")
    titles = [line for line in page(tmp_path).splitlines() if line.startswith("## ")]
    assert titles == [
        "## hub data, roberta_base, best epoch",
        "## hub data, roberta_base, last epoch",
        "## local data, minilm_l6, best epoch",
        "## local data, minilm_l6, last epoch",
    ]


def test_a_table_of_the_sample_says_so(tmp_path: Path, add_record: AddRecord) -> None:
    note = "The bundled sample is synthetic: it shows that the machinery runs and says nothing about GLUE."
    add_record(source="local")
    assert note not in page(tmp_path)
    add_record(source="sample")
    _, *sections = page(tmp_path).split("\n## ")
    assert [note in section for section in sections] == [section.startswith("sample") for section in sections]


def test_tasks_are_columns_in_the_benchmarks_order_and_ties_are_bold(
    tmp_path: Path, add_record: AddRecord
) -> None:
    for seed in (1, 2, 3):
        for task in ("rte", "cola"):
            add_record("pafi", task, 0.60 + seed / 1000, seed)
            add_record("hiwi", task, 0.6001 + seed / 1000, seed)
            add_record("bitfit", task, 0.50 + seed / 1000, seed)
    section = page(tmp_path).split("\n## ")[1].splitlines()
    assert section[2:] == [
        "| method | cola (matthews correlation) | rte (accuracy) | average |",
        "| :-- | --: | --: | --: |",
        "| bitfit | 50.20 ± 0.10 (3) | 50.20 ± 0.10 (3) | 50.20 |",
        "| hiwi | **60.21 ± 0.10 (3)** | **60.21 ± 0.10 (3)** | 60.21 |",
        "| pafi | **60.20 ± 0.10 (3)** | **60.20 ± 0.10 (3)** | 60.20 |",
    ]


def test_an_average_needs_every_task_of_every_method(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "cola")
    add_record("pafi", "rte")
    assert "average" in page(tmp_path)
    add_record("hiwi", "cola")
    assert "average" not in page(tmp_path)


def test_failed_runs_are_listed_and_never_averaged(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "cola", 0.5, seed=1)
    add_record("pafi", "cola", seed=2, error="the loss is\nnot | finite")
    assert set(table(tmp_path)["seeds"]) == {1}
    _, failures = page(tmp_path).split("## Failed runs")
    assert "| minilm_l6 | pafi | cola | 2 | the loss is not \\| finite |" in failures


def test_a_sweep_of_failures_only_is_a_table_without_rows(tmp_path: Path, add_record: AddRecord) -> None:
    add_record(error="out of memory")
    assert len(table(tmp_path)) == 0
    assert "out of memory" in page(tmp_path)
