"""What a command shows of a sweep and its runs, with a terminal and without one."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import hydra
import pytest
from hydra.core.utils import configure_log
from rich.console import Console

from end_to_end.conftest import SCRIPTS, Ended
from gluelamp.cli import terminal
from gluelamp.cli.bars import Bars
from gluelamp.cli.terminal import Screen, Sweep, TerminalHandler
from gluelamp.experiments.status import Status, duration
from gluelamp.package_data import CONFIGS

Clock = Callable[[float], None]
ESCAPE = r"\x1b\[[0-9;?]*[A-Za-z]"
SHOW_CURSOR, ERASE_LINE = "\x1b[?25h", "\x1b[2K"
TIME = r"\[\d\d:\d\d:\d\d\] "


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that moves only when it is told the seconds that pass."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_durations_are_printed_in_hours_minutes_and_seconds() -> None:
    assert [duration(seconds) for seconds in (7.4, 59.9, 61, 3723)] == ["0:07", "1:00", "1:01", "1:02:03"]


def test_the_time_left_is_known_after_the_first_run_that_was_trained(clock: Clock) -> None:
    sweep = Sweep(runs=5)
    sweep.start(1)
    clock(1)
    assert not sweep.end(1)  # skipped: it was complete
    assert sweep.text() == "1 of 5 runs"
    sweep.start(1)
    sweep.train(1)
    clock(100)
    assert sweep.end(1)
    assert sweep.text() == "2 of 5 runs, about 5:00 left"
    sweep.start(1)
    clock(40)
    assert sweep.text() == "2 of 5 runs, about 4:20 left"


def test_runs_that_are_trained_at_the_same_time_share_the_time_left(clock: Clock) -> None:
    sweep = Sweep(runs=6, workers=2)
    for process in (1, 2):
        sweep.start(process)
        sweep.train(process)
    clock(60)
    sweep.end(1)
    sweep.end(2)
    assert sweep.text() == "2 of 6 runs, about 2:00 left"


def record(
    message: str, level: int = logging.INFO, name: str = "gluelamp.x", **extra: object
) -> logging.LogRecord:
    made = logging.LogRecord(name, level, __file__, 1, message, (), None)
    vars(made).update(extra)
    return made


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Screen], TerminalHandler]:
    """Return a function that makes a handler for a screen."""

    def handler(screen: Screen) -> TerminalHandler:
        monkeypatch.setattr(terminal, "screen", lambda: screen)
        return TerminalHandler()

    return handler


def test_a_warning_and_a_fact_about_the_data_are_shown_once(
    shown: Callable[[Screen], TerminalHandler], capsys: pytest.CaptureFixture[str]
) -> None:
    handler = shown(Screen())
    for _ in range(3):
        handler.handle(record("bf16 is emulated", logging.WARNING))
        handler.handle(record("cola: 8,551 train rows", name="gluelamp.tasks.data"))
        handler.handle(record("skipped, complete"))
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == [
        *["bf16 is emulated"],
        *["cola: 8,551 train rows"],
        *["skipped, complete"] * 3,
    ]


def test_without_a_terminal_an_epoch_is_a_line_and_nothing_is_drawn(
    shown: Callable[[Screen], TerminalHandler], capsys: pytest.CaptureFixture[str]
) -> None:
    handler = shown(Screen())
    handler.handle(record("lora cola: epoch 1/3", status=Status("lora cola", 5, 15, "epoch 1/3")))
    assert capsys.readouterr() == ("lora cola: epoch 1/3\n", "")


def test_a_terminal_has_a_bar_for_the_sweep_and_one_for_each_run_and_ends_clean(
    shown: Callable[[Screen], TerminalHandler], capsys: pytest.CaptureFixture[str]
) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100, color_system=None)
    screen = Screen(Bars(console))
    handler = shown(screen)
    screen.start_sweep(runs=3, workers=2)
    for process in (11, 12):
        screen.start_run(process)
        text = f"epoch {process - 10}/3, loss 0.500"
        handler.handle(record("not a line", status=Status(f"run {process}", 5, 15, text), process=process))
    screen.bars.refresh()
    drawn = output.getvalue()
    assert "0 of 3 runs" in drawn
    assert "run 11: epoch 1/3, loss 0.500" in drawn
    assert "run 12: epoch 2/3, loss 0.500" in drawn
    handler.handle(record("", event="end", process=11))
    before = len(output.getvalue())
    screen.bars.refresh()
    drawn = output.getvalue()[before:]
    assert "1 of 3 runs" in drawn
    assert "run 11" not in drawn
    screen.close()
    after = output.getvalue().rpartition(SHOW_CURSOR)[2]
    assert after.count(ERASE_LINE) == 2
    assert not re.sub(ESCAPE, "", after).strip()
    assert "not a line" not in capsys.readouterr().out


def test_of_many_workers_eight_have_bars_which_are_updated(
    shown: Callable[[Screen], TerminalHandler],
) -> None:
    output = io.StringIO()
    screen = Screen(Bars(Console(file=output, force_terminal=True, width=100, height=50)))
    handler = shown(screen)
    screen.start_sweep(runs=90, workers=10)
    for step in (1, 2):
        for process in range(10):
            screen.start_run(process)
            handler.handle(
                record("", status=Status(f"run {process}", step, 2, f"step {step}/2"), process=process)
            )
    screen.close()
    last = re.sub(ESCAPE, "", output.getvalue())
    assert [process for process in range(10) if f"run {process}: step 2/2" in last] == list(range(8))


def test_other_libraries_log_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose("train", return_hydra_config=True)
    loggers = [logging.getLogger(name) for name in ("", "gluelamp")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    try:
        configure_log(config.hydra.job_logging)
        logging.getLogger("pikepdf").info("bridge initialized")
        logging.getLogger("httpx").warning("retrying")
        logging.getLogger("hydra").info("#1 : method=lora")
        logging.getLogger("datasets").error("disk full")
        logging.getLogger("gluelamp.experiments").info("skipped")
    finally:
        for logger, (level, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers[:] = handlers
    out, err = capsys.readouterr()
    assert [re.sub(TIME, "", line) for line in out.splitlines()] == ["disk full", "skipped"]
    assert err == ""


def test_a_sweep_without_a_terminal_has_a_line_for_each_epoch_and_each_run_and_each_notice_once(
    train_here: Callable[..., Ended], small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLUELAMP_DATA", raising=False)
    monkeypatch.setattr("gluelamp.tasks.benchmarks._SILENT_HUBS", set())
    auto = ("data=auto", *(word for word in small if word != "data=sample"))
    code, out, err = train_here("-m", "method=head_only", "seed=0,1,2", "trainer.epochs=2", *auto)
    assert (code, err) == (0, "")
    lines = [re.sub(TIME, "", line) for line in out.splitlines() if re.match(TIME, line)]
    run = "tiny head_only cola seed {}"
    epoch = (
        r"{}: epoch {}/2, step {}/40, loss \d\.\d{{3}}, matthews_correlation \S+, [\d,]+ examples/s, \S+ left"
    )
    expected = [
        r"3 runs; the time left is known after the first one",
        r"Not every task is in data/glue. The Hugging Face hub did not answer within 5 s .*",
        r"cola: 1,600 train, .* rows from sample .*",
    ]
    for seed in range(3):
        name = run.format(seed)
        expected += [epoch.format(name, number, 20 * number) for number in (1, 2)]
        score = r"matthews_correlation \S+ held out \(cross-fitted\), .*; results/runs/.*"
        expected += [rf"{name} on sample \(subset\) data: {score}"]
        expected += [rf"{seed + 1} of 3 runs(, about \S+ left)?"]
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line


def test_workers_share_one_bar_which_counts_to_the_end(
    small: tuple[str, ...], environment: dict[str, str], tmp_path: Path
) -> None:
    sweep = ("-m", "method=head_only,bitfit", "trainer.epochs=1", *small)
    workers = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    process, terminal_file = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        command = [sys.executable, str(SCRIPTS / "train.py"), *sweep, *workers]
        os.execve(sys.executable, command, {**environment, "TERM": "xterm", "COLUMNS": "150"})
    drawn = b""
    while content := read_some(terminal_file):
        drawn += content
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    text = re.sub(ESCAPE, "\n", drawn.decode()).replace("\r", "\n")
    for shown in ("0 of 2 runs", "2 of 2 runs"):  # both runs may end between two updates of the bar
        assert shown in text
    for method in ("head_only", "bitfit"):
        assert re.search(rf"tiny {method} cola seed 0: .*step \d+/20", text)
        assert text.count(f"tiny {method} cola seed 0 on sample (subset) data: ") == 1
    assert text.count("cola: 1,600 train") == 1
    assert SHOW_CURSOR in drawn.decode()


def read_some(file: int) -> bytes:
    """Return what a terminal has received; empty at the end, which Linux reports as an error."""
    try:
        return os.read(file, 1 << 16)
    except OSError:
        return b""
