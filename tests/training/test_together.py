"""Several profiles in one pass: each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from gluelamp.backbones.dropout import ATTENTION, set_dropout
from gluelamp.backbones.load import BackboneConfig, find_checkpoint, load_model
from gluelamp.errors import InputError
from gluelamp.methods.base import Adaptation, Method
from gluelamp.methods.bitfit import BitFit
from gluelamp.methods.hiwi import HiWi
from gluelamp.methods.lora import LoRA
from gluelamp.methods.pafi import PaFi
from gluelamp.methods.pfeiffer import Pfeiffer
from gluelamp.methods.prompt import Prompt
from gluelamp.methods.xpeft import XPeft
from gluelamp.tasks.encoding import EncodedSplit, encode
from gluelamp.tasks.glue import glue_task
from gluelamp.tasks.sample import generate
from gluelamp.training.config import TrainerConfig
from gluelamp.training.profile import Profile, Rates
from gluelamp.training.trainer import Outcome, Trainer

METHODS = [
    LoRA(),
    Pfeiffer(),
    HiWi(bottleneck=4),
    BitFit(),
    XPeft(num_adapters=8, top_k=3),
]
TASK = glue_task("mrpc")
SIZES = (5, 24, 11)  # with batches of 8: one, three and two steps an epoch
RATES = (Rates(1e-2, 1e-2), Rates(3e-2, 1e-3), Rates(1e-3, 3e-2))
# With Adam's usual eps a gradient of rounding errors alone would make steps of the full rate.
KNOBS = TrainerConfig(epochs=3, batch_size=8, precision="fp32", device="cpu", dropout=0.0, eps=1e-2)

Train = Callable[..., list[Outcome]]


@pytest.fixture(scope="session")
def rows(tiny_backbone: Path) -> EncodedSplit:
    """Return encoded rows, each of another person."""
    frame = generate(TASK)["train"].head(200)
    return encode(frame, TASK, AutoTokenizer.from_pretrained(tiny_backbone), 64)


def parts(rows: EncodedSplit, sizes: Sequence[int] = SIZES) -> list[EncodedSplit]:
    """Cut rows into splits of some sizes, from the front."""
    persons = np.repeat([f"user {i}" for i in range(len(sizes))], sizes).astype(object)
    persons = np.concatenate([persons, np.full(len(rows) - len(persons), "nobody", object)])
    marked = replace(rows, users=persons)
    return [marked.user_rows(f"user {i}") for i in range(len(sizes))]


@pytest.fixture
def new_adaptation(tiny_backbone: Path) -> Callable[..., Adaptation]:
    """Return a function that puts a method on a new model, head and values drawn from a seed."""
    checkpoint = find_checkpoint(BackboneConfig("tiny", {}, path=str(tiny_backbone)))

    def make(method: Method, seed: int = 0) -> Adaptation:
        torch.manual_seed(seed)
        model = load_model(checkpoint, TASK.num_outputs, ATTENTION)
        set_dropout(model, 0.0)
        return method.adapt(model)

    return make


@pytest.fixture
def train(new_adaptation: Callable[..., Adaptation], tmp_path: Path, rows: EncodedSplit) -> Train:
    """Return a function that trains one method on some profiles, together."""

    def run(
        name: str,
        method: Method,
        splits: Sequence[EncodedSplit],
        rates: Sequence[Rates] = RATES,
        config: TrainerConfig = KNOBS,
        seeds: Sequence[int] = (0,) * len(SIZES),
    ) -> list[Outcome]:
        folders = [tmp_path / name / str(number) for number in range(len(splits))]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        starts = [new_adaptation(method, seed) for seed in seeds]
        profiles = [
            Profile(split, {"validation": rows}, rate, seed, folder, start.trainable | start.head)
            for split, rate, seed, folder, start in zip(splits, rates, seeds, folders, starts, strict=False)
        ]
        trainer = Trainer(
            new_adaptation(method),
            TASK,
            profiles,
            config,
            0,
            tmp_path / name,
            {},
            continue_on_divergence=True,
        )
        return trainer.run()

    return run


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_each_profile_comes_out_as_if_it_were_trained_alone(
    train: Train, rows: EncodedSplit, tmp_path: Path, method: Method
) -> None:
    """Own data, own number of steps, own rates; per step 1e-6, over the nine steps of the longest."""
    splits = parts(rows)
    together = train("together", method, splits)
    for number, (split, rate) in enumerate(zip(splits, RATES, strict=True)):
        (alone,) = train(f"alone {number}", method, [split], [rate])
        found = together[number]
        np.testing.assert_allclose(found.progress.losses, alone.progress.losses, atol=2e-6)
        np.testing.assert_allclose(
            found.outputs["last"]["validation"], alone.outputs["last"]["validation"], atol=1e-5
        )
        scores = [[entry["accuracy"] for entry in run.progress.history] for run in (found, alone)]
        assert scores[0] == scores[1]
        states = [
            load_file(tmp_path / run / "last.safetensors")
            for run in (f"together/{number}", f"alone {number}/0")
        ]
        assert states[0].keys() == states[1].keys()
        for name, value in states[1].items():
            torch.testing.assert_close(states[0][name], value, atol=1e-5, rtol=0)


def test_the_first_steps_agree_to_rounding(train: Train, rows: EncodedSplit) -> None:
    method, splits = METHODS[0], parts(rows, (8, 8, 8))
    config = replace(KNOBS, epochs=2, warmup_ratio=0.0)
    together = train("together", method, splits, config=config)
    for number, split in enumerate(splits):
        (alone,) = train(f"alone {number}", method, [split], [RATES[number]], config)
        np.testing.assert_allclose(together[number].progress.losses, alone.progress.losses, atol=1e-6)


def test_seeds_of_one_task_train_together(train: Train, rows: EncodedSplit) -> None:
    """Each with its own first values and order of examples."""
    (split,), seeds = parts(rows, (24,)), (3, 4, 5)
    together = train("together", METHODS[0], [split] * 3, [RATES[0]] * 3, seeds=seeds)
    for seed, found in zip(seeds, together, strict=True):
        (alone,) = train(f"alone {seed}", METHODS[0], [split], [RATES[0]], seeds=[seed])
        np.testing.assert_allclose(found.progress.losses, alone.progress.losses, atol=2e-6)
    assert len({run.progress.losses[0] for run in together}) == 3


@pytest.mark.parametrize("tokens", [1, 200, 100_000])
def test_how_many_tokens_pass_at_once_changes_nothing(train: Train, rows: EncodedSplit, tokens: int) -> None:
    splits = parts(rows)
    expected = train("default", METHODS[0], splits)
    found = train("other", METHODS[0], splits, config=replace(KNOBS, pass_tokens=tokens))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.progress.losses, other.progress.losses, atol=2e-6)


def test_a_profile_does_not_see_what_the_others_learn_from(train: Train, rows: EncodedSplit) -> None:
    splits = parts(rows)
    other = parts(replace(rows, labels=1 - rows.labels, tokens=rows.tokens[::-1].copy()))
    before = train("before", METHODS[1], splits)
    after = train("after", METHODS[1], [splits[0], other[1], splits[2]])
    for number in (0, 2):
        np.testing.assert_allclose(after[number].progress.losses, before[number].progress.losses, atol=2e-6)
    assert abs(after[1].progress.losses[-1] - before[1].progress.losses[-1]) > 1e-3


def test_a_profile_that_diverges_leaves_the_others_alone(train: Train, rows: EncodedSplit) -> None:
    splits = parts(rows)
    expected = train("well", METHODS[0], splits)
    found = train("ill", METHODS[0], splits, [RATES[0], Rates(1e38, 1e38), RATES[2]])
    assert "not finite" in found[1].error or "nan" in found[1].error
    for number in (0, 2):
        assert found[number].error is None
        np.testing.assert_allclose(found[number].progress.losses, expected[number].progress.losses, atol=2e-6)


def test_a_killed_group_goes_on_where_it_was(
    train: Train, rows: EncodedSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, config = parts(rows), replace(KNOBS, checkpoint_steps=2)
    expected = train("whole", METHODS[0], splits, config=config)
    step, done = Trainer._step, []

    def die(self: Trainer, active: list) -> None:
        done.append(1)
        if len(done) == 6:
            raise KeyboardInterrupt
        step(self, active)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", die)
        with pytest.raises(KeyboardInterrupt):
            train("killed", METHODS[0], splits, config=config)
    found = train("killed", METHODS[0], splits, config=config)
    for one, other in zip(found, expected, strict=True):
        assert one.progress.losses == other.progress.losses
        assert one.progress.history == other.progress.history


@pytest.mark.parametrize(
    "method",
    [
        PaFi(density=0.01),
        Prompt(length=2),
    ],
    ids=lambda method: type(method).__name__,
)
def test_a_method_that_cannot_is_refused_before_training(
    train: Train, rows: EncodedSplit, method: Method
) -> None:
    with pytest.raises(InputError, match=r"trainer\.profiles_per_pass=1"):
        train("refused", method, parts(rows))
