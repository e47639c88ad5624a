"""The tables of sparse masks and of X-PEFT: who is compared with whom, and what is printed of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from gluelamp.records import FoundRun, Measurement
from gluelamp.reporting.published import COLUMNS, closest_scores
from gluelamp.reporting.rendering.markdown import page_as_markdown as as_markdown
from gluelamp.reporting.sparse_table import sparse_page, sparse_rows
from gluelamp.reporting.xpeft_table import xpeft_page, xpeft_rows

AddRun = Callable[..., FoundRun]

NOTHING = closest_scores(Path("nowhere"))


def masks(number: int, kind: str = "hard") -> dict[str, Any]:
    return {"mask": kind, "num_adapters": number, "kind": "XPeft"}


def bytes_of(method: str, number: int, kind: str = "hard") -> Measurement:
    row = {"num_adapters": number, "mask_bytes": 312, "head_bytes": 6152, "bank_stored_bytes": 56}
    rows = [row | {"outputs": outputs, "adapter_bytes": 3_578_112} for outputs in (2, 15)]
    return Measurement(1, "xpeft_bytes", "bert_base", method, {"mask": kind}, rows)


def body(page: str, title: str) -> list[str]:
    """Return the lines of one printed table, without its header."""
    after = page.split(f"## {title}\n", 1)[1]
    return [line for line in after.split("\n## ", 1)[0].splitlines() if line.startswith("| ")][2:]


def test_masks_are_compared_with_pafi_at_the_same_budget_alone(add_run: AddRun) -> None:
    runs = [add_run("pafi", wrong=20), add_run("fish", wrong=40, stored=8000)]
    runs += [add_run("lt_sft", wrong=10, trained=2000, options={"density": 0.02}), add_run("lora", wrong=0)]
    rows = sparse_rows(runs)
    assert set(rows["method"]) == {"pafi", "fish"}
    page = as_markdown(sparse_page(rows))
    title = "minilm_l6, local data, 3 epochs, held-out halves of dev, 1 seed"
    assert body(page, title) == [
        "| pafi | 1,000 | 4,000 | 0 | 80.0 [72.0, 88.0] |",
        "| fish | 1,000 | 8,000 | 0 | 60.0 [50.3, 69.7] |",
    ]
    assert body(page, f"{title}: less pafi") == ["| fish | −20.0 [−27.9, −12.1] one seed |"]


def test_better_and_worse_take_two_seeds_of_both_and_scores_tell_their_seeds_where_these_differ(
    add_run: AddRun,
) -> None:
    runs = [add_run("pafi", wrong=20, seed=seed) for seed in (1, 2)]
    runs += [add_run("fish", wrong=40, seed=seed) for seed in (1, 2)]
    page = as_markdown(sparse_page(sparse_rows([*runs, add_run("lt_sft", wrong=40)])))
    assert "| fish | 1,000 | 4,000 | 0 | 60.0 [50.3, 69.7] (2) |" in page
    assert "| lt_sft | 1,000 | 4,000 | 0 | 60.0 [50.3, 69.7] (1) |" in page
    assert "| fish | −20.0 [−27.9, −12.1] **worse** |" in page
    assert "| lt_sft | −20.0 [−27.9, −12.1] one seed |" in page


def test_a_mean_over_fewer_tasks_names_them(add_run: AddRun) -> None:
    runs = [add_run("pafi", task, wrong=20) for task in ("sst2", "rte")]
    runs += [add_run("fish", wrong=20), *(add_run("lt_sft", task, wrong=25) for task in ("sst2", "rte"))]
    page = as_markdown(sparse_page(sparse_rows(runs)))
    assert "| method | SST-2 | RTE | mean of 2 tasks |" in page
    assert "| fish |  | +0.0 [+0.0, +0.0] one seed | +0.0 [+0.0, +0.0] one seed (RTE alone) |" in page
    assert "| lt_sft | −5.0 " in page


def test_without_predictions_masks_have_scores_and_no_differences(add_run: AddRun) -> None:
    runs = [add_run("pafi", wrong=20), add_run("fish", wrong=40)]
    for folder, _ in runs:
        (folder / "predictions.parquet").unlink()
    page = as_markdown(sparse_page(sparse_rows(runs)))
    assert "| fish | 1,000 | 4,000 | 0 | 60.0 |" in page
    assert "less pafi" not in page


def test_each_number_of_adapters_is_a_line_beside_both_yardsticks(add_run: AddRun) -> None:
    runs = [add_run("head_only", wrong=50, stored=0), add_run("pfeiffer", wrong=20, stored=400_000)]
    runs += [add_run("xpeft", wrong=30, stored=n + 12, shared=56, options=masks(n)) for n in (300, 100)]
    runs += [add_run("lora", wrong=0)]
    page = as_markdown(xpeft_page(xpeft_rows(runs, []), NOTHING))
    title = "minilm_l6, local data, 3 epochs, held-out halves of dev, 1 seed"
    assert [line.split(" | ")[:6] for line in body(page, title)] == [
        ["| head_only", "", "", "0", "80", "0"],
        ["| pfeiffer", "", "", "400,000", "80", "0"],
        ["| xpeft", "hard", "100", "112", "80", "56"],
        ["| xpeft", "hard", "300", "312", "80", "56"],
    ]
    against_adapter = body(page, f"{title}: less pfeiffer")
    assert [line.split(" | ")[0] for line in against_adapter] == [
        "| head_only",
        "| xpeft [num_adapters=100]",
        "| xpeft [num_adapters=300]",
    ]
    assert "| xpeft [num_adapters=100] | +20.0 [" in page.split("less head_only")[1]


def test_the_papers_backbone_shows_its_bytes_and_what_is_published(tmp_path: Path) -> None:
    row = ["P", "1", "xpeft", "bert_base", "test; N=100", "rte", "accuracy", "60.1", "S"]
    pd.DataFrame([row], columns=COLUMNS).to_csv(tmp_path / "xpeft.csv", index=False)
    measured = [bytes_of("xpeft", 400), bytes_of("xpeft", 100)]
    page = as_markdown(xpeft_page(xpeft_rows([], measured), closest_scores(tmp_path)))
    assert body(page, "bert_base, no runs") == [
        "| head_only |  |  | 0 | 6,152 | 0 |  |",
        "| pfeiffer |  |  | 3,578,112 | 6,152 | 0 |  |",
        "| xpeft | hard | 100 | 312 | 6,152 | 56 |  |",
        "| xpeft | hard | 400 | 312 | 6,152 | 56 |  |",
        "| xpeft, published |  |  |  |  |  | 60.1ᵗ |",
    ]
    assert "\n- ᵗ on the benchmark server's test set: no gap\n" in page


def test_yardsticks_alone_are_no_table_of_x_peft(add_run: AddRun) -> None:
    assert xpeft_rows([add_run("head_only"), add_run("pfeiffer")], []).empty
