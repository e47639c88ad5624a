"""PaFi and HiWi's main table: sizes, scores, published numbers and their differences of protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.records import FoundRun, Measurement
from gluelamp.reporting.published_counts import PublishedCount
from gluelamp.reporting.published_scores import COLUMNS, closest_scores
from gluelamp.reporting.rendering.markdown import page_as_markdown
from gluelamp.reporting.rendering.tables import plain
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.summary import summarise
from gluelamp.reporting.tables.main import AVERAGE, main_page, main_rows

AddRun = Callable[..., FoundRun]
STORED = {"rte": 4000, "sst2": 8000}


def publish(folder: Path, *rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Return the scores of lora on roberta_large from rows of (protocol, task, metric, value)."""
    cells = [
        ["P", "1", "lora", "roberta_large", protocol, task, metric, value, "S"]
        for protocol, task, metric, value in rows
    ]
    folder.mkdir(exist_ok=True)
    pd.DataFrame(cells, columns=COLUMNS).to_csv(folder / "lora.csv", index=False)
    return closest_scores(folder)


def counted(method: str, trained: int, stored: int) -> Measurement:
    row = {"trained": trained, "trained_pct": trained / 10_000, "stored_bytes": stored}
    return Measurement(1, "parameters", "roberta_large", method, {}, [row])


def printed(published: str, kind: str, head: str) -> PublishedCount:
    texts = {"setting": "", "paper": "P", "table": "1", "source": "S", "note": ""}
    names = {"method": "lora", "backbone": "", "published": published, "value": 1.0}
    return PublishedCount(**names, counted=kind, counts_head=head, **texts)  # type: ignore[arg-type]


def table(
    runs: Sequence[FoundRun],
    published: pd.DataFrame,
    measured: Sequence[Measurement] = (),
    counts: Sequence[PublishedCount] = (),
) -> pd.DataFrame:
    return main_rows(summarise(score_table(runs)), measured, published, counts)


def lines(rows: pd.DataFrame, title: str) -> list[list[str]]:
    """Return the cells of one printed table, its header first."""
    (found,) = [one for one in main_page(rows).tables if one.title.startswith(title)]
    return [
        [column.title for column in found.columns],
        *([plain(cell) for cell in row] for row in found.rows),
    ]


def test_the_gap_to_a_comparable_score_has_the_interval_of_ours(tmp_path: Path, add_run: AddRun) -> None:
    published = publish(tmp_path / "p", ("dev; 5 runs", "rte", "accuracy", "85.2"))
    rows = table([add_run("lora", wrong=20, backbone="roberta_large")], published)
    (row,) = rows.to_dict("records")
    assert row["gap"] == pytest.approx(0.8 - 0.852)
    assert row["gap_high"] - row["gap"] == pytest.approx(row["high"] - row["mean"])
    assert lines(rows, "roberta_large")[1:] == [
        ["lora", "ours", "1.00", "1.00", f"80.0 [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"],
        ["", "published", "", "", "85.2ᵇ"],
        [
            "",
            "gap",
            "",
            "",
            f"−5.2 [{100 * row['gap_low']:.1f}, +{100 * row['gap_high']:.1f}]".replace("[-", "[−"),
        ],
    ]


@pytest.mark.parametrize(
    ("protocol", "task", "metric", "marks", "has_gap"),
    [
        ("dev", "rte", "accuracy", "ᵇ", True),
        ("dev from MNLI; r=8", "rte", "accuracy", "ᵐ", False),
        ("dev", "qqp", "f1", "ᶠ", False),
        ("held-out part of dev", "rte", "accuracy", "ᵖ", False),
        ("test", "rte", "accuracy", "ᵗ", False),
        ("test", "qqp", "f1", "ᵗᶠ", False),
        ("unstated split", "rte", "accuracy", "ˢ", False),
    ],
)
def test_a_difference_of_protocol_is_marked_in_the_cell_and_explained(
    tmp_path: Path, add_run: AddRun, protocol: str, task: str, metric: str, marks: str, has_gap: bool
) -> None:
    published = publish(tmp_path / "p", (protocol, task, metric, "85.2"))
    rows = table([add_run("lora", task, backbone="roberta_large")], published)
    assert rows["marks"].tolist() == [marks]
    assert rows["gap"].notna().tolist() == [has_gap]
    page = page_as_markdown(main_page(rows))
    assert f"| 85.2{marks} |" in page
    assert all(f"\n- {mark} " in page for mark in marks)


def test_low_resource_runs_and_other_checkpoints_are_never_next_to_ours(tmp_path: Path) -> None:
    rows = [
        ("dev after 100 training rows", "rte", "accuracy", "60"),
        ("dev on a cased one", "rte", "accuracy", "70"),
    ]
    assert publish(tmp_path / "p", *rows).empty


def test_the_main_metric_is_preferred_then_the_closest_protocol(tmp_path: Path) -> None:
    rows = [
        *(("test", "qqp", "accuracy", "60"), ("dev from MNLI", "qqp", "accuracy", "70")),
        *(("dev", "qqp", "f1", "80"), ("dev", "qqp", "accuracy", "90")),
    ]
    assert publish(tmp_path / "p", *rows)["value"].tolist() == [0.9]
    assert publish(tmp_path / "p", *rows[:3])["value"].tolist() == [0.7]


def test_a_subset_has_published_scores_without_a_gap(tmp_path: Path, add_run: AddRun) -> None:
    published = publish(tmp_path / "p", ("dev", "rte", "accuracy", "85.2"))
    rows = table([add_run("lora", backbone="roberta_large", max_train_examples=9)], published)
    (row,) = rows.to_dict("records")
    assert (row["data"], row["published"]) == ("local (subset)", 0.852)
    assert rows[["gap", "gap_low", "gap_high"]].isna().all(axis=None)


def test_the_sample_has_no_published_scores(tmp_path: Path, add_run: AddRun) -> None:
    published = publish(tmp_path / "p", ("dev", "rte", "accuracy", "85.2"))
    rows = table([add_run("lora", backbone="roberta_large", source="sample")], published)
    assert rows["published"].isna().all()
    assert "synthetic" in page_as_markdown(main_page(rows))


def test_the_average_names_its_tasks_unless_they_are_all_eight(add_run: AddRun, tmp_path: Path) -> None:
    published = publish(tmp_path / "p")
    runs = [add_run("a", task, wrong=wrong) for task, wrong in (("rte", 40), ("sst2", 20))]
    runs += [add_run("b", "rte")]
    rows = table(runs, published)
    (average,) = rows[rows["task"] == AVERAGE].to_dict("records")
    assert (average["method"], average["tasks"], average["mean"]) == ("a", "sst2 rte", pytest.approx(0.7))
    assert average["high"] - average["mean"] == pytest.approx(1.96 * (0.4 / 400) ** 0.5, rel=0.05)
    assert lines(rows, "minilm")[0][-1] == "mean of SST-2, RTE"


def test_the_papers_backbone_is_listed_without_runs(tmp_path: Path, add_run: AddRun) -> None:
    published = publish(tmp_path / "p", ("dev", "rte", "accuracy", "85.2"))
    measured = [counted("hiwi", 2_000, 1_388), counted("lora", 10_000, 40_000)]
    counts = [printed("0.8M", "trained", "no"), printed("0.03 %", "stored", "unstated")]
    rows = table([add_run("lora")], published, measured, counts)
    header, *found = lines(rows, "roberta_large, no runs")
    assert header[4:] == ["CoLA", "SST-2", "MRPC", "QQP", "STS-B", "MNLI", "QNLI", "RTE"]
    assert found == [
        ["lora", "ours", "1.00", "1.00", *[""] * 8],
        ["", "published", "0.8M", "0.03 %ᵘ", *[""] * 7, "85.2"],
        ["hiwi", "ours", "0.200", "0.0347", *[""] * 8],
        ["hiwi_weight", "ours", "", "", *[""] * 8],
        ["pafi", "ours", "", "", *[""] * 8],
    ]


def test_of_several_counted_settings_the_minimum_and_the_maximum_are_listed(tmp_path: Path) -> None:
    measured = [counted("hiwi", trained, 1_388) for trained in (4_000, 2_000, 32_000)]
    rows = table([], publish(tmp_path / "p"), measured)
    assert table([], publish(tmp_path / "p"), measured[::-1]).equals(rows)
    first = rows[rows["method"] == "hiwi"].iloc[0]
    assert first[["trained_pct_low", "trained_pct_high"]].tolist() == [0.2, 3.2]
    assert first["stored_pct_low"] == first["stored_pct_high"] == pytest.approx(0.0347)
    assert lines(rows, "roberta_large")[1][:4] == ["hiwi", "ours", "0.200 to 3.20", "0.0347"]


def test_sizes_of_runs_replace_counted_ones(tmp_path: Path, add_run: AddRun) -> None:
    runs = [add_run("lora", task, stored=stored, backbone="roberta_large") for task, stored in STORED.items()]
    rows = table(runs, publish(tmp_path / "p"), [counted("lora", 32_000, 128_000)])
    assert lines(rows, "roberta_large")[1][2:4] == ["1.00", "1.00 to 2.00"]
