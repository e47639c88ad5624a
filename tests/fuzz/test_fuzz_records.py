"""Records of runs and measurements: a record or one refusal; a value is never converted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import VALUES, changed, damaged, value_or_refusal
from gluelamp.errors import InputError
from gluelamp.io import read_json
from gluelamp.records import find_measurements, read_certificate, read_record, write_record

FIXTURES = Path(__file__).parents[1] / "fixtures" / "records"
RECORDS = [FIXTURES / f"record_schema_{version}.json" for version in (1, 2, 3)]
MEASUREMENT = FIXTURES / "measurement_schema_1.json"
CONTENTS = [read_json(path) for path in RECORDS]


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


@given(
    damaged(*(path.read_bytes() for path in RECORDS))
    | st.sampled_from(CONTENTS).flatmap(changed).map(as_json)
    | VALUES.map(as_json)
)
def test_records_of_runs(folder: Path, content: bytes) -> None:
    path = folder / "record.json"
    path.write_bytes(content)
    record = value_or_refusal(lambda: read_record(path))
    if record is None:
        return
    write_record(folder / "again.json", record)
    assert read_record(folder / "again.json") == record
    assert record.folder(folder / "root").is_relative_to(folder / "root")
    assert ".." not in record.folder(folder / "root").parts


@given(damaged(MEASUREMENT.read_bytes()) | changed(read_json(MEASUREMENT)).map(as_json) | VALUES.map(as_json))
def test_measurements(folder: Path, content: bytes) -> None:
    kind = read_json(MEASUREMENT)["kind"]
    path = folder / "measurements" / kind / "a" / "b.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    value_or_refusal(lambda: find_measurements(folder, kind))
    value_or_refusal(lambda: read_certificate(path))


@pytest.mark.parametrize(
    "key", ["identity", "config.backbone.name", "config.method.name", "config.task.name"]
)
@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "..", "a/../../b", "", "a\x00b", "a\n"])
def test_a_name_in_a_record_is_one_folder(folder: Path, key: str, name: str) -> None:
    content = read_json(RECORDS[-1])
    *sections, last = key.split(".")
    section = content
    for part in sections:
        section = section[part]
    section[last] = name
    (folder / "named.json").write_bytes(as_json(content))
    with pytest.raises(InputError, match=re.escape(key)):
        read_record(folder / "named.json")
