"""A wrong configuration is one sentence with the key, the value, what is allowed and the nearest name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.plan import plan_run
from gluelamp.methods.lora import LoRA

Compose = Callable[..., dict[str, Any]]
Change = Callable[[dict[str, Any]], object]

CASES: dict[str, tuple[Change, str]] = {
    "unknown key of a section": (
        lambda raw: raw["trainer"].update(epoch=3),
        "trainer key 'epoch' is unknown; did you mean 'epochs'? Known: batch_size, betas, ",
    ),
    "unknown key of the method": (
        lambda raw: raw["method"].update(ranks=4),
        "method key 'ranks' is unknown; did you mean 'rank'? Known: alpha, dropout, ",
    ),
    "unknown key of the run": (
        lambda raw: raw.update(seeds=1),
        "configuration key 'seeds' is unknown; did you mean 'seed'? Known: backbone, ",
    ),
    "a fraction for a whole number": (
        lambda raw: raw["trainer"].update(epochs=2.5),
        "trainer.epochs=2.5 is not allowed: it should be a valid integer",
    ),
    "out of range in the method": (
        lambda raw: raw["method"].update(rank=0),
        "method.rank=0 is not allowed: it should be greater than or equal to 1.",
    ),
    "negative seed": (
        lambda raw: raw.update(seed=-1),
        "seed=-1 is not allowed: it should be greater than or equal to 0.",
    ),
    "not one of the choices": (
        lambda raw: raw.update(on_existing="overwrite"),
        "on_existing='overwrite' is not allowed: it should be 'skip', 'retrain' or 'fail'.",
    ),
    "not one of the choices within a list": (
        lambda raw: raw["method"].update(targets=["query", "values"]),
        "method.targets.1='values' is not allowed: it should be 'query', 'key', 'value', ",
    ),
    "two wrong keys": (
        lambda raw: raw["trainer"].update(epochs=0, batch_size=0),
        "trainer.epochs=0 is not allowed: it should be greater than or equal to 1. "
        "Also wrong: trainer.batch_size.",
    ),
    "a value for a list": (
        lambda raw: raw["method"].update(targets="query"),
        "method.targets='query' is not allowed: it should be a list, as in [A] or [A,B].",
    ),
    "no text": (
        lambda raw: raw["results"].update(root=None),
        "results.root=None is not allowed: it should be text.",
    ),
    "a value for a section": (
        lambda raw: raw.update(head=3),
        "head=3 is not allowed: it is a section. Give its keys values, as in head.KEY=VALUE.",
    ),
    "missing value": (
        lambda raw: raw["task"].pop("name"),
        "task.name is missing; give it a value.",
    ),
    "unknown task": (
        lambda raw: raw["task"].update(name="colla"),
        "task 'colla' is unknown; did you mean 'cola'? Known: ax, axb, ",
    ),
    "task without training rows": (
        lambda raw: raw["task"].update(name="ax"),
        "task 'ax' has no training rows; it is for prediction only.",
    ),
    "function for a method": (
        lambda raw: raw["method"].update(_target_="os.system"),
        "method._target_='os.system' is not allowed: it must be the full name of a subclass of ",
    ),
    "package that is not installed": (
        lambda raw: raw["method"].update(_target_="gluelamp_evil.methods.Method"),
        "method._target_='gluelamp_evil.methods.Method' does not exist: ",
    ),
    "key of an earlier release": (
        lambda raw: raw["method"].update(learning_rate=1e-3),
        "method.learning_rate=0.001 has another name now. Write trainer.learning_rate=0.001.",
    ),
    "module that does not exist": (
        lambda raw: raw["method"].update(_target_="gluelamp.methods.weights.loora.LoRA"),
        "method._target_='gluelamp.methods.weights.loora.LoRA' does not exist: ",
    ),
    "a folder for the sample": (
        lambda raw: raw["data"].update(source="sample", root="mine"),
        "data.root=mine is not allowed with data.source=sample, which reads no folder. Take data=local, or ",
    ),
    "decay rates that are no probabilities": (
        lambda raw: raw["trainer"].update(betas=[0.9, 1.5]),
        "trainer.betas.1=1.5 is not allowed: it should be less than 1.",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), CASES.values(), ids=CASES)
def test_a_wrong_value_is_explained(compose: Compose, change: Change, sentence: str) -> None:
    raw = compose()
    change(raw)
    with pytest.raises(InputError) as caught:
        parse_run(raw)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


# Checks that methods make themselves: overrides of a config, and the sentence.
FIELDS: dict[str, tuple[tuple[str, ...], str]] = {
    "more than all weights": (
        ("method=pafi", "method.density=1.5"),
        "method.density=1.5 is not allowed: it should be less than or equal to 1.",
    ),
    "no regular expression": (
        ("method=fish", "method.exclude='emb(eddings'"),
        "method.exclude='emb(eddings' is not a regular expression: missing ), unterminated subpattern ",
    ),
    "unknown consistency": (
        ("method=adamix", "method.consistency=js"),
        "method.consistency='js' is not allowed: it should be 'kl', 'mse' or 'none'.",
    ),
    "unknown tuner": (
        ("method=peft", "method.type=LORAX"),
        "method.type 'LORAX' is unknown; did you mean 'LORA'? Known: BOFT, ",
    ),
    "misspelt option of a tuner": (
        ("method=peft", "method.type=LORA", "method.options={use_dorra: true}"),
        "method.options: option 'use_dorra' is unknown; did you mean 'use_dora'? Known: ",
    ),
    "option of a tuner that the suite sets": (
        ("method=peft", "method.options={target_modules: [query]}"),
        "method.options: target_modules=['query'] is not allowed: ",
    ),
    "options that contradict each other": (
        ("method=xpeft", "method.num_adapters=10", "method.top_k=11"),
        "method.top_k=11 is larger than method.num_adapters=10; ",
    ),
}


@pytest.mark.parametrize(("overrides", "sentence"), FIELDS.values(), ids=FIELDS)
def test_a_wrong_field_of_a_method_is_explained(
    compose: Compose, overrides: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse_run(compose(*overrides))
    assert str(caught.value).startswith(sentence)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert "Value error" not in str(caught.value)


@pytest.mark.parametrize("setting", ["adamix consistency=kl", "dyt distillation=kl"])
def test_a_loss_over_classes_is_refused_for_a_regression_before_anything_is_loaded(
    compose: Compose, setting: str
) -> None:
    method, field = setting.split()
    config = parse_run(compose(f"method={method}", "task=stsb", "backbone=tiny"))
    with pytest.raises(InputError, match=rf"^method\.{field} compares the probabilities .* regression"):
        plan_run(config)


def test_a_valid_configuration_is_typed(compose: Compose) -> None:
    config = parse_run(
        compose(
            "method=lora",
            "method.rank=4",
            "trainer.learning_rate=1e-3",
            "trainer.betas=[0.8,0.95]",
            "seed=3",
            "trainer.patience=2",
        )
    )
    assert isinstance(config, RunConfig)
    assert isinstance(config.method, LoRA)
    assert (config.method_name, config.method.rank) == ("lora", 4)
    assert config.trainer.betas == (0.8, 0.95)
    assert (config.seed, config.trainer.patience) == (3, 2)


def test_a_configuration_cannot_be_changed(compose: Compose) -> None:
    config = parse_run(compose())
    with pytest.raises(AttributeError):
        config.seed = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        config.method.rank = 1  # type: ignore[attr-defined]
