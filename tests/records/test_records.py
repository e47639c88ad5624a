"""Records: written whole, read with care, old ones for ever."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gluelamp.errors import InputError
from gluelamp.records import find_measurements, find_records, read_record, write_json

FIXTURES = Path(__file__).parents[1] / "fixtures" / "records"
RECORD = FIXTURES / "record_schema_1.json"


@pytest.fixture
def content() -> dict[str, Any]:
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_a_record_of_schema_1_stays_readable() -> None:
    record = read_record(RECORD)
    assert record.identity == "5f0c2e7a9b13d864"
    assert record.config["method"]["density"] == 0.005
    assert record.metrics["best"] == {"epoch": 2, "accuracy": 0.7512, "accuracy_mismatched": 0.7604}
    assert record.error is None


def test_a_measurement_of_schema_1_stays_readable(tmp_path: Path) -> None:
    place = tmp_path / "measurements" / "latency" / "roberta_large" / "hiwi-1.json"
    place.parent.mkdir(parents=True)
    shutil.copy(FIXTURES / "measurement_schema_1.json", place)
    (measurement,) = find_measurements(tmp_path, "latency")
    assert (measurement.backbone, measurement.method) == ("roberta_large", "hiwi")
    assert measurement.rows[0]["ratio_to_base"] == 1.002
    assert find_measurements(tmp_path, "parameters") == []


def test_a_record_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    record = read_record(RECORD)
    write_json(tmp_path / "record.json", asdict(record))
    assert read_record(tmp_path / "record.json") == record


def test_json_keeps_the_order_of_keys_and_turns_nan_and_infinities_into_null(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    write_json(path, {"z": float("nan"), "a": [1.5, float("-inf")], "m": {"q": (float("inf"), 2)}})
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert text.startswith('{\n "z": null')
    assert json.loads(text) == {"z": None, "a": [1.5, None], "m": {"q": [None, 2]}}


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"old": True})

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="disk is full"):
        write_json(path, {"new": True})
    assert json.loads(path.read_text(encoding="utf-8")) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


def test_records_are_found_in_the_order_of_their_paths(tmp_path: Path, content: dict[str, Any]) -> None:
    for identity in ("ccc", "aaa", "bbb"):
        folder = tmp_path / "runs" / "minilm_l6" / "pafi" / "mnli" / identity
        write_json(folder / "record.json", content | {"identity": identity})
    assert [record.identity for record in find_records(tmp_path)] == ["aaa", "bbb", "ccc"]


@pytest.mark.parametrize(
    "key",
    [
        "git",
        "metrics.best",
        "metrics.last.accuracy",
        "config.method.name",
        "config.seed",
        "data.fingerprint",
    ],
)
def test_a_missing_key_is_named_with_its_file(tmp_path: Path, content: dict[str, Any], key: str) -> None:
    *parents, last = key.split(".")
    here = content
    for parent in parents:
        here = here[parent]
    del here[last]
    write_json(tmp_path / "record.json", content)
    with pytest.raises(InputError, match=rf"record\.json: key '{key}.*' is missing"):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "key 'schema_version' is 2; this release reads 1"),
        ({"metric": 1}, "key 'metric' does not belong to schema 1"),
        ({"status": "done"}, "status 'done' is neither of complete, failed"),
    ],
)
def test_a_record_of_another_schema_is_refused(
    tmp_path: Path, content: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    write_json(tmp_path / "record.json", content | change)
    with pytest.raises(InputError, match=message):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize("text", ['{"schema_version": 1,', "[]"])
def test_a_file_that_is_no_record_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"record\.json"):
        read_record(tmp_path / "record.json")


def test_a_file_that_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(b'{"status": "\xff"}')
    with pytest.raises(InputError, match=r"record\.json is not JSON: .*\. Remove it and run again\."):
        read_record(tmp_path / "record.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("metrics", ["best"]),
        ("history", 3),
        ("main_metric", None),
        ("config.seed", "0"),
        ("config.task.name", 7),
        ("config.trainer.epochs", "many"),
        ("data.deviations", "none"),
        ("metrics.best.accuracy", "good"),
    ],
)
def test_a_value_of_another_type_is_named_with_its_file(
    tmp_path: Path, content: dict[str, Any], key: str, value: object
) -> None:
    *parents, last = key.split(".")
    here = content
    for parent in parents:
        here = here[parent]
    here[last] = value
    write_json(tmp_path / "record.json", content)
    sentence = re.escape(f"record.json: key {key!r} is {value!r}. Input should be ")
    with pytest.raises(InputError, match=sentence):
        read_record(tmp_path / "record.json")


def test_a_failed_run_needs_no_data_and_no_metrics(tmp_path: Path, content: dict[str, Any]) -> None:
    failed = {
        "status": "failed",
        "data": {},
        "backbone": {},
        "metrics": {},
        "error": "no such file",
    }
    write_json(tmp_path / "record.json", content | failed)
    assert read_record(tmp_path / "record.json").error == "no such file"


def test_a_measurement_must_be_of_its_folder_and_have_every_column(tmp_path: Path) -> None:
    content = json.loads((FIXTURES / "measurement_schema_1.json").read_text(encoding="utf-8"))
    path = tmp_path / "measurements" / "latency" / "roberta_large" / "hiwi-1.json"
    del content["rows"][0]["threads"]
    write_json(path, content)
    with pytest.raises(InputError, match=r"hiwi-1\.json: key 'rows\.0\.threads' is missing"):
        find_measurements(tmp_path, "latency")
    write_json(path, content | {"rows": []})
    with pytest.raises(InputError, match=r"hiwi-1\.json: key 'rows' is empty"):
        find_measurements(tmp_path, "latency")
    write_json(path, content | {"kind": "parameters"})
    with pytest.raises(InputError, match="kind 'parameters' does not belong among the latency"):
        find_measurements(tmp_path, "latency")


def test_an_unknown_kind_of_measurement_is_named() -> None:
    with pytest.raises(InputError, match="did you mean 'latency'"):
        find_measurements(Path(), "latncy")
