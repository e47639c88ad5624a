"""Which source is taken: the local folder, else the hub if it answers, else the bundled sample."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub import DatasetInfo
from huggingface_hub.errors import OfflineModeIsEnabled, RevisionNotFoundError
from pydantic import ValidationError

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.glue import GLUE, glue_task
from gluelamp.tasks.task import Task, TaskData

COMMIT = "0123456789abcdef"
ROW = '{"idx": 0, "sentence1": "l", "sentence2": "m", "label": 1.25}\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLUELAMP_DATA", raising=False)
    return tmp_path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """A hub that answers with two rows; the calls that reach it are listed."""
    features = datasets.Features(
        sentence1=datasets.Value("string"),
        sentence2=datasets.Value("string"),
        label=datasets.Value("float32"),
        idx=datasets.Value("int32"),
    )
    rows = [{"sentence1": "a", "sentence2": "b", "label": 3.8, "idx": 0}]
    split = datasets.Dataset.from_list(rows, features)
    calls: list[tuple] = []

    def dataset_info(_: object, name: str, *, revision: str, timeout: float) -> DatasetInfo:
        calls.append((name, revision, timeout))
        return DatasetInfo(id=name, sha=COMMIT)

    def load_dataset(name: str, task: str, *, revision: str) -> datasets.DatasetDict:
        calls.append((name, task, revision))
        return datasets.DatasetDict(train=split, validation=split)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


@pytest.fixture
def silent_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def dataset_info(*_: object, **__: object) -> None:
        raise OfflineModeIsEnabled("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)


def put_local(root: Path) -> None:
    for split in ("train", "validation"):
        path = root / "stsb" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ROW)


def load(**config: object) -> TaskData:
    return load_task_data(glue_task("stsb"), DataConfig(**config))


@pytest.mark.parametrize("place", ["root", "environment", "default"])
def test_auto_takes_the_local_folder_first(
    folder: Path, hub: list[tuple], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    put_local(folder / "data" / "glue" if place == "default" else folder / "mine")
    if place == "environment":
        monkeypatch.setenv("GLUELAMP_DATA", str(folder / "mine"))
    data = load(source="auto", root=str(folder / "mine") if place == "root" else None)
    assert (data.source, data.revision, hub) == ("local", None, [])
    assert data.splits["train"]["label"].tolist() == [1.25]


def test_a_given_root_hides_the_environment_s(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_local(folder / "mine")
    monkeypatch.setenv("GLUELAMP_DATA", str(folder / "mine"))
    with pytest.raises(InputError, match="other is no folder"):
        load(source="local", root=str(folder / "other"))


def test_auto_takes_the_hub_when_the_folder_lacks_the_task(folder: Path, hub: list[tuple]) -> None:
    (folder / "data" / "glue" / "cola").mkdir(parents=True)
    data = load(source="auto", revision="main", hub_timeout_s=0.5)
    assert hub == [("nyu-mll/glue", "main", 0.5), ("nyu-mll/glue", "stsb", COMMIT)]
    assert (data.source, data.revision) == ("hub", COMMIT)
    assert data.splits["validation"]["label"].tolist() == [3.8]  # not float32's 3.7999999523
    assert "test is missing; the official split has 1,379" in data.deviations


def test_auto_takes_the_sample_loudly_when_the_hub_is_silent(
    silent_hub: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gluelamp")
    data = load(source="auto")
    assert data.source == "sample"
    assert data.deviations == (
        "the rows are the bundled synthetic sample, which is no evidence about the benchmark",
    )
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "rows from sample" in warning.getMessage()
    assert "did not answer within 5 s (no network)" in caplog.text.replace("\n", " ")


def test_auto_does_not_hide_a_misspelt_root_behind_the_hub(folder: Path, hub: list[tuple]) -> None:
    with pytest.raises(InputError, match="misspelt is no folder with task 'stsb'"):
        load(source="auto", root=str(folder / "misspelt"))
    (folder / "other").mkdir()
    with pytest.raises(InputError, match="other holds no rows of task 'stsb'"):
        load(source="auto", root=str(folder / "other"))
    assert hub == []


@pytest.mark.parametrize("source", ["hub", "sample"])
def test_a_root_is_refused_where_no_folder_is_read(source: str) -> None:
    sentence = f"data.root=mine is not allowed with data.source={source}, which reads no folder. Take "
    with pytest.raises(ValidationError, match=sentence):
        DataConfig(source=source, root="mine")


def test_auto_does_not_hide_a_broken_local_folder_behind_the_hub(folder: Path, hub: list[tuple]) -> None:
    (folder / "stsb").mkdir()
    (folder / "stsb" / "train.jsonl").write_text(ROW)
    with pytest.raises(InputError, match="no validation split"):
        load(source="auto", root=str(folder))
    assert hub == []


def test_auto_does_not_hide_a_wrong_revision_behind_the_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dataset_info(*_: object, **__: object) -> None:
        raise RevisionNotFoundError.__new__(RevisionNotFoundError)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    with pytest.raises(InputError, match="no revision 'mian'"):
        load(source="auto", revision="mian")


def test_auto_does_not_hide_a_failed_download_behind_the_sample(
    hub: list[tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match=r"stsb could not be read from nyu-mll/glue at 01.*disk full"):
        load(source="auto")


@pytest.mark.parametrize("source", ["hub", "local", "sample"])
def test_a_forced_source_is_taken(folder: Path, hub: list[tuple], source: str) -> None:
    put_local(folder / "data" / "glue")
    assert load(source=source).source == source


def test_a_forced_source_that_is_not_there_is_an_error(silent_hub: None) -> None:
    with pytest.raises(InputError, match="did not answer within 5 s"):
        load(source="hub")
    with pytest.raises(InputError, match="no folder with task 'stsb'"):
        load(source="local")


@pytest.mark.parametrize("task", GLUE.values(), ids=GLUE)
def test_every_task_of_the_sample_passes_the_checks_and_is_always_the_same(task: Task) -> None:
    data = load_task_data(task, DataConfig(source="sample"))
    assert list(data.splits) == list(task.splits)
    assert load_task_data(task, DataConfig(source="sample")).fingerprint == data.fingerprint


@pytest.mark.parametrize(
    "wrong", [{"source": "web"}, {"hub_timeout_s": 0}, {"hub_timeout_s": -1}, {"rooot": "x"}]
)
def test_the_configuration_is_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataConfig(**wrong)
