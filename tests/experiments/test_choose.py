"""A choice within a budget: which runs are trained, which are left out, and the command from file to page."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from gluelamp.cli.main import run
from gluelamp.experiments import choose
from gluelamp.experiments.choose import Trials, train_within
from gluelamp.training.trainer import DivergedError

SECONDS = {"head_only": 10.0, "lora": 20.0, "full": 40.0}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], Trials]]:
    """Run a choice of three methods and three seeds in which each training takes a known time."""

    def run(
        budget: float, complete: Container[str] = (), diverging: Container[str] = ()
    ) -> tuple[list[str], Trials]:
        now, order = [0.0], []

        def execute(config: str) -> SimpleNamespace:
            method = config.split(maxsplit=1)[0]
            if config in diverging:
                raise DivergedError("The loss is not finite.", [])
            if config not in complete:
                now[0] += SECONDS[method]
                order.append(config)
            return SimpleNamespace(speed={"train_seconds": SECONDS[method]})

        monkeypatch.setattr(choose, "execute", execute)
        monkeypatch.setattr(choose, "plan_run", lambda config: SimpleNamespace(folder=Path(config)))
        monkeypatch.setattr(choose, "_is_complete", lambda config: config in complete)
        rounds: list[Any] = [{method: f"{method} {seed}" for method in SECONDS} for seed in range(3)]
        return order, train_within(rounds, budget, lambda: now[0])

    return run


@pytest.mark.parametrize(
    ("budget", "runs", "left_out"),
    [
        (210, 9, []),
        (140, 6, []),
        (139, 3, []),
        (45, 3, []),
        (44, 2, ["full"]),
        (1, 2, ["full"]),
    ],
)
def test_a_further_seed_is_trained_for_all_methods_or_for_none(
    trained: Callable[..., tuple[list[str], Trials]], budget: float, runs: int, left_out: list[str]
) -> None:
    order, trials = trained(budget)
    assert (len(order), trials.left_out) == (runs, left_out)
    assert len(trials.runs) == runs


def test_complete_runs_cost_nothing_again(trained: Callable[..., tuple[list[str], Trials]]) -> None:
    complete = {f"{method} 0" for method in SECONDS}
    order, trials = trained(75, complete)
    assert order == ["head_only 1", "lora 1", "full 1"]
    assert len(trials.runs) == 6


def test_the_first_run_gives_the_plan() -> None:
    plan = choose._first_plan(10, methods=8, seeds=3, budget=120)
    assert plan == (
        "the first run took 10 s: 8 methods with 3 seeds would take about 4.0 min; in the budget of 2.0 min "
        "1 of 3 seeds of all methods fit"
    )


def test_the_command_trains_prints_and_writes_a_recommendation(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(f"film {n} was fun", ("bad", "good")[n % 2]) for n in range(40)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(tmp_path / "films.csv", index=False)
    words = [
        f"task.train={tmp_path / 'films.csv'}",
        f"results.root={tmp_path / 'results'}",
        "trainer.epochs=1",
    ]
    words += [
        "backbone=tiny",
        f"backbone.path={tiny_backbone}",
        "trainer.max_length=32",
        "trainer.device=cpu",
    ]
    monkeypatch.setattr("sys.argv", ["gluelamp choose", *words, "choose.methods=[head_only,pafi]"])
    with pytest.raises(SystemExit) as end:
        run("choose")
    assert end.value.code == 0
    table = pd.read_csv(tmp_path / "results" / "choose" / "films.csv").set_index("method")
    assert sorted(table.index) == ["head_only", "majority", "pafi"]
    assert (table["seeds"].dropna() == 3).all()
    assert "\nTake " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("method=lora", "method=lora is not allowed here. Name the methods with choose.methods=[A,B]."),
        ("choose.methods=[lora,pafy]", "method 'pafy' is unknown; did you mean 'pafi'?"),
    ],
)
def test_a_wrong_method_is_refused(
    word: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gluelamp choose", "task.train=a.csv", word])
    with pytest.raises(SystemExit) as end:
        run("choose")
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_method_that_diverges_is_no_candidate_and_the_others_go_on(
    trained: Callable[..., tuple[list[str], Trials]],
) -> None:
    order, trials = trained(1000, diverging={"lora 0"})
    assert order == [f"{method} {seed}" for seed in range(3) for method in ("head_only", "full")]
    assert (len(trials.runs), trials.left_out) == (6, [])
