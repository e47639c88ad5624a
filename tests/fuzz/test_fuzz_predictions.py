"""Files of `gluelamp compare`: a comparison or one refusal, and nothing outside their folder is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import VALUES, changed, damaged, value_or_refusal
from gluelamp.reporting.compare import compare

ROWS = [{"id": f"q{n}", "prediction": n % 2, "label": (n + n // 3) % 2, "group": n // 2} for n in range(6)]
SAMPLES = [
    {"doc_id": n, "target": str(n % 2), "filtered_resps": [str(n // 2 % 2)], "filter": "none", "acc": 1.0}
    for n in range(6)
]
RUN = [
    {
        "selection": "best",
        "split": "validation",
        "idx": n,
        "label": n % 2,
        "output_0": 0.5,
        "output_1": n / 4.0,
    }
    for n in range(6)
]
RECORD = json.loads((Path(__file__).parents[1] / "fixtures" / "records" / "record_schema_3.json").read_text())
RECORD["config"]["task"] = {"name": "cola"}


def compared(path: Path, **options: Any) -> pd.DataFrame | None:
    return value_or_refusal(lambda: compare({"a": path}, resamples=100, **options))


def lines(rows: list[Any]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def table(rows: list[dict[str, Any]], suffix: str, folder: Path) -> bytes:
    path = folder / f"valid{suffix}"
    frame = pd.DataFrame(rows)
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    return path.read_bytes()


@given(data=st.data())
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables(folder: Path, suffix: str, data: st.DataObject) -> None:
    valid = [table(rows, suffix, folder) for rows in (ROWS, RUN)]
    path = folder / f"a{suffix}"
    path.write_bytes(data.draw(damaged(*valid)))
    compared(path, metric="accuracy")
    compared(path, columns={"group": "group"}, metric="pearson")


@given(
    rows=st.sampled_from([ROWS, SAMPLES, RUN]).flatmap(lambda rows: changed(rows) | st.just(rows)).map(lines)
    | damaged(lines(ROWS), lines(SAMPLES), lines(RUN))
    | st.lists(VALUES, max_size=4).map(lines),
    metric=st.sampled_from([None, "accuracy", "f1", "roc_auc", "mae", "exact_match", "acc"]),
)
def test_json_lines(folder: Path, rows: bytes, metric: str | None) -> None:
    path = folder / "a.jsonl"
    path.write_bytes(rows)
    compared(path, metric=metric)
    compared(path, labels=path, metric=metric)


@given(record=damaged(lines([RECORD])) | changed(RECORD).map(lambda record: lines([record])))
def test_a_run_with_its_record(folder: Path, record: bytes) -> None:
    run = folder / "run"
    run.mkdir(exist_ok=True)
    pd.DataFrame(RUN).to_parquet(run / "predictions.parquet")
    (run / "record.json").write_bytes(record)
    compared(run)
    shutil.rmtree(run)
