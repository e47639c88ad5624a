"""Published numbers: what the repository holds, and which of them is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.reporting.published import COLUMNS, read_published
from gluelamp.tasks.glue import GLUE

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
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
def test_the_repositorys_numbers_are_named_sourced_and_within_range(file: Path) -> None:
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


def test_numbers_that_were_not_available_are_empty_cells() -> None:
    methods = {method for method, *_ in read_published(PUBLISHED)}
    assert not methods & {"pafi", "hiwi", "xpeft"}


def test_known_cells_of_the_repository_are_fractions_of_the_printed_values() -> None:
    cells = read_published(PUBLISHED)
    assert cells["full", "roberta_large", "cola", "matthews_correlation"] == pytest.approx(0.680)
    assert cells["ether_plus", "deberta_v3_base", "rte", "accuracy"] == pytest.approx(0.8953)
    # of LoRA's two roberta-large rows, the one that starts from MNLI (87.4) steps back
    assert cells["lora", "roberta_large", "rte", "accuracy"] == pytest.approx(0.852)


def test_the_methods_own_paper_goes_before_the_order_of_the_files(tmp_path: Path) -> None:
    write(tmp_path, "adamix", ("ether_plus", "dev; theirs", "70"), ("full", "dev", "71"))
    write(tmp_path, "ether", ("ether_plus", "dev; own", "80"), ("full", "dev", "81"))
    assert shown(tmp_path, "ether_plus") == pytest.approx(0.80)
    assert shown(tmp_path, "full") == pytest.approx(0.71)


def test_a_file_can_be_the_own_paper_of_two_methods(tmp_path: Path) -> None:
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
