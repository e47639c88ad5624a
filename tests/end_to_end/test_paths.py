"""Every option that is a path follows one rule: ``~`` is the home folder, and a name may have any letters."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import gluelamp as gl
from end_to_end.conftest import Ended
from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import plan_run
from gluelamp.io import user_path
from tiny_models import tiny

Run = Callable[..., Ended]
FAST = ("method=head_only", "trainer.epochs=1")


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a space and an umlaut in its name, which is not the working directory."""
    folder = tmp_path_factory.mktemp("home") / "Zoë Müller"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_no_option_of_a_run_makes_a_folder_named_tilde(
    run_here: Run, home: Path, small: tuple[str, ...], tiny_backbone: Path, tmp_path: Path
) -> None:
    (home / "bäckbone").symlink_to(tiny_backbone)
    options = [word for word in small if not word.startswith("backbone.path")]
    run = (*options, *FAST, 'backbone.path="~/bäckbone"', 'results.root="~/my results"')
    assert run_here("train", *run).code == 0
    assert len(list((home / "my results").glob("runs/*/*/*/*/record.json"))) == 1
    assert run_here("train", "-m", *run, "seed=1,2").code == 0
    assert len(list((home / "my results").glob("runs/*/*/*/*/record.json"))) == 3
    full = [*run, "method=full"]
    assert run_here("train", *full).code == 0
    assert run_here("export", *full, 'destination="~/merged"').code == 0
    assert (home / "merged" / "model.safetensors").is_file()
    assert run_here("report", 'results.root="~/my results"', "what=tables").code == 0
    assert (home / "my results" / "tables").is_dir()
    assert not list(tmp_path.iterdir())


def test_data_are_prepared_and_read_below_the_home_folder(
    run_here: Run, home: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    assert run_here("prepare", "data=sample", "tasks=rte", 'destination="~/dätä"').code == 0
    assert (home / "dätä" / "rte").is_dir()
    words = (*small, *FAST, "task=rte", "data=local", 'data.root="~/dätä"', "results.root=out")
    assert run_here("train", *words).code == 0
    assert len(list((tmp_path / "out").glob("runs/tiny/*/rte/*/record.json"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_own_rows_and_printed_numbers_are_read_below_the_home_folder(
    run_here: Run, home: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    rows = pd.DataFrame({"text": [f"film {number}" for number in range(40)], "label": [0, 1] * 20})
    rows.to_csv(home / "train.csv", index=False)
    options = [word for word in small if word != "data=sample"]
    files = ("task=custom", *(f'task.{split}="~/train.csv"' for split in ("train", "validation", "test")))
    assert run_here("train", *options, *FAST, *files, 'results.root="~/out"').code == 0
    records = list((home / "out").glob("runs/*/*/*/*/record.json"))
    absolute = [word.replace("~", str(home)) for word in files]
    again = run_here("train", *options, *FAST, *absolute, 'results.root="~/out"')
    assert again.code == 0
    assert len(records) == 1
    assert list((home / "out").glob("runs/*/*/*/*/record.json")) == records
    published = run_here("publish", 'file="~/none.csv"', "paper=xpeft", 'published="~/numbers"')
    assert f"{home}/none.csv" in published.err
    assert not list(tmp_path.iterdir())


def test_the_functions_of_the_library_follow_the_same_rule(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_config: Callable[..., RunConfig]
) -> None:
    monkeypatch.chdir(tmp_path)
    adapted = gl.HiWi().adapt(tiny("bert"))
    adapted.save("~/cola.safetensors")
    adapted.load("~/cola.safetensors")
    adapted.save_pretrained("~/saved")
    gl.export(adapted, "~/exported", "peft")
    assert {path.name for path in home.iterdir()} == {"cola.safetensors", "saved", "exported"}
    (home / "a.csv").write_text("id,prediction,label\n1,0,0\n2,1,1\n", encoding="utf-8")
    gl.compare({"a": "~/a.csv", "b": "~/a.csv"})
    assert gl.results("~/nothing").empty
    config = tiny_config(Path("~/out"))
    assert plan_run(config).folder.is_relative_to(home)
    assert gl.XPeft(bank="~/bank.profiles", num_adapters=None).bank == str(home / "bank.profiles")
    assert not list(tmp_path.iterdir())


def test_a_tilde_counts_at_the_beginning_only(home: Path) -> None:
    assert user_path("~") == home
    assert user_path("a/~/b") == Path("a/~/b")
    assert user_path("./~") == Path(os.curdir, "~")
    with pytest.raises(InputError, match=r"there is no home folder of that user\. .* written \./~nobody"):
        user_path("~nobody-of-this-name/x")


def test_a_home_folder_of_nobody_is_bad_input(train_here: Run, small: tuple[str, ...]) -> None:
    code, _, err = train_here(*small, 'results.root="~nobody-of-this-name/x"')
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: ~nobody-of-this-name/x is not a path: ")
