"""The table of all GLUE scores: its sections, bold type and ranks, averages and published numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.published_scores import COLUMNS
from gluelamp.reporting.rendering import table_as_markdown
from gluelamp.reporting.results import Results

AddRecord = Callable[..., RunRecord]
AddPredictions = Callable[..., Path]
AddRun = Callable[..., FoundRun]

LABELS = np.arange(200) % 2
STRICT = "cross-fitted (2-fold) epoch selection"


def sections(root: Path) -> dict[str, list[str]]:
    """Return the lines of each table of the page by its title, without the signatures."""
    page = Results(root, root / "published").accuracy_page()
    assert page is not None
    tables = {table.title: table_as_markdown(table).splitlines()[2:] for table in page.tables}
    return {
        title: [line for line in lines if line and not line.startswith("- Signature")]
        for title, lines in tables.items()
    }


def right_on(fraction: float) -> np.ndarray:
    """Return predictions that are right on a fraction of the rows, the same easy ones first."""
    return np.where(np.arange(len(LABELS)) < fraction * len(LABELS), LABELS, 1 - LABELS)


def test_each_data_and_backbone_has_a_table_per_selection_and_task_strictest_first(
    tmp_path: Path, add_record: AddRecord
) -> None:
    add_record(backbone="minilm_l6", held_out=0.4)
    add_record(backbone="minilm_l6", source="sample", score=None)
    add_record(task="rte", error="the loss is\nnot | finite: <pad> *c*")
    found = sections(tmp_path)
    assert list(found) == [
        *(
            f"local data, minilm_l6, linear head, {selection}"
            for selection in (STRICT, "best epoch", "last epoch")
        ),
        "local data, minilm_l6, linear head, cola (matthews correlation)",
        *(
            "sample data, minilm_l6, linear head, best epoch",
            "sample data, minilm_l6, linear head, last epoch",
        ),
        "sample data, minilm_l6, linear head, cola (matthews correlation)",
        "Failed runs",
    ]
    notes = {title: any("sample is synthetic" in line for line in lines) for title, lines in found.items()}
    assert notes == {title: title.startswith("sample") for title in found}
    assert "| pafi | n/a |" in found["sample data, minilm_l6, linear head, best epoch"]
    failure = r"| minilm_l6 | pafi | rte | 1 | the loss is not \| finite: \<pad> \*c\* |"
    assert found["Failed runs"][-1] == failure


def test_tasks_are_columns_in_the_benchmarks_order_with_their_average(
    tmp_path: Path, add_record: AddRecord
) -> None:
    for seed in (1, 2, 3):
        for task in ("rte", "cola"):
            add_record("pafi", task, 0.60 + seed / 1000, seed)
    add_record("bitfit", "cola", 0.5)
    add_record("hiwi", "rte", 0.4, options={"exclude": "embeddings.*|pooler.*"})
    add_record("hiwi", "rte", 0.4, options={"exclude": "pooler.*"})
    assert sections(tmp_path)["local data, minilm_l6, linear head, best epoch"][:6] == [
        "| method | cola (matthews correlation) | rte (accuracy) | average of CoLA, RTE |",
        "| :-- | --: | --: | --: |",
        "| bitfit | 50.00 |  |  |",
        r"| hiwi [exclude=embeddings.\*\|pooler.\*] |  | 40.00 |  |",
        r"| hiwi [exclude=pooler.\*] |  | 40.00 |  |",
        "| pafi | 60.20 ± 0.10 (3) | 60.20 ± 0.10 (3) | 60.20 |",
    ]


def test_selections_are_columns_in_the_order_of_the_strictest(tmp_path: Path, add_record: AddRecord) -> None:
    for seed in (1, 2):
        add_record("pafi", score=0.60 + seed / 100, seed=seed, held_out=0.50 + seed / 100)
    add_record("bitfit", score=0.55, held_out=0.54)
    add_record("hiwi", score=0.70)  # an old record
    assert sections(tmp_path)["local data, minilm_l6, linear head, cola (matthews correlation)"] == [
        f"| method | rank | {STRICT} | 95 % | median | best epoch | last epoch |",
        "| :-- | --: | --: | --: | --: | --: | --: |",
        "| bitfit |  | 54.00 |  | 54.00 | 55.00 | 54.00 |",
        "| pafi |  | 51.50 ± 0.71 (2) |  | 51.50 | 61.50 ± 0.71 (2) | 60.50 ± 0.71 (2) |",
        "| hiwi |  |  |  |  | 70.00 | 69.00 |",
    ]


def test_predictions_give_intervals_ranks_and_bold_ties(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    for method, fraction in (("bitfit", 0.55), ("hiwi", 0.79), ("pafi", 0.80)):
        record = add_record(method, "rte", fraction, held_out=fraction)
        path = add_predictions(record, LABELS, right_on(fraction))
    found = sections(tmp_path)
    wide = found[f"local data, minilm_l6, linear head, {STRICT}"]
    assert wide[2:] == ["| bitfit | 55.00 |", "| hiwi | **79.00** |", "| pafi | **80.00** |"]
    lines = [line.split(" | ") for line in found["local data, minilm_l6, linear head, rte (accuracy)"][2:]]
    assert [line[:3] for line in lines] == [
        ["| pafi", "1 [1, 2]", "80.00"],
        ["| hiwi", "2 [1, 2]", "79.00"],
        ["| bitfit", "3 [3, 3]", "55.00"],
    ]
    half = 196 * np.sqrt(0.8 * 0.2 / 200)
    low, high = map(float, lines[0][3].strip("[]").split(", "))
    assert (low, high) == pytest.approx((80 - half, 80 + half), abs=0.2)
    # without predictions, or with other rows, there is neither bold type nor a rank
    for break_comparison in (lambda: add_predictions(record, LABELS[:9], LABELS[:9]), path.unlink):
        break_comparison()
        found = sections(tmp_path)
        wide = found[f"local data, minilm_l6, linear head, {STRICT}"]
        assert wide[2:5] == ["| bitfit | 55.00 |", "| hiwi | 79.00 |", "| pafi | 80.00 |"]
        assert wide[5].startswith("- No bold type and no ranks")
        lines = [
            line.split(" | ") for line in found["local data, minilm_l6, linear head, rte (accuracy)"][2:]
        ]
        assert {line[1] for line in lines} == {""}


def test_published_numbers_are_next_to_scores_on_all_rows_of_real_data_only(
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
    page = Results(tmp_path, tmp_path / "published").accuracy_page()
    assert page is not None
    assert ",".join(page.data.columns) == (
        "data,backbone,head,method,task,seen_datasets,metric,mean,median,std,low,high,"
        "seeds,collapsed,epochs,selection,published,signature"
    )
    rows = page.data[page.data["published"].notna()]
    assert set(rows["data"]) == {"local"}
    assert set(rows["method"]) == {"pafi [density=0.005]", "pafi [density=0.01]"}
    assert set(rows["metric"]) == {"accuracy"}
    assert set(rows["published"]) == {0.8825}
    published = {title: lines for title, lines in sections(tmp_path).items() if "published" in title}
    assert {title: lines[2] for title, lines in published.items()} == {
        "local data, minilm_l6, linear head, published": "| pafi | 88.25 |"
    }


def test_superglue_has_its_own_tables_and_average(tmp_path: Path, add_run: AddRun) -> None:
    for task, wrong in (("rte", 10), ("sst2", 20), ("cb", 30), ("wic", 50), ("axb", 40)):
        add_run("pafi", task, wrong)
    results = Results(tmp_path, tmp_path / "published")
    found = sections(tmp_path)
    glue, superglue = (
        found[f"local data, minilm_l6, linear head{name}, {STRICT}"] for name in ("", ", SuperGLUE")
    )
    assert glue[0] == "| method | sst2 (accuracy) | rte (accuracy) | average of SST-2, RTE |"
    assert superglue[0] == (
        "| method | cb (accuracy) | wic (accuracy) | axb (matthews correlation) | average of CB, WiC |"
    )
    assert superglue[-1].endswith("| 60.00 |")
    pages = {page.name: page for page in results.pages()}
    (main,) = pages["superglue_main"].tables
    assert [column.title for column in main.columns][-4:] == ["CB", "WiC", "AX-b", "mean of CB, WiC"]
    (main,) = [one for one in pages["glue_main"].tables if one.title.startswith("minilm")]
    assert [column.title for column in main.columns][-3:] == ["SST-2", "RTE", "mean of SST-2, RTE"]


def test_a_table_on_other_rows_than_the_official_ones_lists_the_numbers(
    tmp_path: Path, add_record: AddRecord
) -> None:
    add_record(held_out=0.4)
    sentence = "train has 10 rows; the official split has 8,551"
    add_record(held_out=0.4, deviations=(sentence,), fingerprint="e" * 64)
    found = sections(tmp_path)
    deviating = f"local (deviates) data, minilm_l6, linear head, {STRICT}"
    assert any(
        "not the official ones of GLUE" in line and f"CoLA: {sentence}." in line for line in found[deviating]
    )
    assert not any("official" in line for line in found[f"local data, minilm_l6, linear head, {STRICT}"])
