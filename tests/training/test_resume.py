"""A run that is killed and started again ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from gluelamp.errors import InputError
from gluelamp.methods.base import Method
from gluelamp.methods.full import FullFineTuning
from gluelamp.methods.lora import LoRA
from gluelamp.methods.pafi import PaFi
from gluelamp.methods.xpeft import XPeft
from gluelamp.training import passes as passes_module
from gluelamp.training import trainer as trainer_module
from gluelamp.training.passes import SinglePasses
from gluelamp.training.profile_state import ProfileState, Rates
from gluelamp.training.trainer import Outcome
from solo_trainer import SoloTrainer

# Ten steps in two epochs of five; checkpoints after 3, 4, 6, 8, 9, 10; evaluations after 4, 8, 10.
OPTIONS: dict[str, Any] = {"eval_steps": 4, "checkpoint_steps": 3, "dropout": 0.2}
LORA = LoRA(dropout=0.3)
PAFI = PaFi(density=0.1)
XPEFT = XPeft(num_adapters=8, top_k=4, reduction_factor=4, gumbel_tau=1.0)
FULL = FullFineTuning()

MakeTrainer = Callable[..., SoloTrainer]
Finished = tuple[Outcome, Path]
_FINISHED: dict[str, Finished] = {}


@pytest.fixture
def undisturbed(
    make_trainer: MakeTrainer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Finished]:
    """Return a function that gives a run's outcome and folder; runs of equal options are trained once."""

    def finished(**options: Any) -> Finished:
        key = repr(options)
        if key not in _FINISHED:
            folder = tmp_path_factory.mktemp("undisturbed")
            _FINISHED[key] = make_trainer(str(folder), **options).run(), folder
        return _FINISHED[key]

    return finished


class KilledError(Exception):
    """Raised instead of the signal that ends a process."""


def train_until(make: Callable[[], SoloTrainer], monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Train that many steps, and raise at the beginning of the next one."""
    step = SoloTrainer._step

    def step_or_raise(self: SoloTrainer, active: list[ProfileState]) -> None:
        if self.state.progress.step == steps:
            raise KilledError
        step(self, active)

    with monkeypatch.context() as patch:
        patch.setattr(SoloTrainer, "_step", step_or_raise)
        with pytest.raises(KilledError):
            make().run()


def train_until_call(
    make: Callable[[], SoloTrainer], monkeypatch: pytest.MonkeyPatch, place: object, name: str, call: int
) -> None:
    """Train until a function is called that many times, and raise there."""
    original, calls = getattr(place, name), []

    def call_or_raise(*args: Any, **kwargs: Any) -> object:
        calls.append(args)
        if len(calls) == call:
            raise KilledError
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, call_or_raise)
        with pytest.raises(KilledError):
            make().run()


def assert_same_end(found: Outcome, folder: Path, finished: Finished) -> None:
    expected, other = finished
    assert found.progress.losses == expected.progress.losses
    assert found.progress.history == expected.progress.history
    for field in ("epoch", "batch", "step", "best", "tokens", "finished"):
        assert getattr(found.progress, field) == getattr(expected.progress, field), field
    for selection in ("best", "last"):
        for split, outputs in expected.outputs[selection].items():
            np.testing.assert_array_equal(found.outputs[selection][split], outputs)
        assert_same_file(folder / f"{selection}.safetensors", other / f"{selection}.safetensors")


def assert_same_file(path: Path, other: Path) -> None:
    """Compare tensors and header; the library writes the header's entries in no fixed order."""
    with safe_open(path, "pt") as found, safe_open(other, "pt") as expected:
        assert found.metadata() == expected.metadata()
        assert set(found.keys()) == set(expected.keys())
        for name in expected.keys():  # noqa: SIM118 - the file is no mapping
            tensor = expected.get_tensor(name)
            assert found.get_tensor(name).dtype == tensor.dtype
            assert torch.equal(found.get_tensor(name), tensor), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_give_identical_losses(
    make_trainer: MakeTrainer, undisturbed: Callable[..., Finished], precision: str
) -> None:
    options = {**OPTIONS, "precision": precision}
    expected = undisturbed(**options)[0].progress.losses
    trainer, other = make_trainer("two", **options), make_trainer("three", seed=1, **options)
    torch.manual_seed(99)  # the state of the process must not matter
    np.random.seed(99)
    assert trainer.run().progress.losses == expected
    assert other.run().progress.losses != expected


@pytest.mark.parametrize(
    "steps",
    [2, 4, 7, 9],
    ids=[
        "before the first checkpoint",
        "just after an evaluation",
        "between two checkpoints",
        "before the last step",
    ],
)
def test_a_killed_run_resumes_as_if_nothing_had_happened(
    make_trainer: MakeTrainer,
    undisturbed: Callable[..., Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    train_until(lambda: make_trainer("killed", **OPTIONS), monkeypatch, steps)
    torch.manual_seed(99)
    assert_same_end(make_trainer("killed", **OPTIONS).run(), tmp_path / "killed", undisturbed(**OPTIONS))


@pytest.mark.parametrize(
    ("method", "precision"),
    [(LORA, "bf16"), (FULL, "fp32"), (PAFI, "bf16"), (XPEFT, "bf16")],
    ids=["lora-bf16", "full-fp32", "pafi-bf16", "xpeft-bf16"],
)
def test_every_kind_of_method_resumes_bit_for_bit(
    make_trainer: MakeTrainer,
    undisturbed: Callable[..., Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: Method,
    precision: str,
) -> None:
    options = {**OPTIONS, "method": method, "precision": precision}
    train_until(lambda: make_trainer("killed", **options), monkeypatch, steps=7)
    torch.manual_seed(99)
    assert_same_end(make_trainer("killed", **options).run(), tmp_path / "killed", undisturbed(**options))


def test_a_run_may_be_killed_several_times(
    make_trainer: MakeTrainer,
    undisturbed: Callable[..., Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for steps in (4, 4, 7):
        train_until(lambda: make_trainer("killed", **OPTIONS), monkeypatch, steps)
    with caplog.at_level(logging.INFO, "gluelamp"):
        outcome = make_trainer("killed", **OPTIONS).run()
    assert "resuming at step 6" in caplog.messages
    assert_same_end(outcome, tmp_path / "killed", undisturbed(**OPTIONS))


@pytest.mark.parametrize(
    ("place", "name", "call"),
    [
        (passes_module, "predict", 2),
        (trainer_module, "save_task_state", 2),
        (SoloTrainer, "_save_checkpoint", 2),
        (SoloTrainer, "_save_checkpoint", 6),
        (SoloTrainer, "_speed", 1),
    ],
    ids=[
        "in an evaluation",
        "while a state is written",
        "between the best state and its checkpoint",
        "between the last state and its checkpoint",
        "after the last checkpoint",
    ],
)
def test_a_run_killed_around_an_evaluation_resumes(
    make_trainer: MakeTrainer,
    undisturbed: Callable[..., Finished],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: object,
    name: str,
    call: int,
) -> None:
    options = {**OPTIONS, "task": "stsb"}  # its metrics differ from evaluation to evaluation
    train_until_call(lambda: make_trainer("killed", **options), monkeypatch, place, name, call)
    assert_same_end(make_trainer("killed", **options).run(), tmp_path / "killed", undisturbed(**options))


def test_patience_counts_evaluations_before_and_after_a_kill(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**OPTIONS, "eval_steps": 1, "patience": 3, "rates": Rates(1e-12, 1e-12)}
    train_until(lambda: make_trainer("killed", **options), monkeypatch, steps=2)
    assert make_trainer("killed", **options).run().progress.step == 4


def test_the_seconds_of_all_steps_are_counted_once_and_no_others(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0, perf_counter=lambda: clock.now)
    backward, predict = SinglePasses.backward, passes_module.predict

    def one_second(self: SoloTrainer, *args: Any) -> None:
        clock.now += 1
        return backward(self, *args)

    def a_hundred_seconds(*args: Any) -> np.ndarray:
        clock.now += 100
        return predict(*args)

    monkeypatch.setattr(trainer_module, "time", clock)
    monkeypatch.setattr(SinglePasses, "backward", one_second)
    monkeypatch.setattr(passes_module, "predict", a_hundred_seconds)
    train_until(lambda: make_trainer("killed", **OPTIONS), monkeypatch, steps=8)
    assert make_trainer("killed", **OPTIONS).run().progress.seconds == 10


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_damaged_checkpoint_is_reported(make_trainer: MakeTrainer, tmp_path: Path, size: int) -> None:
    trainer, path = make_trainer(), tmp_path / "run" / "checkpoint.pt"
    trainer._save_checkpoint()
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged\. Remove it and run again\."):
        trainer.run()


def test_a_checkpoint_holds_the_random_state_of_its_own_gpu_alone(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can then be resumed where fewer GPUs are visible."""
    gpu, states = torch.device("cuda", 1), {}
    state = torch.tensor([1, 2, 3], dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "get_rng_state", {gpu: state}.__getitem__)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda new, device: states.update({device: new}))
    saving, resuming = make_trainer(), make_trainer()
    monkeypatch.setattr(saving, "device", gpu)
    saving._save_checkpoint()
    resumed_on = torch.device("cuda", 0)
    monkeypatch.setattr(resuming, "device", resumed_on)
    resuming._resume()
    assert list(states) == [resumed_on]
    assert torch.equal(states[resumed_on], state)
