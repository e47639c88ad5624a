"""Paired differences, and the tables of sparse masks and of X-PEFT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gluelamp.records import FoundRun, Measurement
from gluelamp.reporting.published_scores import COLUMNS, closest_scores
from gluelamp.reporting.rendering.markdown import page_as_markdown
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.summary import common_settings, summarise
from gluelamp.reporting.tables.matched_masks import matched_rows
from gluelamp.reporting.tables.paired import OVERALL, compared_rows
from gluelamp.reporting.tables.sparse_masks import sparse_page, sparse_rows
from gluelamp.reporting.tables.xpeft import xpeft_page, xpeft_rows

AddRun = Callable[..., FoundRun]

NOTHING = closest_scores(Path("nowhere"))
TITLE = "minilm_l6, linear head, local data, 3 epochs, cross-fitted (2-fold) epoch selection, 1 seed"


def compared(runs: Sequence[FoundRun], references: Sequence[str] = ("r",)) -> pd.DataFrame:
    rows = summarise(score_table(runs))
    rows = common_settings(rows.assign(label=rows["method"]))
    return compared_rows(rows, references).set_index(["label", "task"])


def sparse(runs: Sequence[FoundRun]) -> str:
    summary = summarise(score_table(runs))
    return page_as_markdown(sparse_page(sparse_rows(summary), matched_rows(summary)))


def xpeft(
    runs: Sequence[FoundRun], measured: Sequence[Measurement] = (), published: pd.DataFrame = NOTHING
) -> str:
    return page_as_markdown(xpeft_page(xpeft_rows(summarise(score_table(runs)), measured), published))


def body(page: str, title: str) -> list[str]:
    """Return the lines of one table without its header."""
    after = page.split(f"## {title}\n", 1)[1]
    return [line for line in after.split("\n## ", 1)[0].splitlines() if line.startswith("| ")][2:]


def masks(number: int, kind: str = "hard") -> dict[str, Any]:
    return {"mask": kind, "num_adapters": number, "kind": "XPeft"}


def counted(method: str, number: int, kind: str = "hard") -> Measurement:
    row = {"num_adapters": number, "mask_bytes": 312, "head_bytes": 6152, "bank_stored_bytes": 56}
    rows = [
        row | {"outputs": outputs, "head": "two_layer", "adapter_bytes": 3_578_112} for outputs in (2, 15)
    ]
    return Measurement(1, "xpeft_bytes", "bert_base", method, {"mask": kind}, rows)


def test_a_difference_has_the_interval_of_the_rows_on_which_methods_disagree(add_run: AddRun) -> None:
    rows = compared([add_run("r", wrong=20), add_run("a", wrong=40)], ["r", "absent"])
    row = rows.loc["a", "rte"]
    assert (row["mean"], row["vs_r"], row["vs_r_verdict"]) == (0.6, pytest.approx(-0.2), "worse")
    # 20 of 100 rows differ, all in one direction
    assert row["vs_r_high"] - row["vs_r"] == pytest.approx(1.96 * (0.2 * 0.8 / 100) ** 0.5, rel=0.05)
    assert rows.loc["r", "rte"][["vs_r"]].isna().all()
    assert rows["vs_absent"].isna().all()
    assert list(rows.index) == [("a", "rte"), ("a", OVERALL), ("r", "rte")]


def test_the_mean_over_tasks_adds_variances(add_run: AddRun) -> None:
    runs = [add_run("r", task, wrong=20) for task in ("rte", "sst2", "qnli")]
    runs += [add_run("a", "rte", wrong=35), add_run("a", "sst2", wrong=10)]
    mean = compared(runs).loc["a", OVERALL]
    assert mean["vs_r_tasks"] == "sst2 rte"
    assert mean["vs_r"] == pytest.approx((-0.15 + 0.1) / 2)
    variance = (0.15 * 0.85 + 0.1 * 0.9) / 100 / 4
    assert mean["vs_r_high"] - mean["vs_r"] == pytest.approx(1.96 * variance**0.5, rel=0.05)
    assert mean["vs_r_p"] > 0.05
    assert mean["vs_r_low"] < 0 < mean["vs_r_high"]


def test_small_differences_on_many_tasks_are_found_together(add_run: AddRun) -> None:
    tasks = ("rte", "sst2", "qnli", "qqp")
    runs = [add_run(method, task, wrong=wrong) for task in tasks for method, wrong in (("r", 20), ("a", 23))]
    verdicts = compared(runs).loc["a", "vs_r_verdict"]
    assert set(verdicts.drop(OVERALL)) == {"tie"}
    assert verdicts[OVERALL] == "worse"


def test_holms_correction_of_the_mean_is_over_all_methods(add_run: AddRun) -> None:
    runs = [add_run("r", wrong=20), *(add_run(name, wrong=25, start=5) for name in "abcdef")]
    rows = compared([*runs, add_run("same", wrong=20)]).xs(OVERALL, level="task")
    same = rows.loc["same"]
    assert same[["vs_r", "vs_r_low", "vs_r_high", "vs_r_p", "vs_r_verdict"]].tolist() == [0, 0, 0, 1, "tie"]
    others = rows.drop("same")
    assert np.allclose(others["vs_r_p_holm"], (7 * others["vs_r_p"]).clip(upper=1))


def test_masks_are_compared_with_pafi_at_the_same_budget_alone(add_run: AddRun) -> None:
    runs = [add_run("pafi", wrong=20), add_run("fish", wrong=40, stored=8000)]
    runs += [add_run("lt_sft", wrong=10, trained=2000, options={"density": 0.02}), add_run("lora", wrong=0)]
    page = sparse(runs)
    assert body(page, TITLE) == [
        "| pafi | 1,000 | 4,000 | 0 |  | 3.0 | 80.0 [72.0, 88.0] |",
        "| fish | 1,000 | 8,000 | 0 |  | 3.0 | 60.0 [50.3, 69.7] |",
    ]
    assert body(page, f"{TITLE}: difference to pafi") == ["| fish | −20.0 [−27.9, −12.1] one seed |"]
    for folder, _ in runs:
        (folder / "predictions.parquet").unlink()
    page = sparse(runs)
    assert "| fish | 1,000 | 8,000 | 0 |  | 3.0 | 60.0 |" in page
    assert "difference to pafi" not in page


def test_a_verdict_needs_two_seeds_of_both_and_different_numbers_of_seeds_are_printed(
    add_run: AddRun,
) -> None:
    runs = [add_run("pafi", wrong=20, seed=seed) for seed in (1, 2)]
    runs += [add_run("fish", wrong=40, seed=seed) for seed in (1, 2)]
    page = sparse([*runs, add_run("lt_sft", wrong=40)])
    assert "| fish | 1,000 | 4,000 | 0 |  | 3.0 | 60.0 [50.3, 69.7] (2) |" in page
    assert "| lt_sft | 1,000 | 4,000 | 0 |  | 3.0 | 60.0 [50.3, 69.7] (1) |" in page
    assert "| fish | −20.0 [−27.9, −12.1] **worse** |" in page
    assert "| lt_sft | −20.0 [−27.9, −12.1] one seed |" in page


def test_a_mean_over_fewer_tasks_names_them(add_run: AddRun) -> None:
    runs = [add_run("pafi", task, wrong=20) for task in ("sst2", "rte")]
    runs += [add_run("fish", wrong=20), *(add_run("lt_sft", task, wrong=25) for task in ("sst2", "rte"))]
    page = sparse(runs)
    assert "| method | SST-2 | RTE | mean of 2 tasks |" in page
    assert "| fish |  | +0.0 [+0.0, +0.0] one seed | +0.0 [+0.0, +0.0] one seed (RTE alone) |" in page
    assert "| lt_sft | −5.0 " in page


def test_pafi_with_more_values_is_compared_with_masks_of_as_many_live_values(add_run: AddRun) -> None:
    tasks = {"rte": 600, "sst2": 700}
    runs = [
        add_run(
            *(method, task, wrong),
            **{"trained": trained, "stored": 4 * trained, "live": live, "options": {"density": trained}},
        )
        for task, live_of_pafi in tasks.items()
        for method, wrong, trained, live in (
            ("pafi", 30, 1000, live_of_pafi),
            ("pafi", 20, 1600, round(1.6 * live_of_pafi)),
            ("sparse_random", 25, 1600, 1000),  # of 960 and of 1120: 4 % more, and 11 % less
            ("fish", 22, 1000, 1000),
        )
    ]
    page = sparse(runs)
    assert "| fish | 1,000 | 4,000 | 0 | 100.0 | 3.0 | 78.0" in page
    equal = f"{TITLE}, at equal live values, 1,600 trained by pafi"
    assert body(page, equal) == [
        "| pafi | 1,600 | 6,400 | 0 | 60.0 to 70.0 | 3.0 | 80.0 [72.0, 88.0] | 80.0 [72.0, 88.0] |",
        "| sparse_random | 1,600 | 6,400 | 0 | 62.5 | 3.0 |  | 75.0 [66.6, 83.4] |",
        "| fish | 1,000 | 4,000 | 0 | 100.0 | 3.0 |  | 78.0 [69.9, 86.1] |",
    ]
    assert "1,000 trained by pafi" not in page  # no other mask has 600 or 700 live values
    difference = body(page, f"{equal}: difference to pafi")
    assert [line.split(" | ")[0] for line in difference] == ["| sparse_random", "| fish"]


def test_pafi_with_more_epochs_is_compared_with_masks_of_as_much_training(add_run: AddRun) -> None:
    trains, scores = {"trains": "full fine-tuning", "epochs": 3}, {"scores": "fisher", "examples": 40}
    runs = [
        add_run("pafi", wrong=30),
        add_run("pafi", wrong=20, epochs=6),
        add_run("fish", wrong=28, phases=[scores]),
        add_run("lt_sft", wrong=10, phases=[trains]),
        add_run("sparse_random", wrong=25, epochs=6),
    ]
    page = sparse(runs)
    assert "| fish | 1,000 | 4,000 | 0 |  | 3.4 | 72.0" in page  # 40 of 100 rows are scored before
    equal = f"{TITLE.replace('3 epochs', '6 epochs')}, at equal training compute, 6 epochs of pafi"
    assert [line.split(" |")[0:6:5] for line in body(page, equal)] == [
        ["| pafi", " 6.0"],
        ["| sparse_random", " 6.0"],
        ["| lt_sft", " 6.0"],
    ]
    assert "3 epochs of pafi" not in page
    (line,) = [one for one in body(page, f"{equal}: difference to pafi") if "lt_sft" in one]
    assert line.startswith("| lt_sft | +10.0")


def test_each_number_of_adapters_is_a_line_next_to_both_references(add_run: AddRun) -> None:
    runs = [add_run("head_only", wrong=50, stored=0), add_run("pfeiffer", wrong=20, stored=400_000)]
    assert xpeft_rows(summarise(score_table(runs)), []).empty
    runs += [add_run("xpeft", wrong=30, stored=n + 12, shared=56, options=masks(n)) for n in (300, 100)]
    page = xpeft([*runs, add_run("lora", wrong=0)])
    assert [line.split(" | ")[:6] for line in body(page, TITLE)] == [
        ["| head_only", "", "", "0", "80", "0"],
        ["| pfeiffer", "", "", "400,000", "80", "0"],
        ["| xpeft", "hard", "100", "112", "80", "56"],
        ["| xpeft", "hard", "300", "312", "80", "56"],
    ]
    assert [line.split(" | ")[0] for line in body(page, f"{TITLE}: difference to pfeiffer")] == [
        *("| head_only", "| xpeft [num_adapters=100]", "| xpeft [num_adapters=300]"),
    ]
    assert "| xpeft [num_adapters=100] | +20.0 [" in page.split("difference to head_only")[1]


def test_the_papers_backbone_has_its_bytes_and_published_scores(tmp_path: Path) -> None:
    row = ["P", "1", "xpeft", "bert_base", "test; N=100", "rte", "accuracy", "60.1", "S"]
    pd.DataFrame([row], columns=COLUMNS).to_csv(tmp_path / "xpeft.csv", index=False)
    page = xpeft([], [counted("xpeft", 400), counted("xpeft", 100)], closest_scores(tmp_path))
    assert body(page, "bert_base, no runs") == [
        "| head_only |  |  | 0 | 6,152 | 0 |  |",
        "| pfeiffer |  |  | 3,578,112 | 6,152 | 0 |  |",
        "| xpeft | hard | 100 | 312 | 6,152 | 56 |  |",
        "| xpeft | hard | 400 | 312 | 6,152 | 56 |  |",
        "| xpeft, published |  |  |  |  |  | 60.1ᵗ |",
    ]
    assert "\n- ᵗ on the benchmark server's test set: no gap\n" in page
