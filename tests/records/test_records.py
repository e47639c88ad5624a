"""Records are written completely, checked when they are read, and stay readable in later releases."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gluelamp.errors import InputError
from gluelamp.io import read_json, write_json
from gluelamp.records import RunRecord, find_measurements, find_runs, read_record, write_record

FIXTURES = Path(__file__).parents[1] / "fixtures" / "records"


@pytest.fixture
def content() -> dict[str, Any]:
    """The content of a record of version 2."""
    return read_json(FIXTURES / "record_schema_3.json")


@pytest.fixture
def read(tmp_path: Path) -> Callable[[dict[str, Any]], RunRecord]:
    """Write the content of a record and read it."""

    def reading(content: dict[str, Any]) -> RunRecord:
        write_json(tmp_path / "record.json", content)
        return read_record(tmp_path / "record.json")

    return reading


def changed(content: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """Change the value of a dotted key; remove the key if the value is Ellipsis."""
    *sections, last = key.split(".")
    section = content
    for name in sections:
        section = section[name]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return content


def test_a_record_of_version_1_stays_readable() -> None:
    record = read_record(FIXTURES / "record_schema_1.json")
    assert record.identity == "5f0c2e7a9b13d864"
    assert record.config_dict()["method"] == {"name": "pafi", "density": 0.005, "order": "smallest"}
    assert record.metrics["best"] == {"epoch": 2, "accuracy": 0.7512, "accuracy_mismatched": 0.7604}
    assert (record.error, record.overrides, record.config.task.profiles) == (None, None, "shared")


def test_names_and_words_of_version_1_are_replaced(
    content: dict[str, Any], read: Callable[..., RunRecord]
) -> None:
    old = json.loads(json.dumps(content)) | {"schema_version": 1}
    del old["family"], old["overrides"]
    task, trainer = old["config"]["task"], old["config"]["trainer"]
    task |= {"users": "each", "head_starts_at": [2.5]}
    trainer["together"] = trainer.pop("profiles_per_pass")
    del task["profiles"]
    old["config"]["method"] |= {"learning_rate": 0.01, "head_learning_rate": 0.005}
    old["memory"]["of"] = old["memory"].pop("measure")
    old["config"]["head"] = {"train_pooler": False}
    old["protocol"]["persons"] = old["protocol"].pop("users")
    old["protocol"]["selection"] = "best on each person's validation rows, and last, from the same run"
    old["protocol"]["validation_reused"] = "best: each person's own rows choose; last: no"
    content["config"]["task"]["initial_head_bias"] = [2.5]
    record = read(old)
    assert record.config_dict() == content["config"]
    new = record.model_dump(mode="json", exclude_unset=True)
    assert new == {key: value for key, value in content.items() if key != "overrides"}


@pytest.mark.parametrize(("trains_pooler", "head"), [(False, "linear"), (True, "two_layer")])
def test_the_pooler_of_version_2_is_the_type_of_the_head(
    content: dict[str, Any], read: Callable[..., RunRecord], trains_pooler: bool, head: str
) -> None:
    assert read_record(FIXTURES / "record_schema_2.json").config_dict() == content["config"]
    old = content | {"schema_version": 2}
    old["config"]["head"] = {"train_pooler": trains_pooler}
    assert read(old).config_dict()["head"] == {"type": head}


def test_a_record_that_is_written_has_the_content_that_was_read(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    record = read_record(FIXTURES / "record_schema_3.json")
    assert record.config.trainer.profiles_per_pass == 32
    assert (record.protocol.users, list(record.protocol.diverged)) == (40, ["user_7"])
    assert record.config_dict() == content["config"]
    write_record(tmp_path / "record.json", record)
    assert read_json(tmp_path / "record.json") == content
    assert read_record(tmp_path / "record.json") == record


def test_a_measurement_of_version_1_stays_readable(tmp_path: Path) -> None:
    file = tmp_path / "measurements" / "latency" / "roberta_large" / "hiwi-1.json"
    file.parent.mkdir(parents=True)
    shutil.copy(FIXTURES / "measurement_schema_1.json", file)
    (measurement,) = find_measurements(tmp_path, "latency")
    assert (measurement.backbone, measurement.method) == ("roberta_large", "hiwi")
    assert measurement.rows[0]["ratio_to_base"] == 1.002
    assert find_measurements(tmp_path, "parameters") == []


def test_json_keeps_the_order_of_keys_and_turns_nan_and_infinities_into_null(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    write_json(path, {"z": float("nan"), "a": [1.5, float("-inf")], "m": {"q": (float("inf"), 2)}})
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert text.startswith('{\n "z": null')
    assert json.loads(text) == {"z": None, "a": [1.5, None], "m": {"q": [None, 2]}}


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"old": True})

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="disk is full"):
        write_json(path, {"new": True})
    assert read_json(path) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


def test_runs_are_found_in_the_order_of_their_paths(tmp_path: Path, content: dict[str, Any]) -> None:
    for identity in ("ccc", "aaa", "bbb"):
        folder = tmp_path / "runs" / "minilm" / "xpeft" / "lamp2n" / identity
        write_json(folder / "record.json", content | {"identity": identity})
    assert [record.identity for _, record in find_runs(tmp_path)] == ["aaa", "bbb", "ccc"]


MISSING = [
    "git",
    "metrics.best",
    "metrics.last.accuracy",
    "config.method.name",
    "config.seed",
    "data.fingerprint",
]
WRONG_TYPE = [
    ("metrics", ["best"]),
    ("history", 3),
    ("main_metric", None),
    ("config.seed", "0"),
    ("config.task.name", 7),
    ("config.trainer.epochs", "many"),
    ("data.deviations", "none"),
    ("metrics.best.accuracy", "good"),
    ("status", "done"),
]


@pytest.mark.parametrize(
    ("key", "value"), [*((key, ...) for key in MISSING), *WRONG_TYPE, ("metric", 1), ("schema_version", 4)]
)
def test_the_first_wrong_key_is_named_with_its_file(
    content: dict[str, Any], read: Callable[..., RunRecord], key: str, value: object
) -> None:
    sentence = rf"key '{key}.*' is missing" if value is ... else re.escape(f"key {key!r} is {value!r}")
    if key == "metric":
        sentence = "key 'metric' does not belong to this schema"
    with pytest.raises(InputError, match=rf"record\.json: {sentence}"):
        read(changed(content, key, value))


@pytest.mark.parametrize("content", [b'{"schema_version": 1,', b"[]", b'{"status": "\xff"}'])
def test_a_file_that_is_not_a_record_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(InputError, match=r"record\.json"):
        read_record(tmp_path / "record.json")


def test_a_failed_run_needs_no_results(content: dict[str, Any], read: Callable[..., RunRecord]) -> None:
    for section in ("metrics", "parameters", "bytes", "speed", "memory"):
        del content[section]
    record = read(content | {"status": "failed", "error": "The loss of step 9 is nan."})
    assert (record.error, record.metrics) == ("The loss of step 9 is nan.", {})


def test_a_measurement_must_be_in_the_folder_of_its_kind_and_have_every_column(tmp_path: Path) -> None:
    content = read_json(FIXTURES / "measurement_schema_1.json")
    path = tmp_path / "measurements" / "latency" / "roberta_large" / "hiwi-1.json"
    del content["rows"][0]["threads"]
    for change, sentence in (
        ({}, r"hiwi-1\.json: key 'rows\.0\.threads' is missing"),
        ({"rows": []}, r"hiwi-1\.json: key 'rows' is empty"),
        ({"kind": "parameters"}, "kind 'parameters' does not belong among the latency"),
    ):
        write_json(path, content | change)
        with pytest.raises(InputError, match=sentence):
            find_measurements(tmp_path, "latency")
    with pytest.raises(InputError, match="did you mean 'latency'"):
        find_measurements(tmp_path, "latncy")
