"""Trackers show a run while it is training, and write into its folder only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.experiments.tracking import JsonLog, _wandb_mode


def evaluations(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "log.json").read_text(encoding="utf-8"))["evaluations"]


def test_the_local_log_holds_every_evaluation_so_far(tmp_path: Path) -> None:
    log = JsonLog(tmp_path)
    for step in (3, 6):
        log.log(step, {"step": step, "accuracy": step / 10})
        assert [entry["step"] for entry in evaluations(tmp_path)] == list(range(3, step + 1, 3))
    log.close()


def test_a_resumed_run_continues_its_local_log(tmp_path: Path) -> None:
    first = JsonLog(tmp_path)
    first.log(3, {"step": 3, "accuracy": 0.3})
    first.log(6, {"step": 6, "accuracy": 0.6})
    resumed = JsonLog(tmp_path)  # from the checkpoint of step 5
    resumed.log(6, {"step": 6, "accuracy": 0.6})
    resumed.log(9, {"step": 9, "accuracy": 0.9})
    assert [entry["step"] for entry in evaluations(tmp_path)] == [3, 6, 9]


def test_a_damaged_local_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text('{"eval', encoding="utf-8")
    with pytest.raises(InputError, match=r"log\.json is not JSON"):
        JsonLog(tmp_path)


def test_weights_and_biases_writes_offline_into_the_folder_of_the_run(
    tiny_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    for variable, value in {
        "HOME": str(home),
        "WANDB_BASE_URL": "http://127.0.0.1:9",  # no server there
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "WANDB_SILENT": "true",
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    config = tiny_run("tracker=wandb", "trainer.epochs=1")  # mode auto: there is no key
    record = execute(config)
    folder = plan_run(config).folder
    (offline,) = (folder / "wandb").glob(f"offline-run-*-{record.identity}")
    assert (offline / f"run-{record.identity}.wandb").stat().st_size > 0
    assert [entry["step"] for entry in evaluations(folder)] == [6]
    assert not [path for path in home.iterdir() if path.name != ".cache"]


NETRC = f"machine 127.0.0.1:9 login user password {'1' * 40}\n"


@pytest.mark.parametrize(
    ("variables", "netrc", "mode"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": "1" * 40}, "", None),
        ({}, NETRC, None),
        ({"WANDB_API_KEY": "1" * 40, "WANDB_MODE": "offline"}, "", None),
        ({"WANDB_MODE": "disabled"}, NETRC, None),
    ],
)
def test_mode_auto_follows_the_environment_of_weights_and_biases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], netrc: str, mode: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # no server there
    monkeypatch.setenv("WANDB_SILENT", "true")
    for variable in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    (tmp_path / ".netrc").write_text(netrc, encoding="utf-8")
    (tmp_path / ".netrc").chmod(0o600)
    wandb.teardown()  # it keeps settings and keys
    try:
        assert _wandb_mode() == mode
        assert not [path for path in tmp_path.iterdir() if path.name not in (".netrc", ".cache")]
    finally:
        wandb.teardown()


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_a_mode_in_the_environment_is_stronger_than_a_key(
    tiny_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    for variable, value in {
        "HOME": str(tmp_path),
        "WANDB_MODE": mode,
        "WANDB_API_KEY": "1" * 40,
        "WANDB_BASE_URL": "http://127.0.0.1:9",  # no server there
        "WANDB_SILENT": "true",
    }.items():
        monkeypatch.setenv(variable, value)
    wandb.teardown()
    config = tiny_run("tracker=wandb", "trainer.epochs=1")
    assert execute(config).status == "complete"
    wandb.teardown()
    runs = list((plan_run(config).folder / "wandb").glob("offline-run-*"))
    assert len(runs) == (1 if mode == "offline" else 0)


def test_a_project_that_weights_and_biases_refuses_is_bad_input(
    tiny_run: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = tiny_run("tracker=wandb", "tracker.mode=offline", "tracker.project=team/gluelamp")
    with pytest.raises(InputError, match=r"Weights & Biases does not start: .*Change tracker\.project"):
        execute(config)
