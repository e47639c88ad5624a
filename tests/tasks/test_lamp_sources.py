"""Which source a LaMP task is read from, prepared copies, and the list of all tasks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.tasks.catalogue import TASKS, known_task
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.lamp.tasks import LAMP, MOVIE_TAGS, NEWS, record_format
from gluelamp.tasks.mixture import find_task
from gluelamp.tasks.prepare import prepare
from gluelamp.tasks.task import Task, TaskData
from lamp_files import news, write_split

LAMP2N = LAMP["lamp2n"]
PROFILE = {f"article {number}": "women" for number in range(8)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLUELAMP_DATA", raising=False)
    return tmp_path


@pytest.fixture(autouse=True)
def no_glue_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*_: object) -> None:
        pytest.fail("the hub of GLUE was asked for LaMP")

    monkeypatch.setattr("gluelamp.tasks.benchmarks.read_hub", reached)


def put_local(root: Path) -> None:
    write_split(root / "LaMP_2N", "dev", [news("115", "a query", PROFILE)], {"115": "crime"})


def load(**config: object) -> TaskData:
    return load_task_data(LAMP2N, DataConfig(**config))


@pytest.mark.parametrize("place", ["root", "environment", "default"])
def test_auto_takes_the_local_folder_first(folder: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    put_local(folder / "data" / "lamp" if place == "default" else folder / "mine")
    if place == "environment":
        monkeypatch.setenv("GLUELAMP_DATA", str(folder / "mine"))
    data = load(source="auto", root=str(folder / "mine") if place == "root" else None)
    assert (data.source, data.revision) == ("local", None)


def test_auto_takes_the_sample_loudly_and_never_the_hub_of_glue(caplog: pytest.LogCaptureFixture) -> None:
    data = load(source="auto")
    assert data.source == "sample"
    assert [record.levelname for record in caplog.records if "from sample" in record.message] == ["WARNING"]
    assert data.deviations == (
        "the rows are the bundled synthetic sample, which is no evidence about the benchmark",
    )


def test_auto_does_not_hide_a_misspelt_root_behind_the_sample(folder: Path) -> None:
    with pytest.raises(InputError, match="misspelt is no folder with task 'lamp2n'"):
        load(source="auto", root=str(folder / "misspelt"))


def test_the_hub_is_for_prepare_only() -> None:
    with pytest.raises(
        InputError, match=r"scripts/prepare\.py data=hub tasks=\[lamp2n\] destination=data/lamp"
    ):
        load(source="hub")


def test_a_prepared_copy_is_read_before_official_files_and_is_the_same_data(folder: Path) -> None:
    put_local(folder / "real")
    original = load(source="local", root="real")
    prepare([LAMP2N], DataConfig(source="local", root="real"), folder / "copy")
    put_local(folder / "copy")
    (folder / "copy" / "LaMP_2N" / "dev_questions.json").write_text("broken")
    again = load(source="local", root="copy")
    assert (again.fingerprint, again.deviations) == (original.fingerprint, original.deviations)
    assert len(again.deviations) == 3
    for split, frame in original.splits.items():
        pd.testing.assert_frame_equal(again.splits[split], frame)


def test_a_prepared_sample_stays_a_sample(folder: Path) -> None:
    prepare([LAMP2N], DataConfig(source="sample"), folder / "copy")
    assert load(source="local", root="copy").source == "sample"


def test_official_files_can_be_prepared_beside_themselves(folder: Path) -> None:
    put_local(folder / "data" / "lamp")
    original = load(source="local")
    manifest = prepare([LAMP2N], DataConfig(source="auto"), folder / "data" / "lamp")
    assert manifest.tasks["lamp2n"].source == "local"
    assert load(source="local").fingerprint == original.fingerprint


def test_all_tasks_are_known_by_name() -> None:
    assert set(TASKS) == set(GLUE) | set(LAMP)
    assert known_task("cola") is GLUE["cola"]
    assert find_task("lamp2n_time") is LAMP["lamp2n_time"]
    with pytest.raises(InputError, match="did you mean 'movielens_rating'"):
        find_task("movielens_ratings")
    with pytest.raises(InputError, match="did you mean 'lamp2m'"):
        find_task("lamp2mm")
    with pytest.raises(InputError, match="did you mean 'mrpc'"):
        find_task("mprc")


def test_the_labels_stand_in_the_scorer_s_order() -> None:
    assert (len(NEWS), len(set(NEWS)), len(MOVIE_TAGS), len(set(MOVIE_TAGS))) == (15, 15, 15, 15)
    assert [LAMP2N.labels[number] for number in (0, 8, 11, 14)] == [
        "food & drink", "science & technology", "politics", "healthy living",
    ]  # fmt: skip
    assert [LAMP["lamp2m_time"].labels[number] for number in (0, 4, 11, 14)] == [
        "sci-fi", "twist ending", "thought-provoking", "true story",
    ]  # fmt: skip
    assert LAMP["lamp1"].labels == ("[1]", "[2]")
    assert LAMP["lamp3"].labels == ("1", "2", "3", "4", "5")
    assert LAMP["lamp3_score"].label_range == (1.0, 5.0)


@pytest.mark.parametrize("task", LAMP.values(), ids=LAMP)
def test_each_task_has_users_labelled_splits_and_a_layout(task: Task) -> None:
    assert (task.user_column, task.splits) == ("user", ("train", "validation", "test"))
    assert (task.validation_splits, task.test_splits) == (("validation", "test"), ())
    assert record_format(task).folders
    assert (record_format(task).site is None) == task.name.startswith("movielens")


def test_glue_has_neither_users_nor_errors() -> None:
    assert {(task.user_column, task.lower_is_better) for task in GLUE.values()} == {(None, False)}
