"""The choice of the source: the local folder, else the hub if it answers, else the bundled sample."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub import DatasetInfo
from huggingface_hub.errors import OfflineModeIsEnabled, RevisionNotFoundError
from pydantic import ValidationError

from gluelamp.errors import InputError
from gluelamp.tasks import benchmarks
from gluelamp.tasks.catalogue import TASKS
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.task import TaskData
from lamp_files import news, write_split

COMMIT = "0123456789abcdef"
ROW = '{"idx": 0, "sentence1": "l", "sentence2": "m", "label": 1.25}\n'
BOTH_BENCHMARKS = pytest.mark.parametrize("task", ["stsb", "lamp2n"])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmarks, "_SILENT_HUBS", set())
    monkeypatch.delenv("GLUELAMP_DATA", raising=False)
    return tmp_path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """A hub that answers with one row per split; its calls are listed."""
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


def fail_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def put_local(root: Path, task: str = "stsb") -> None:
    if task == "lamp2n":
        profile = {f"article {number}": "women" for number in range(8)}
        write_split(root / "LaMP_2N", "dev", [news("115", "a query", profile)], {"115": "crime"})
    else:
        (root / task).mkdir(parents=True, exist_ok=True)
        for split in ("train", "validation"):
            (root / task / f"{split}.jsonl").write_text(ROW)


def load(task: str = "stsb", **config: object) -> TaskData:
    return load_task_data(TASKS[task], DataConfig(**config))


@BOTH_BENCHMARKS
@pytest.mark.parametrize("place", ["root", "environment", "default"])
def test_auto_prefers_the_local_folder(
    folder: Path, hub: list[tuple], monkeypatch: pytest.MonkeyPatch, task: str, place: str
) -> None:
    default = folder / "data" / ("lamp" if task == "lamp2n" else "glue")
    put_local(default if place == "default" else folder / "mine", task)
    if place == "environment":
        monkeypatch.setenv("GLUELAMP_DATA", str(folder / "mine"))
    data = load(task, source="auto", root=str(folder / "mine") if place == "root" else None)
    assert (data.source, data.revision, hub) == ("local", None, [])


def test_a_root_takes_precedence_over_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@BOTH_BENCHMARKS
def test_auto_falls_back_to_the_sample_with_a_warning(
    hub: list[tuple], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, task: str
) -> None:
    offline = fail_with(OfflineModeIsEnabled("no network"))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", offline)
    caplog.set_level(logging.INFO, logger="gluelamp")
    data = load(task, source="auto")
    assert (data.source, hub) == ("sample", [])
    assert data.deviations == (
        "the rows are the bundled synthetic sample, which is no evidence about the benchmark",
    )
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "rows from sample" in warning.getMessage()
    reason = "did not answer within 5 s (no network)" if task == "stsb" else "is not read from the network"
    assert reason in caplog.text.replace("\n", " ")


def test_auto_does_not_ask_a_hub_again_that_did_not_answer(
    hub: list[tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.HfApi, "dataset_info", fail_with(OfflineModeIsEnabled("no network")))
        assert load(source="auto").source == "sample"
    assert load("cola", source="auto").source == "sample"  # of the same benchmark
    assert hub == []
    assert load(source="hub").source == "hub"  # who names the hub waits for it each time


@BOTH_BENCHMARKS
def test_auto_reports_a_misspelt_root(folder: Path, hub: list[tuple], task: str) -> None:
    with pytest.raises(InputError, match=f"misspelt is no folder with task '{task}'"):
        load(task, source="auto", root=str(folder / "misspelt"))
    (folder / "other").mkdir()
    with pytest.raises(InputError, match=f"other holds no rows of task '{task}'"):
        load(task, source="auto", root=str(folder / "other"))
    assert hub == []


def test_auto_reports_a_broken_local_folder(folder: Path, hub: list[tuple]) -> None:
    put_local(folder)
    (folder / "stsb" / "validation.jsonl").unlink()
    with pytest.raises(InputError, match="no validation split"):
        load(source="auto", root=str(folder))
    assert hub == []


def test_auto_reports_a_wrong_revision_and_a_failed_download(
    hub: list[tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", fail_with(OSError("disk full")))
    with pytest.raises(InputError, match=r"stsb could not be read from nyu-mll/glue at 01.*disk full"):
        load(source="auto")
    wrong = fail_with(RevisionNotFoundError.__new__(RevisionNotFoundError))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", wrong)
    with pytest.raises(InputError, match="no revision 'mian'"):
        load(source="auto", revision="mian")


@pytest.mark.parametrize("source", ["hub", "local", "sample"])
def test_a_forced_source_is_taken(folder: Path, hub: list[tuple], source: str) -> None:
    put_local(folder / "data" / "glue")
    assert load(source=source).source == source


def test_a_forced_source_that_is_not_available_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    offline = fail_with(OfflineModeIsEnabled("no network"))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", offline)
    with pytest.raises(InputError, match="did not answer within 5 s"):
        load(source="hub")
    with pytest.raises(InputError, match="no folder with task 'stsb'"):
        load(source="local")
    sentence = r"gluelamp prepare data=hub tasks=\[lamp2n\] destination=data/lamp"
    with pytest.raises(InputError, match=sentence):
        load("lamp2n", source="hub")


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": "web"},
        {"hub_timeout_s": 0},
        {"rooot": "x"},
        {"source": "hub", "root": "mine"},
        {"source": "sample", "root": "mine"},
    ],
)
def test_the_configuration_is_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataConfig(**wrong)
