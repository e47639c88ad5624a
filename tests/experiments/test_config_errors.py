"""A wrong configuration is one sentence: the key, the value, what is allowed, the nearest name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig, parse_method, parse_run
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
    "wrong type": (
        lambda raw: raw["trainer"].update(batch_size="many"),
        "trainer.batch_size='many' is not allowed: it should be a valid integer",
    ),
    "a fraction for a whole number": (
        lambda raw: raw["trainer"].update(epochs=2.5),
        "trainer.epochs=2.5 is not allowed: it should be a valid integer",
    ),
    "out of range": (
        lambda raw: raw["trainer"].update(warmup_ratio=1.5),
        "trainer.warmup_ratio=1.5 is not allowed: it should be less than or equal to 1.",
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
    "an empty list": (
        lambda raw: raw["method"].update(targets=[]),
        "method.targets=[] is not allowed: it should have at least 1 item.",
    ),
    "no text": (
        lambda raw: raw["results"].update(root=None),
        "results.root=None is not allowed: it should be text.",
    ),
    "a value for a section": (
        lambda raw: raw.update(head=3),
        "head=3 is not allowed: it is a section. Give its keys values, as in head.KEY=VALUE.",
    ),
    "nothing for a section": (
        lambda raw: raw.update(head=None),
        "head=None is not allowed: it is a section.",
    ),
    "a value for the method": (lambda raw: raw.update(method=3), "method=3 is not allowed: it is a section."),
    "missing value": (
        lambda raw: raw["task"].pop("name"),
        "task.name is missing; give it a value.",
    ),
    "unknown task": (
        lambda raw: raw["task"].update(name="colla"),
        "task 'colla' is unknown; did you mean 'cola'? Known: ax, cola, ",
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
    "no class": (lambda raw: raw["method"].pop("_target_"), "method._target_='' is not allowed: "),
    "class that does not exist": (
        lambda raw: raw["method"].update(_target_="gluelamp.methods.lora.Lora"),
        "method._target_='gluelamp.methods.lora.Lora' does not exist: ",
    ),
    "module that does not exist": (
        lambda raw: raw["method"].update(_target_="gluelamp.methods.weights.loora.LoRA"),
        "method._target_='gluelamp.methods.weights.loora.LoRA' does not exist: ",
    ),
    "class that is no method": (
        lambda raw: raw["method"].update(_target_="gluelamp.errors.InputError"),
        "method._target_='gluelamp.errors.InputError' is not allowed: it must be the full name of a ",
    ),
    "function of another package seen through ours": (
        lambda raw: raw["method"].update(_target_="gluelamp.experiments.environment.subprocess.run"),
        "method._target_='gluelamp.experiments.environment.subprocess.run' does not exist: ",
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


# Of the other methods: overrides of their leaves, and the sentence.
FIELDS: dict[str, tuple[tuple[str, ...], str]] = {
    "more than all weights": (
        ("method=pafi", "method.density=1.5"),
        "method.density=1.5 is not allowed: it should be less than or equal to 1.",
    ),
    "none of the weights": (
        ("method=diff_pruning", "method.density=0.0"),
        "method.density=0.0 is not allowed: it should be greater than 0.",
    ),
    "no regular expression": (
        ("method=fish", "method.exclude='emb(eddings'"),
        "method.exclude='emb(eddings' is not a regular expression: missing ), unterminated subpattern ",
    ),
    "no rank": (
        ("method=loretta_rep", "method.rank=0"),
        "method.rank=0 is not allowed: it should be greater than or equal to 1.",
    ),
    "no rank of the trains": (
        ("method=loretta_adp", "method.tensor_rank=0"),
        "method.tensor_rank=0 is not allowed: it should be greater than or equal to 1.",
    ),
    "negative numerator of the scaling": (
        ("method=lora", "method.alpha=-16"),
        "method.alpha=-16 is not allowed: it should be greater than or equal to 1.",
    ),
    "no bottleneck": (
        ("method=houlsby", "method.bottleneck=0"),
        "method.bottleneck=0 is not allowed: it should be greater than or equal to 1.",
    ),
    "no summands": (
        ("method=compacter", "method.summands=0"),
        "method.summands=0 is not allowed: it should be greater than or equal to 1.",
    ),
    "no blocks": (
        ("method=ether", "method.blocks=0"),
        "method.blocks=0 is not allowed: it should be greater than or equal to 1.",
    ),
    "no experts": (
        ("method=adamix", "method.experts=0"),
        "method.experts=0 is not allowed: it should be greater than or equal to 1.",
    ),
    "unknown consistency": (
        ("method=adamix", "method.consistency=js"),
        "method.consistency='js' is not allowed: it should be 'kl', 'mse' or 'none'.",
    ),
    "unknown tuner": (
        ("method=peft", "method.type=LORAX"),
        "method.type 'LORAX' is unknown; did you mean 'LORA'? Known: BOFT, ",
    ),
    "option of another tuner": (
        ("method=peft", "method.type=VERA", "method.options={lora_alpha: 4}"),
        "method.options: option 'lora_alpha' is unknown",
    ),
    "misspelt option": (
        ("method=peft", "method.type=LORA", "method.options={use_dorra: true}"),
        "method.options: option 'use_dorra' is unknown; did you mean 'use_dora'? Known: ",
    ),
    "option that the suite sets": (
        ("method=peft", "method.options={target_modules: [query]}"),
        "method.options: target_modules=['query'] is not allowed: ",
    ),
    "no target": (("method=lora", "method.targets=[]"), "method.targets=[] is not allowed: "),
}
FIELDS |= {
    f"unknown target of {leaf}": (
        (f"method={leaf}", "method.targets=[query,ffn_up]"),
        "method.targets.1='ffn_up' is not allowed: it should be 'query', 'key', 'value', ",
    )
    for leaf in ("ether", "loretta_rep", "peft")
}
FIELDS |= {
    f"no length of {leaf}": (
        (f"method={leaf}", "method.length=0"),
        "method.length=0 is not allowed: it should be greater than or equal to 1.",
    )
    for leaf in ("prefix", "prompt", "mam")
}
FIELDS |= {
    f"negative scale of {leaf}": (
        (f"method={leaf}", "method.scale=-1.0"),
        "method.scale=-1.0 is not allowed: it should be greater than 0.",
    )
    for leaf in ("hiwi", "parallel", "mam", "dyt")
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


def test_fields_that_contradict_each_other_are_named_together(compose: Compose) -> None:
    raw = compose("method=xpeft", "method.num_adapters=10", "method.top_k=11")
    with pytest.raises(InputError, match=r"^method\.top_k=11 is larger than method\.num_adapters=10; .*\.$"):
        parse_run(raw)


@pytest.mark.parametrize("setting", ["adamix consistency=kl", "dyt distillation=kl"])
def test_a_loss_over_classes_is_refused_for_a_regression_before_anything_is_loaded(
    compose: Compose, setting: str
) -> None:
    method, field = setting.split()
    config = parse_run(compose(f"method={method}", "task=stsb", "backbone=tiny"))
    with pytest.raises(InputError, match=rf"^method\.{field} compares the probabilities .* regression"):
        plan_run(config)


def test_what_is_right_arrives_typed(compose: Compose) -> None:
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


def test_an_empty_method_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"method\._target_='' is not allowed"):
        parse_method({})
