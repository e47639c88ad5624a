"""Several profiles in one pass: each is trained as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
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
from gluelamp.methods.hiwi import HiWi
from gluelamp.methods.lora import LoRA
from gluelamp.methods.pafi import PaFi
from gluelamp.methods.xpeft import XPeft
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.encoding import EncodedSplit, encode
from gluelamp.tasks.sample import generate
from gluelamp.training.config import TrainerConfig
from gluelamp.training.profile_state import Profile, Rates
from gluelamp.training.trainer import Outcome, Trainer

TASK = known_task("mrpc")
SIZES = (5, 24, 11)  # with batches of 8: one, three and two steps in an epoch
RATES = (Rates(1e-2, 1e-2), Rates(3e-2, 1e-3), Rates(1e-3, 3e-2))
# With Adam's usual eps, a gradient of rounding errors alone would make steps of the full rate.
OPTIONS = TrainerConfig(epochs=2, batch_size=8, precision="fp32", device="cpu", dropout=0.0, eps=1e-2)
LORA = LoRA()

Train = Callable[..., list[Outcome]]


@pytest.fixture(scope="module")
def rows(tiny_backbone: Path) -> EncodedSplit:
    frame = generate(TASK)["train"].head(sum(SIZES))
    return encode(frame, TASK, AutoTokenizer.from_pretrained(tiny_backbone), 64)


def parts(rows: EncodedSplit, sizes: Sequence[int] = SIZES) -> list[EncodedSplit]:
    """Cut rows into splits of these sizes, from the front."""
    ends = np.cumsum(sizes)
    return [rows.take(np.arange(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


@pytest.fixture(scope="module")
def train(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory, rows: EncodedSplit) -> Train:
    """Return a function that trains a method on some profiles in one pass."""
    validation = rows.take(np.arange(12))
    checkpoint = find_checkpoint(BackboneConfig("tiny", {}, path=str(tiny_backbone)))

    def new_adaptation(method: Method, seed: int) -> Adaptation:
        torch.manual_seed(seed)
        model = load_model(checkpoint, TASK.num_outputs, ATTENTION)
        set_dropout(model, 0.0)
        return method.adapt(model)

    @cache
    def initial_values(method: Method, seed: int) -> dict[str, torch.nn.Parameter]:
        adaptation = new_adaptation(method, seed)
        return adaptation.trainable | adaptation.head

    def run(
        method: Method,
        splits: Sequence[EncodedSplit],
        rates: Sequence[Rates] = RATES,
        config: TrainerConfig = OPTIONS,
        seeds: Sequence[int] = (0,) * len(SIZES),
        folder: Path | None = None,
    ) -> list[Outcome]:
        folder = folder or tmp_path_factory.mktemp("run")
        profiles = []
        for number, (split, rate, seed) in enumerate(zip(splits, rates, seeds, strict=False)):
            (own := folder / str(number)).mkdir(exist_ok=True)
            values = initial_values(method, seed)
            profiles.append(Profile(split, {"validation": validation}, rate, seed, own, values))
        adaptation = new_adaptation(method, 0)
        arguments = (adaptation, TASK, profiles, config, 0, folder, {})
        return Trainer(*arguments, continue_on_divergence=True).run()

    return run


@pytest.fixture(scope="module")
def undisturbed(train: Train, rows: EncodedSplit) -> list[Outcome]:
    """Three profiles of LoRA in one pass, with the default options."""
    return train(LORA, parts(rows))


def losses(outcome: Outcome) -> list[float]:
    return outcome.progress.losses


@pytest.mark.parametrize(
    "method", [LORA, HiWi(bottleneck=4), XPeft(num_adapters=8, top_k=3)], ids=["lora", "hiwi", "xpeft"]
)
def test_each_profile_is_trained_as_if_it_were_alone(
    train: Train, rows: EncodedSplit, tmp_path: Path, method: Method
) -> None:
    """With its own data, number of steps and rates: losses agree to 2e-6 over all steps."""
    folders = [tmp_path / name for name in ("together", "0", "1", "2")]
    for folder in folders:
        folder.mkdir()
    together = train(method, parts(rows), folder=folders[0])
    for number, (split, rate) in enumerate(zip(parts(rows), RATES, strict=True)):
        (alone,) = train(method, [split], [rate], folder=folders[1 + number])
        outcome = together[number]
        np.testing.assert_allclose(losses(outcome), losses(alone), atol=2e-6)
        np.testing.assert_allclose(losses(outcome)[:2], losses(alone)[:2], atol=1e-6)  # less has accumulated
        outputs = [one.outputs["last"]["validation"] for one in (outcome, alone)]
        np.testing.assert_allclose(*outputs, atol=1e-5)
        scores = [[entry["accuracy"] for entry in one.progress.history] for one in (outcome, alone)]
        assert scores[0] == scores[1]
        state, expected = (
            load_file(folder / "last.safetensors")
            for folder in (folders[0] / str(number), folders[1 + number] / "0")
        )
        assert state.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(state[name], value, atol=1e-5, rtol=0)


def test_seeds_of_one_task_are_trained_together(train: Train, rows: EncodedSplit) -> None:
    """Each with its own initial values and order of examples."""
    (split,), seeds = parts(rows, (24,)), (3, 4)
    together = train(LORA, [split] * 2, [RATES[0]] * 2, seeds=seeds)
    for seed, outcome in zip(seeds, together, strict=True):
        (alone,) = train(LORA, [split], [RATES[0]], seeds=[seed])
        np.testing.assert_allclose(losses(outcome), losses(alone), atol=2e-6)
    assert len({losses(outcome)[0] for outcome in together}) == 2


@pytest.mark.parametrize("tokens", [63, 200])  # less than one of the longest rows, and three of them
def test_the_tokens_of_a_pass_do_not_change_the_losses(
    train: Train, rows: EncodedSplit, undisturbed: list[Outcome], tokens: int
) -> None:
    assert rows.lengths.max() == 64
    cut = train(LORA, parts(rows), config=replace(OPTIONS, pass_tokens=tokens))
    for one, other in zip(cut, undisturbed, strict=True):
        np.testing.assert_allclose(losses(one), losses(other), atol=2e-6)


def test_a_profile_does_not_see_the_rows_of_the_others(
    train: Train, rows: EncodedSplit, undisturbed: list[Outcome]
) -> None:
    splits = parts(rows)
    other = parts(replace(rows, labels=1 - rows.labels, tokens=rows.tokens[::-1].copy()))
    after = train(LORA, [splits[0], other[1], splits[2]])
    for number in (0, 2):
        np.testing.assert_allclose(losses(after[number]), losses(undisturbed[number]), atol=2e-6)
    assert abs(losses(after[1])[-1] - losses(undisturbed[1])[-1]) > 1e-3


def test_a_profile_that_diverges_leaves_the_others_unchanged(
    train: Train, rows: EncodedSplit, undisturbed: list[Outcome]
) -> None:
    outcomes = train(LORA, parts(rows), [RATES[0], Rates(1e38, 1e38), RATES[2]])
    assert "not finite" in outcomes[1].error or "nan" in outcomes[1].error
    for number in (0, 2):
        assert outcomes[number].error is None
        np.testing.assert_allclose(losses(outcomes[number]), losses(undisturbed[number]), atol=2e-6)


def test_a_killed_group_resumes(
    train: Train,
    rows: EncodedSplit,
    undisturbed: list[Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, step, done = replace(OPTIONS, checkpoint_steps=2), Trainer._step, []

    def step_or_raise(self: Trainer, active: list) -> None:
        done.append(1)
        if len(done) == 4:
            raise KeyboardInterrupt
        step(self, active)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step_or_raise)
        with pytest.raises(KeyboardInterrupt):
            train(LORA, parts(rows), config=config, folder=tmp_path)
    for one, other in zip(train(LORA, parts(rows), config=config, folder=tmp_path), undisturbed, strict=True):
        assert losses(one) == losses(other)
        assert one.progress.history == other.progress.history


def test_a_method_that_writes_into_shared_weights_is_refused(train: Train, rows: EncodedSplit) -> None:
    with pytest.raises(InputError, match=r"trainer\.profiles_per_pass=1"):
        train(PaFi(density=0.01), parts(rows))
