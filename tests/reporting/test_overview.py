"""The table that ends a sweep and a report: its numbers, and its form in a terminal and in a file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gluelamp.records import FoundRun
from gluelamp.reporting.rendering import COUNT, POINTS, Number, Table, Text, numbers, texts
from gluelamp.reporting.rendering.tables import plain
from gluelamp.reporting.rendering.terminal import PLAIN_WIDTH, print_table
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.summary import summarise
from gluelamp.reporting.tables.overview import overview_tables

AddRun = Callable[..., FoundRun]


def test_a_line_has_the_mean_over_seeds_of_each_task_their_average_and_the_bytes(add_run: AddRun) -> None:
    runs = [
        add_run("pafi", task, wrong, seed, stored=stored)
        for task, wrong in (("rte", 40), ("wnli", 20), ("mrpc", 10))
        for seed, stored in ((1, 4000), (2, 4000))
    ]
    runs += [add_run("full", "rte", 30, 1, stored=8000), add_run("full", "rte", 34, 2, stored=8000)]
    (table,) = overview_tables(score_table(runs))
    assert table.title == (
        "GLUE, local data, minilm_l6, linear head, cross-fitted (2-fold) epoch selection, 2 seeds"
    )
    assert [column.title for column in table.columns] == [
        *("method", "MRPC", "RTE", "WNLI", "average", "stored bytes"),
    ]
    full, pafi = (
        [cell.value if isinstance(cell, Number) else plain(cell) for cell in row] for row in table.rows
    )
    assert full == ["full", "", pytest.approx(0.68), "", "", 8000]  # on one of two tasks: no average
    assert pafi == ["pafi", *map(pytest.approx, (0.9, 0.6, 0.8, 0.75)), 4000]  # WNLI is in no average


def test_one_run_without_cross_fitted_scores_makes_a_table_of_best_epochs(add_run: AddRun) -> None:
    (folder, record), other = add_run("pafi", "rte", 40), add_run("lora", "rte", 30)
    metrics = {name: values for name, values in record.metrics.items() if name != "held_out"}
    old = record.model_copy(update={"metrics": metrics})
    (table,) = overview_tables(score_table([(folder, old), other]))
    assert "best epoch" in table.title
    assert len(table.rows) == 2


def test_the_summary_of_a_report_gives_the_same_tables(add_run: AddRun) -> None:
    scores = score_table([add_run("pafi", task, 40, seed) for task in ("rte", "cb") for seed in (1, 2)])
    tables = list(overview_tables(scores))
    assert [table.title.partition(",")[0] for table in tables] == ["GLUE", "SuperGLUE"]
    assert list(overview_tables(scores, summarise(scores))) == tables


def test_the_synthetic_sample_is_marked_and_trials_are_left_out(add_run: AddRun) -> None:
    run, (folder, record) = add_run("pafi", "rte", 40, source="sample"), add_run("lora", "rte", 40)
    task = record.config.task.model_copy(update={"validation_from_train": 50})
    trial = record.model_copy(update={"config": record.config.model_copy(update={"task": task})})
    (table,) = overview_tables(score_table([run, (folder, trial)]))
    assert table.title.startswith("GLUE, sample data, ")
    assert "synthetic" in table.notes[0]


def test_plain_text_has_no_line_over_120_columns_and_no_cut_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    score = Number(0.5, POINTS, 0.4, 0.6)
    print_table(Table("a [title]", [*texts("method"), *numbers("CoLA")], [[Text("pafi [a=1]"), score]]))
    narrow = capsys.readouterr().out
    assert "a [title]\n" in narrow
    assert "pafi [a=1]  50.0 [40.0, 60.0]\n" in narrow
    wide = [Number(1234567, COUNT, 1, 2)] * 8
    titles = numbers(*(f"task {number}" for number in range(8)))
    print_table(Table("", [*texts("method"), *titles], [[Text("a long name " * 5), *wide]]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= PLAIN_WIDTH
    assert sum(line.count("1,234,567") for line in lines) == 8
    assert "[" not in "".join(lines)
