"""Writing tables: the same bytes from the same records, fast, and without a model library."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gluelamp.errors import InputError
from gluelamp.io import write_json
from gluelamp.records import (
    MEASUREMENT_COLUMNS,
    RunRecord,
    find_measurements,
    find_runs,
)
from gluelamp.reporting import results, write_tables
from gluelamp.reporting.results import Results
from synthetic_results import write_run

PUBLISHED = Path(__file__).parents[2] / "results" / "published"

AddRecord = Callable[..., RunRecord]
AddMeasurement = Callable[..., Path]

COUNTS = {
    "trained": 983040,
    "trained_pct": 0.27745,
    "head": 1051650,
    "stored_values": 122880,
    "stored_bytes": 491520,
    "shared_bytes": 0,
}


def latency(**changes: object) -> dict[str, Any]:
    row = {"state": "merged", "device": "cpu", "processor": "A", "dtype": "float32", "threads": 2}
    return row | {"batch": 8, "length": 128, "median_ms": 12.3456, "ratio_to_base": 1.002} | changes


def read(root: Path, name: str) -> list[str]:
    return (root / "tables" / name).read_text(encoding="utf-8").splitlines()


def test_regenerated_tables_have_the_same_bytes(
    tmp_path: Path, add_record: AddRecord, add_measurement: AddMeasurement
) -> None:
    for seed in (3, 1, 2):
        for task in ("mnli", "cola"):
            for method in ("pafi", "hiwi"):
                add_record(method, task, 0.1 * seed + 1 / 3, seed)
    add_record(error="broken")
    add_measurement("parameters", "hiwi", [COUNTS])
    add_measurement("latency", "hiwi", [latency()])
    first = {path.name: path.read_bytes() for path in write_tables(Results(tmp_path, tmp_path / "published"))}
    shutil.rmtree(tmp_path / "tables")
    again = {path.name: path.read_bytes() for path in write_tables(Results(tmp_path, tmp_path / "published"))}
    assert again == first
    tables = ("claims", "glue_accuracy", "glue_main", "latency", "parameters", "sparse_masks")
    names = {f"{name}.{ending}" for name in tables for ending in ("csv", "md", "tex")}
    assert set(first) == names
    assert all(b"\r" not in content and content.endswith(b"\n") for content in first.values())


def test_tables_do_not_depend_on_the_order_in_which_folders_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("pafi", "fish", "pfeiffer", "xpeft"):
        for task in ("rte", "mrpc"):
            for seed in (1, 0):
                write_run(tmp_path, method, task, seed)
    first = {path.name: path.read_bytes() for path in write_tables(Results(tmp_path, PUBLISHED))}
    assert {"claims.tex", "glue_main.tex", "sparse_masks.tex", "xpeft.tex"} <= first.keys()
    monkeypatch.setattr(results, "find_runs", lambda root: find_runs(root)[::-1])
    monkeypatch.setattr(results, "find_measurements", lambda root, kind: find_measurements(root, kind)[::-1])
    again = {path.name: path.read_bytes() for path in write_tables(Results(tmp_path, PUBLISHED))}
    assert [name for name in first if first[name] != again[name]] == []


def test_parameters_are_exact_and_their_variants_named(
    tmp_path: Path, add_measurement: AddMeasurement
) -> None:
    add_measurement("parameters", "hiwi", [COUNTS | {"trained": 3932160}], {"bottleneck": 16})
    add_measurement("parameters", "hiwi", [COUNTS], {"bottleneck": 4})
    add_measurement("parameters", "full", [COUNTS | {"trained_pct": 100}])
    write_tables(Results(tmp_path, tmp_path / "published"))
    assert read(tmp_path, "parameters.csv") == [
        "backbone,method,trained,trained_pct,head,stored_values,stored_bytes,shared_bytes,published,notes",
        "roberta_large,full,983040,100.0000,1051650,122880,491520,0,,",
        "roberta_large,hiwi [bottleneck=16],3932160,0.2774,1051650,122880,491520,0,,",
        "roberta_large,hiwi [bottleneck=4],983040,0.2774,1051650,122880,491520,0,,",
    ]
    assert read(tmp_path, "parameters.md")[-1] == (
        "| roberta_large | hiwi [bottleneck=4] | 983,040 | 0.2774 | 1,051,650 | 122,880 | 491,520 | 0 |  |  |"
    )


def test_a_label_is_plain_in_the_csv_and_no_markup_elsewhere(
    tmp_path: Path, add_measurement: AddMeasurement
) -> None:
    for exclude in ("embeddings.*|pooler.*", "pooler.*"):
        add_measurement("parameters", "pafi", [COUNTS], {"exclude": exclude})
    write_tables(Results(tmp_path, tmp_path / "published"))
    assert "roberta_large,pafi [exclude=embeddings.*|pooler.*],983040" in read(tmp_path, "parameters.csv")[1]
    table = "\n".join(read(tmp_path, "parameters.md"))
    assert r"| pafi [exclude=embeddings.\*\|pooler.\*] | 983,040 |" in table
    assert r"pafi {[}exclude=embeddings.*\textbar{}pooler.*{]} &" in "\n".join(
        read(tmp_path, "parameters.tex")
    )


def test_latency_rows_are_sorted_by_number_and_show_their_interval(
    tmp_path: Path, add_measurement: AddMeasurement
) -> None:
    interval = {"ratio_low": 0.99, "ratio_high": 1.01}
    rows = [latency(batch=32), latency(device="cuda", threads=None), latency(batch=8, **interval)]
    rows += [latency(processor="B")]
    add_measurement("latency", "pafi", rows)
    write_tables(Results(tmp_path, tmp_path / "published"))
    assert read(tmp_path, "latency.csv") == [
        "backbone,method,state,device,processor,dtype,threads,batch,length,median_ms,ratio_to_base",
        "roberta_large,pafi,merged,cpu,A,float32,2,8,128,12.346,1.002",
        "roberta_large,pafi,merged,cpu,A,float32,2,32,128,12.346,1.002",
        "roberta_large,pafi,merged,cpu,B,float32,2,8,128,12.346,1.002",
        "roberta_large,pafi,merged,cuda,A,float32,,8,128,12.346,1.002",
    ]
    ratios = [line.split(" | ")[-1] for line in read(tmp_path, "latency.md") if "merged" in line]
    assert ratios == ["1.002 [0.990, 1.010] |", *["1.002 |"] * 3]
    assert "- In brackets: the 95 % interval of the ratio." in read(tmp_path, "latency.md")


ROWS = {
    "parameters": COUNTS,
    "storage": dict.fromkeys(MEASUREMENT_COLUMNS["storage"], 1000),
    "flops": {"state": "base", "batch": 8, "length": 128, "flops_per_sample": 12.5e9, "ratio_to_base": 1.0},
    "memory": dict.fromkeys(MEASUREMENT_COLUMNS["memory"], 8) | {"state": "base", "device": "cpu"},
    "latency": latency(),
    "xpeft_bytes": dict.fromkeys(MEASUREMENT_COLUMNS["xpeft_bytes"], 100) | {"factor": 11342.77},
}


@pytest.mark.parametrize("kind", MEASUREMENT_COLUMNS)
def test_each_kind_of_measurement_has_a_table_in_three_forms(
    tmp_path: Path, add_measurement: AddMeasurement, kind: str
) -> None:
    add_measurement(kind, "pafi", [ROWS[kind]])
    write_tables(Results(tmp_path, tmp_path / "published"))
    header, row = read(tmp_path, f"{kind}.csv")
    assert header.split(",")[2:][: len(ROWS[kind])] == [*MEASUREMENT_COLUMNS[kind]]
    assert "" not in row.split(",")[: len(ROWS[kind]) + 2]
    assert any(line.startswith("| roberta_large | pafi | ") for line in read(tmp_path, f"{kind}.md"))
    assert any(line.startswith(r"roberta\_large & pafi & ") for line in read(tmp_path, f"{kind}.tex"))


def test_latency_without_intervals_does_not_mention_them(
    tmp_path: Path, add_measurement: AddMeasurement
) -> None:
    add_measurement("latency", "pafi", [latency()])
    write_tables(Results(tmp_path, tmp_path / "published"))
    assert "brackets" not in (tmp_path / "tables" / "latency.md").read_text(encoding="utf-8")


def test_without_records_the_error_names_a_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There are no records in .* Run `make reproduce-glue`"):
        write_tables(Results(tmp_path, tmp_path / "published"))
    assert list(tmp_path.iterdir()) == []


def test_two_hundred_records_are_tabled_within_two_seconds(tmp_path: Path, add_record: AddRecord) -> None:
    add_record()
    ((_, record),) = find_runs(tmp_path)
    content = record.model_dump(mode="json", exclude_unset=True)
    for seed in range(5):
        for method in range(40):
            config = {**content["config"], "method": {"name": f"m{method:02}"}, "seed": seed}
            folder = tmp_path / "runs" / "minilm_l6" / f"m{method:02}" / "cola" / str(seed)
            write_json(folder / "record.json", content | {"config": config})
    started = time.process_time()  # of this process alone, whatever else runs on the machine
    write_tables(Results(tmp_path, tmp_path / "published"))
    assert time.process_time() - started < 2.0


def test_records_need_the_standard_library_alone_and_tables_no_model_library() -> None:
    late = "scipy.stats, sklearn.metrics, pyarrow.parquet"  # imported where they are first needed
    steps = ["import sys, gluelamp.records", "print(*sys.modules)"]
    steps += [f"import gluelamp.reporting.results, {late}", "print(*sys.modules)"]
    command = [sys.executable, "-c", "; ".join(steps)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    records, tables = (set(line.split()) for line in output.splitlines())
    assert not {"pandas", "numpy", "torch"} & records
    assert "pandas" in tables
    assert not tables & {"torch", "transformers", "datasets", "evaluate", "hydra"}
