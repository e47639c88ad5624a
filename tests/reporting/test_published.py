"""Published scores and counts: the content of the repository, and which of them are shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.records import Measurement
from gluelamp.reporting.published_counts import PublishedCount, published_cells, read_counts
from gluelamp.reporting.published_scores import COLUMNS, read_published
from gluelamp.reporting.results import Results, write_tables
from gluelamp.tasks.glue import GLUE

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "results" / "published"
COUNTS = PUBLISHED / "counts" / "parameters.csv"
UNJOINABLE = {
    "accuracy_overall",
    "accuracy_unspecified",
    "accuracy_or_f1",
    "correlation_unspecified",
    "mean_of_pearson_and_spearman",
}
BACKBONES = {"bert_base", "bert_large", "roberta_base", "roberta_large", "deberta_v3_base"}


def write(folder: Path, name: str, *rows: tuple[str, str, str]) -> None:
    """Write rows of (method, protocol, value) on one cell."""
    lines = [
        ["P", "1", method, "roberta_base", protocol, "rte", "accuracy", value, "S"]
        for method, protocol, value in rows
    ]
    pd.DataFrame(lines, columns=COLUMNS).to_csv(folder / f"{name}.csv", index=False)


def shown(folder: Path, method: str) -> float | None:
    return read_published(folder).get((method, "roberta_base", "rte", "accuracy"))


@pytest.mark.parametrize("file", sorted(PUBLISHED.glob("*.csv")), ids=lambda file: file.stem)
def test_a_committed_score_has_allowed_names_a_source_and_a_percentage(file: Path) -> None:
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    assert list(rows.columns) == COLUMNS
    assert set(rows["task"]) <= set(GLUE)
    assert set(rows["backbone"]) <= BACKBONES
    assert (rows != "").all().all()
    assert pd.to_numeric(rows["value"]).between(-10, 100).all()
    assert not re.search("memory|derived", file.read_text(encoding="utf-8"), re.IGNORECASE)
    for task, metric in set(zip(rows["task"], rows["metric"], strict=True)) - {
        ("mnli", "accuracy_mismatched")
    }:
        assert metric in UNJOINABLE or metric in GLUE[task].metrics


def test_unavailable_scores_are_empty_cells() -> None:
    methods = {method for method, *_ in read_published(PUBLISHED)}
    assert not methods & {"pafi", "hiwi", "xpeft"}


def test_scores_are_fractions_of_the_printed_percentages() -> None:
    cells = read_published(PUBLISHED)
    assert cells["full", "roberta_large", "cola", "matthews_correlation"] == pytest.approx(0.680)
    assert cells["ether_plus", "deberta_v3_base", "rte", "accuracy"] == pytest.approx(0.8953)
    # LoRA has two rows of roberta-large; the one that starts from MNLI (87.4) is not comparable
    assert cells["lora", "roberta_large", "rte", "accuracy"] == pytest.approx(0.852)


def test_the_own_paper_of_a_method_precedes_other_files(tmp_path: Path) -> None:
    write(tmp_path, "adamix", ("ether_plus", "dev; theirs", "70"), ("full", "dev", "71"))
    write(tmp_path, "ether", ("ether_plus", "dev; own", "80"), ("full", "dev", "81"))
    assert shown(tmp_path, "ether_plus") == pytest.approx(0.80)
    assert shown(tmp_path, "full") == pytest.approx(0.71)


def test_one_file_is_the_own_paper_of_two_methods(tmp_path: Path) -> None:
    write(tmp_path, "adamix", ("hiwi", "dev", "70"))
    write(tmp_path, "pafi_hiwi", ("hiwi", "dev", "80"))
    assert shown(tmp_path, "hiwi") == pytest.approx(0.80)


def test_other_protocols_are_never_shown(tmp_path: Path) -> None:
    protocols = (
        "dev from MNLI; 5 runs",
        "test",
        "held-out part of dev; 3 runs",
        "dev after 100 training rows",
    )
    write(tmp_path, "lora", *(("lora", protocol, "60") for protocol in protocols))
    assert read_published(tmp_path) == {}


def test_a_folder_without_files_holds_no_numbers(tmp_path: Path) -> None:
    assert read_published(tmp_path / "published") == {}


def test_a_malformed_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, "lora", ("lora", "dev", "86,6"))
    with pytest.raises(InputError, match=r"lora\.csv, row 1: value '86,6' is not a number"):
        read_published(tmp_path)
    (tmp_path / "lora.csv").write_text("method,value\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"lora\.csv has no column 'paper'; the columns must be"):
        read_published(tmp_path)


# Counts of values

UNITS = {"M": 1e6, "K": 1e3, "%": 1.0}
# HiWi on roberta_large, by hand: 2 * 4 * (1024 + 4096) * 24 trained, (1024 + 4096) * 24 stored
ROW: dict[str, Any] = {
    "trained": 983_040,
    "trained_pct": 100 * 983_040 / 354_310_144,
    "head": 1_051_650,
    "stored_values": 122_880,
    "stored_bytes": 491_520,
    "shared_bytes": 0,
}


def config_names(group: str) -> set[str]:
    return {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")}


def printed(published: str, value: float, **changes: str) -> PublishedCount:
    fields = {"method": "hiwi", "backbone": "roberta_large", "counted": "trained", "counts_head": "unstated"}
    fields |= {"setting": "", "paper": "P (2023)", "table": "Table 1", "source": "S", "note": ""}
    return PublishedCount(published=published, value=value, **{**fields, **changes})


def cells(
    *counts: PublishedCount, row: dict[str, Any] = ROW, backbone: str = "roberta_large"
) -> dict[str, str]:
    config = {"bottleneck": 4, "targets": ["query", "value"]}
    return published_cells(Measurement(1, "parameters", backbone, "hiwi", config, [row]), row, counts)


def test_committed_counts_are_of_methods_and_backbones_with_a_config() -> None:
    counts = read_counts(COUNTS)
    assert len(counts) > 40
    assert {count.method for count in counts} <= config_names("method")
    assert {count.backbone for count in counts} <= config_names("backbone") | {""}


def test_committed_values_equal_the_printed_texts() -> None:
    for count in read_counts(COUNTS):
        number, unit = re.fullmatch(r"([0-9.]+) ?([MK%])", count.published).groups()  # type: ignore[union-attr]
        assert count.value == pytest.approx(float(number) * UNITS[unit])


def test_a_committed_count_has_a_source_and_is_unique() -> None:
    counts = read_counts(COUNTS)
    assert all(count.paper and count.table and count.source for count in counts)
    cells = [(one.method, one.backbone, one.published, one.paper, one.table) for one in counts]
    assert len(set(cells)) == len(cells)
    assert not re.search("memory|derived", COUNTS.read_text(encoding="utf-8"), re.IGNORECASE)


@pytest.mark.parametrize(
    ("published", "value", "changes", "expected"),
    [
        ("1.0M", 1e6, {}, 0.98304),
        ("0.28 %", 0.28, {}, 0.2774518 / 0.28),
        ("0.03 %", 0.03, {"counted": "stored"}, 0.0346815 / 0.03),
        ("2.0M", 2e6, {"counts_head": "yes"}, 2.03469 / 2),
        ("2.0M", 2e6, {"counts_head": "unstated"}, 0.98304 / 2),
    ],
)
def test_the_ratio_is_of_the_same_values_in_the_same_unit(
    published: str, value: float, changes: dict[str, str], expected: float
) -> None:
    assert printed(published, value, **changes).ratio(ROW) == pytest.approx(expected, rel=1e-6)


def test_a_row_lists_all_its_published_counts_with_notes() -> None:
    found = cells(
        printed("1.0M", 1e6, note="rounded up"), printed("0.03 %", 0.03, counted="stored", paper="Q")
    )
    assert found == {
        "published": "1.0M; 0.03 %",
        "notes": "1.0M (P, Table 1): ours/published 0.983; rounded up. "
        "0.03 % stored (Q, Table 1): ours/published 1.156",
    }


def test_only_options_that_differ_are_named() -> None:
    one = printed("3.9M", 3.9e6, setting="bottleneck=16 targets=[query,value]")
    assert cells(one)["notes"] == "3.9M (P, Table 1): ours/published 0.252; published with bottleneck=16"


@pytest.mark.parametrize(
    ("changes", "is_shown"),
    [({}, True), ({"backbone": "bert_base"}, False), ({"method": "pafi"}, False), ({"backbone": ""}, True)],
)
def test_a_count_is_shown_for_its_own_method_and_backbone(changes: dict[str, str], is_shown: bool) -> None:
    assert (cells(printed("1.0M", 1e6, **changes))["published"] != "") == is_shown


def test_a_refused_method_has_the_reason_in_place_of_numbers(
    tmp_path: Path, add_measurement: Callable[..., Path]
) -> None:
    add_measurement("parameters", "pafi", [ROW])
    add_measurement("parameters", "prefix", [dict.fromkeys(ROW) | {"refused": "No handle, no prefix."}])
    write_tables(Results(tmp_path, tmp_path / "published"))
    assert (tmp_path / "tables" / "parameters.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        "roberta_large,pafi,983040,0.2775,1051650,122880,491520,0,,",
        'roberta_large,prefix,,,,,,,,"No handle, no prefix."',
    ]


def test_the_table_reads_counts_from_the_published_folder(
    tmp_path: Path, add_measurement: Callable[..., Path]
) -> None:
    add_measurement("parameters", "hiwi", [ROW])
    write_tables(Results(tmp_path, PUBLISHED))
    (row,) = pd.read_csv(tmp_path / "tables" / "parameters.csv").to_dict("records")
    assert row["published"] == "0.03 %"
    assert row["notes"].startswith("0.03 % stored (PaFi and HiWi, abstract): ours/published 1.156; ")


def test_a_folder_without_counts_leaves_the_cells_empty(tmp_path: Path) -> None:
    assert read_counts(tmp_path / "counts" / "parameters.csv") == []
    assert cells() == {"published": "", "notes": ""}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hiwi,,0.3M,0.3M,trained,no,,P,T,S,", r"row 1, column value: .* valid number"),
        ("hiwi,,0.3M,3e5,saved,no,,P,T,S,", r"row 1, column counted: .*'trained' or 'stored'"),
        ("hiwi,,0.3M,3e5,trained,no,,P,T,S", r"row 1, column note: .* valid string"),
        ("hiwi,,0.3M,3e5,trained,no,,P,T,S,,more", r"row 1, column beyond the header"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    header = COUNTS.read_text(encoding="utf-8").splitlines()[0]
    file = tmp_path / "parameters.csv"
    file.write_text(f"{header}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"parameters\.csv, " + message):
        read_counts(file)
