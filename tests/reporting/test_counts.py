"""Published counts: what the repository holds, and what stands beside a measured row."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.records import Measurement
from gluelamp.reporting import write_tables
from gluelamp.reporting.published import PublishedCount, published_cells, read_counts

ROOT = Path(__file__).parents[2]
FILE = ROOT / "results" / "published" / "counts" / "parameters.csv"
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


def leaves(group: str) -> set[str]:
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


def test_the_repositorys_counts_are_of_its_own_methods_and_backbones() -> None:
    counts = read_counts(FILE)
    assert len(counts) > 40
    assert {count.method for count in counts} <= leaves("method")
    assert {count.backbone for count in counts} <= leaves("backbone") | {""}


def test_the_repositorys_values_are_the_printed_texts() -> None:
    for count in read_counts(FILE):
        number, unit = re.fullmatch(r"([0-9.]+) ?([MK%])", count.published).groups()  # type: ignore[union-attr]
        assert count.value == pytest.approx(float(number) * UNITS[unit])


def test_every_count_of_the_repository_is_sourced_once_and_none_is_derived_or_recalled() -> None:
    counts = read_counts(FILE)
    assert all(count.paper and count.table and count.source for count in counts)
    cells = [(one.method, one.backbone, one.published, one.paper, one.table) for one in counts]
    assert len(set(cells)) == len(cells)
    assert not re.search("memory|derived", FILE.read_text(encoding="utf-8"), re.IGNORECASE)


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


def test_all_printed_counts_of_a_cell_stand_beside_it_with_their_notes() -> None:
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
def test_a_count_stands_beside_its_own_method_and_backbone(changes: dict[str, str], is_shown: bool) -> None:
    assert (cells(printed("1.0M", 1e6, **changes))["published"] != "") == is_shown


def test_a_refused_method_has_its_reason_in_place_of_numbers(
    tmp_path: Path, add_measurement: Callable[..., Path]
) -> None:
    add_measurement("parameters", "pafi", [ROW])
    add_measurement("parameters", "prefix", [dict.fromkeys(ROW) | {"refused": "No handle, no prefix."}])
    write_tables(tmp_path)
    assert (tmp_path / "tables" / "parameters.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        "roberta_large,pafi,983040,0.2775,1051650,122880,491520,0,,",
        'roberta_large,prefix,,,,,,,,"No handle, no prefix."',
    ]


def test_tables_take_the_counts_from_the_published_folder(
    tmp_path: Path, add_measurement: Callable[..., Path]
) -> None:
    add_measurement("parameters", "hiwi", [ROW])
    write_tables(tmp_path, FILE.parents[1])
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
    header = FILE.read_text(encoding="utf-8").splitlines()[0]
    file = tmp_path / "parameters.csv"
    file.write_text(f"{header}\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"parameters\.csv, " + message):
        read_counts(file)
