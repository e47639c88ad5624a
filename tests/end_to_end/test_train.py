"""scripts/train.py: one run, a sweep, a sweep that is killed, and sweeps whose jobs are other processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from end_to_end.conftest import SCRIPTS, Ended, run_in_process
from gluelamp.records import find_runs

SWEEP = (
    *("-m", "method=lora,pafi", "task=stsb", "trainer.learning_rate=1e-3"),
    *("trainer.epochs=2", "trainer.checkpoint_steps=5", "trainer.dropout=0.2"),
)

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def start(environment: dict[str, str], small: tuple[str, ...]) -> Start:
    """Start the script in a folder, as the leader of its own process group."""

    def started(folder: Path, *overrides: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(SCRIPTS / "train.py"), *overrides, *small],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return started


@pytest.fixture(scope="module")
def undisturbed(small: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of two runs that was not disturbed, from this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        assert run_in_process(patch, folder, "train", *SWEEP, *small) == 0
    return folder


def content_of(folder: Path) -> dict[str, Any]:
    """The results of a sweep by run, without speed, memory and commit."""
    found = {}
    for path in sorted(folder.glob("results/runs/*/*/*/*/record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        del record["speed"], record["memory"], record["git"]
        predictions = pd.read_parquet(path.parent / "predictions.parquet").to_dict("list")
        log = json.loads((path.parent / "log.json").read_text(encoding="utf-8"))
        found[str(path.relative_to(folder))] = (record, predictions, log)
    return found


def test_one_run_ends_with_a_line_about_its_score(
    train_here: Callable[..., Ended], small: tuple[str, ...], tmp_path: Path
) -> None:
    code, out, err = train_here(*small, "results.root=mine", "method=hiwi", "trainer.epochs=1")
    assert (code, err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    ((_, record),) = find_runs(tmp_path / "mine")
    assert (record.status, record.config.method.name) == ("complete", "hiwi")
    held_out, best = (100 * record.metrics[key]["matthews_correlation"] for key in ("held_out", "best"))
    line = out.splitlines()[-1].partition("] ")[2]
    assert line.startswith(
        f"tiny hiwi cola seed 0 on sample (subset) data: matthews_correlation {held_out:.2f} held out "
        f"(cross-fitted), {best:.2f} best epoch (1), "
    )


def test_a_sweep_trains_each_combination_once(undisturbed: Path) -> None:
    records = [record for _, record in find_runs(undisturbed / "results")]
    names = [(record.config.method.name, record.config.task.name) for record in records]
    assert sorted(names) == [("lora", "stsb"), ("pafi", "stsb")]
    assert {record.status for record in records} == {"complete"}
    assert [path.name for path in undisturbed.iterdir()] == ["results"]


def test_a_sweep_ends_with_the_scores_of_its_own_runs(
    train_here: Callable[..., Ended], undisturbed: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copytree(undisturbed / "results", tmp_path / "results")
    _, out, _ = train_here(*SWEEP, *small, "method=lora")  # complete already
    title, _, _, lora, note, signature, *end = out.rpartition("\n\nGLUE, ")[2].splitlines()
    assert title.startswith("sample (subset) data, tiny, ")
    assert lora.startswith("lora ")
    assert "synthetic" in note
    assert signature.startswith("Signature, shared by all scores: benchmark:glue|task:stsb|")
    assert end == ["", "runs: results/runs", "tables and page: run `gluelamp report`"]
    assert not list(tmp_path.glob("results/hydra/runs-*"))


def test_a_killed_sweep_is_resumed_with_the_same_results(
    start: Start,
    train_here: Callable[..., Ended],
    undisturbed: Path,
    small: tuple[str, ...],
    tmp_path: Path,
) -> None:
    first, second = "results/runs/tiny/lora/stsb", "results/runs/tiny/pafi/stsb"
    process = start(tmp_path, *SWEEP)
    wait_for(process, lambda: list(tmp_path.glob(f"{second}/*/checkpoint.pt")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (finished,) = tmp_path.glob(f"{first}/*/record.json")
    before = finished.stat()
    assert not list(tmp_path.glob(f"{second}/*/record.json"))  # else it was killed too late

    code, out, err = train_here(*SWEEP, *small)
    assert (code, err) == (0, "")
    assert out.count("skipped, complete: ") == 1
    assert out.count("resuming at step ") == 1
    after = finished.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert content_of(tmp_path) == content_of(undisturbed)
    assert len(content_of(tmp_path)) == 2
    assert not list(tmp_path.glob("results/runs/*/*/*/*/checkpoint.*"))


def test_the_slurm_launcher_gives_the_same_results_and_writes_into_the_results_folder_only(
    start: Start, undisturbed: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    process = start(tmp_path, *SWEEP, "method=pafi", "hydra/launcher=submitit_local")
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert not list(Path(environment["HOME"]).iterdir())
    ((_, record),) = find_runs(tmp_path / "results")
    assert record.speed["matmul_flops_per_second"] > 0
    (run,) = content_of(tmp_path).items()
    assert run in content_of(undisturbed).items()


def test_a_job_that_fails_in_another_process_fails_the_sweep_after_all_jobs(
    train_here: Callable[..., Ended], undisturbed: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    jobs = ("method=lora", "trainer.learning_rate=1e38,1e-3")
    code, out, err = train_here(*SWEEP, *small, *jobs, *launcher)
    assert code == 1
    assert "error: The loss of step " in err
    assert "Traceback" not in out + err
    assert "\nlora [trainer" not in out  # the table has the run that is complete
    assert "\nlora  " in out
    runs = find_runs(tmp_path / "results")
    assert sorted(record.status for _, record in runs) == ["complete", "failed"]
    for folder, record in runs:
        if record.status == "failed":
            shutil.rmtree(folder)
    (run,) = content_of(tmp_path).items()
    assert run in content_of(undisturbed).items()


def wait_for(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    """Wait until a condition holds, as long as the process is running."""
    deadline = time.monotonic() + 120
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the sweep ended too early: {process.communicate()}")
        time.sleep(0.002)
