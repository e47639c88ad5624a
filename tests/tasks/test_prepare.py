"""A prepared copy has the same rows, the label of its source, and checksums that are verified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data, prepare
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.sources import HubUnavailableError
from gluelamp.tasks.tables import Reading, Table, numbered
from gluelamp.tasks.task import Task, TaskData
from lamp_files import news, write_split

COLA, WNLI, LAMP2N = GLUE["cola"], GLUE["wnli"], LAMP["lamp2n"]
SAMPLE = DataConfig(source="sample")


@pytest.fixture
def real(tmp_path: Path) -> DataConfig:
    """A local folder with two rows of CoLA's shape."""
    (tmp_path / "real" / "cola").mkdir(parents=True)
    for split in ("train", "validation"):
        path = tmp_path / "real" / "cola" / f"{split}.jsonl"
        path.write_text('{"idx": 0, "sentence": "a", "label": 1}\n')
    return DataConfig(source="local", root=str(tmp_path / "real"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> None:
        raise HubUnavailableError("silent")

    monkeypatch.setattr("gluelamp.tasks.benchmarks.read_hub", silent)


def load(task: Task, folder: Path) -> TaskData:
    return load_task_data(task, DataConfig(source="local", root=str(folder)))


def test_a_prepared_copy_reads_back_as_the_same_data(real: DataConfig, copy: Path) -> None:
    original = load_task_data(COLA, real)
    prepare([COLA], real, copy)
    again = load(COLA, copy)
    assert again.fingerprint == original.fingerprint
    assert again.deviations == original.deviations
    for split, frame in original.splits.items():
        pd.testing.assert_frame_equal(again.splits[split], frame)


def test_the_manifest_names_every_file_with_its_checksum(real: DataConfig, copy: Path) -> None:
    returned = prepare([COLA], real, copy)
    written = json.loads((copy / "manifest.json").read_text())
    entry = written["tasks"]["cola"]
    assert entry["source"] == "local"
    assert entry["rows"] == {"train": 1, "validation": 1}
    assert entry["fingerprint"] == load_task_data(COLA, real).fingerprint
    assert list(entry["files"]) == ["cola/train.parquet", "cola/validation.parquet"]
    for name, checksum in entry["files"].items():
        assert hashlib.sha256((copy / name).read_bytes()).hexdigest() == checksum
    assert returned.tasks["cola"].files == entry["files"]
    everything = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert everything == {"manifest.json", *entry["files"]}


def test_a_copy_of_the_sample_is_never_called_local(copy: Path) -> None:
    prepare([WNLI, LAMP2N], SAMPLE, copy)
    prepare([WNLI], DataConfig(source="local", root=str(copy)), copy.parent / "second")
    for data in (load(WNLI, copy), load(LAMP2N, copy), load(WNLI, copy.parent / "second")):
        assert data.source == "sample"
        assert data.deviations == load_task_data(WNLI, SAMPLE).deviations


def test_a_copy_from_the_hub_keeps_its_commit(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"sentence": ["a"], "label": [1], "idx": [0]})
    tables = {split: Table(numbered(frame), split) for split in ("train", "validation")}
    reading = Reading(tables, "hub", "the hub", "abc123")
    monkeypatch.setattr("gluelamp.tasks.benchmarks.read_hub", lambda *_: reading)
    manifest = prepare([COLA], DataConfig(source="hub"), copy)
    assert (manifest.tasks["cola"].source, manifest.tasks["cola"].revision) == ("hub", "abc123")
    data = load(COLA, copy)
    assert (data.source, data.revision) == ("local", "abc123")


def test_other_tasks_of_the_folder_are_kept(real: DataConfig, copy: Path) -> None:
    prepare([WNLI], SAMPLE, copy)
    prepare([COLA], real, copy)
    assert load(WNLI, copy).source == "sample"
    assert load(COLA, copy).source == "local"


def test_only_files_of_the_manifest_are_read(real: DataConfig, copy: Path) -> None:
    prepare([COLA], real, copy)
    (copy / "cola" / "test.jsonl").write_text("not even JSON")
    (copy / "cola" / "train.jsonl").write_text("not even JSON")
    assert list(load(COLA, copy).splits) == ["train", "validation"]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"y" + b[1:]])
def test_a_changed_file_is_refused(real: DataConfig, copy: Path, damage: Callable[[bytes], bytes]) -> None:
    prepare([COLA], real, copy)
    path = copy / "cola" / "train.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"train\.parquet was changed or truncated.*prepare again"):
        load(COLA, copy)
    path.unlink()
    with pytest.raises(InputError, match=r"train\.parquet is missing.*prepare again"):
        load(COLA, copy)
    prepare([COLA], real, copy)
    assert load(COLA, copy).source == "local"


@pytest.mark.parametrize("content", ["", '{"tasks": {}, "version": 2}', '{"tasks": {"cola": 1}}'])
def test_a_broken_manifest_is_refused(copy: Path, content: str) -> None:
    copy.mkdir()
    (copy / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json is not a manifest"):
        load(COLA, copy)


def test_an_interrupted_run_leaves_no_half_written_file(
    real: DataConfig, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare([COLA], real, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}

    def interrupted(_: pd.DataFrame, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare([COLA], SAMPLE, copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("source", ["local", "auto"])
def test_a_copy_is_never_made_from_itself(real: DataConfig, copy: Path, no_hub: None, source: str) -> None:
    prepare([COLA], real, copy)
    with pytest.raises(InputError, match="is both source and destination"):
        prepare([COLA], DataConfig(source=source, root=str(copy)), copy)


def test_auto_never_replaces_real_rows_by_the_sample(
    real: DataConfig, copy: Path, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare([COLA], real, copy)
    monkeypatch.setenv("GLUELAMP_DATA", str(copy))
    auto = DataConfig(source="auto")
    with pytest.raises(InputError, match="Only the bundled sample of cola is available now"):
        prepare([COLA], auto, copy)
    assert load(COLA, copy).source == "local"
    assert prepare([WNLI], auto, copy).tasks["wnli"].source == "sample"
    assert prepare([COLA], SAMPLE, copy).tasks["cola"].source == "sample"


def test_auto_never_replaces_files_without_a_manifest_by_the_sample(
    real: DataConfig, no_hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert real.root
    monkeypatch.setenv("GLUELAMP_DATA", real.root)
    with pytest.raises(InputError, match="Only the bundled sample of cola is available now"):
        prepare([COLA], DataConfig(source="auto"), Path(real.root))
    assert load(COLA, Path(real.root)).source == "local"


def put_official(root: Path) -> None:
    profile = {f"article {number}": "women" for number in range(8)}
    write_split(root / "LaMP_2N", "dev", [news("115", "a query", profile)], {"115": "crime"})


def test_a_prepared_copy_of_lamp_is_preferred_to_official_files(copy: Path) -> None:
    official = copy.parent / "official"
    put_official(official)
    original = load(LAMP2N, official)
    prepare([LAMP2N], DataConfig(source="local", root=str(official)), copy)
    put_official(copy)
    (copy / "LaMP_2N" / "dev_questions.json").write_text("broken")
    again = load(LAMP2N, copy)
    assert (again.fingerprint, again.deviations) == (original.fingerprint, original.deviations)
    assert len(again.deviations) == 3


def test_official_files_can_be_prepared_in_their_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLUELAMP_DATA", raising=False)
    put_official(tmp_path / "data" / "lamp")
    original = load_task_data(LAMP2N, DataConfig(source="local"))
    manifest = prepare([LAMP2N], DataConfig(source="auto"), tmp_path / "data" / "lamp")
    assert manifest.tasks["lamp2n"].source == "local"
    assert load_task_data(LAMP2N, DataConfig(source="local")).fingerprint == original.fingerprint
