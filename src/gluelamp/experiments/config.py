"""The configuration of a run: Hydra's dictionary becomes typed dataclasses once, here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.load import BackboneConfig
from gluelamp.errors import InputError, unknown
from gluelamp.methods.base import Method
from gluelamp.tasks.config import DataConfig, TaskConfig
from gluelamp.tasks.mixture import find_task
from gluelamp.training.config import TrainerConfig

PACKAGE = "gluelamp."
_WORDS = {  # pydantic's, and those of a command line
    "a valid tuple": "a list, as in [A] or [A,B]",
    "a valid string": "text",
    "a valid dictionary": "a section",
    " after validation, not 0": "",
}
_T = TypeVar("_T")


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class HeadConfig:
    """The task head; it is trained in every method.

    Args:
        train_pooler: whether the pre-trained pooler (BERT's) is trained and counted with the head.
    """

    train_pooler: bool = False


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrackerConfig:
    """Where metrics are shown while a run goes on; the record is the truth in any case.

    Args:
        name: ``none`` or ``wandb``.
        project: of Weights & Biases.
        mode: of Weights & Biases; ``auto`` is online where a key is set, and offline elsewhere.
    """

    name: Literal["none", "wandb"] = "none"
    project: str = "gluelamp"
    mode: Literal["auto", "online", "offline"] = "auto"


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ResultsConfig:
    """Where results go.

    Args:
        root: the results folder.
    """

    root: str = Field(default="results", min_length=1)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RunConfig:
    """All that defines one run.

    Args:
        backbone: the encoder.
        method: the recipe.
        task: the task.
        data: where its rows come from.
        trainer: how it is trained.
        head: how the head is treated.
        tracker: where metrics are shown.
        results: where results go.
        seed: of head, method, order of examples and dropout.
        on_existing: what to do if the run is complete already.
    """

    backbone: BackboneConfig
    method: Method
    task: TaskConfig
    data: DataConfig
    trainer: TrainerConfig
    head: HeadConfig
    tracker: TrackerConfig
    results: ResultsConfig
    seed: int = Field(default=0, ge=0, lt=2**63)
    on_existing: Literal["skip", "retrain", "fail"] = "skip"


def parse_run(raw: Mapping[str, Any]) -> RunConfig:
    """Return the typed configuration of a composed one.

    Args:
        raw: nested plain containers; ``raw["method"]["_target_"]`` names the method's class.

    Raises:
        InputError: on an unknown key, a wrong type or a value out of range; the message names the
            key, the value, what is allowed and the nearest known name.
    """
    config = parse_sections(RunConfig, raw)
    find_task(config.task.name, config.task.members)
    return config


def parse_sections(cls: type[_T], raw: Mapping[str, Any]) -> _T:
    """Return the typed configuration of a composed one, whose sections are dataclasses of their own.

    Args:
        cls: a pydantic dataclass; a field whose type is a dataclass is a section.
        raw: nested plain containers.

    Raises:
        InputError: on an unknown key, a wrong type or a value out of range.
    """
    sections = {
        name: parse_method(raw.get(name, {})) if kind is Method else parse(kind, raw.get(name, {}), name)
        for name, kind in get_type_hints(cls).items()
        if isinstance(kind, type) and is_dataclass(kind)
    }
    return parse(cls, {**raw, **sections}, "")


def parse_method(raw: Mapping[str, Any]) -> Method:
    """Return a method from its leaf.

    Args:
        raw: the leaf's content; ``_target_`` names a class inside this package.

    Raises:
        InputError: if the target is missing or outside the package, or a field is wrong.
    """
    values = dict(_section(raw, "method"))
    target = str(values.pop("_target_", ""))
    module, _, name = target.rpartition(".")
    if not module.startswith(PACKAGE):
        raise InputError(
            f"method._target_={target!r} is not allowed: it must name a class inside this package, "
            "such as 'gluelamp.methods.pafi.PaFi'."
        )
    try:
        method = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"method._target_={target!r} does not exist: {error}.") from error
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise InputError(f"method._target_={target!r} is not a method.")
    return parse(method, values, "method")


def parse(cls: type[_T], values: Mapping[str, Any], section: str) -> _T:
    """Return a validated dataclass.

    Args:
        cls: a pydantic dataclass.
        values: its fields.
        section: where the fields stand in the configuration, for messages.

    Raises:
        InputError: naming the wrong keys, and what is wrong with the first.
    """
    try:
        return cls(**_section(values, section))
    except ValidationError as error:
        raise InputError(_sentence(error, cls, section)) from error


def _section(values: object, name: str) -> Mapping[str, Any]:
    if isinstance(values, Mapping):
        return values
    raise InputError(
        f"{name}={values!r} is not allowed: it is a section. Give its keys values, as in {name}.KEY=VALUE."
    )


def _sentence(error: ValidationError, cls: type, section: str) -> str:
    first, *others = error.errors(include_url=False)
    if not first["loc"]:  # raised by a check over several fields, which names its keys itself
        return str(first["ctx"]["error"]) + "."
    keys = [_dotted(section, other["loc"]) for other in others if other["loc"] != first["loc"][:-1]]
    more = f" Also wrong: {', '.join(keys)}." if keys else ""  # not a list for its one wrong item
    key = _dotted(section, first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        known = [field.name for field in fields(cls)] if is_dataclass(cls) else []
        return str(unknown(f"{section or 'configuration'} key", str(first["loc"][-1]), known)) + more
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key} is missing; give it a value.{more}"
    what = re.sub(r"^(Input|String|Tuple) should", "it should", first["msg"])
    for theirs, ours in _WORDS.items():
        what = what.replace(theirs, ours)
    return f"{key}={first['input']!r} is not allowed: {what}.{more}"


def _dotted(section: str, loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, (section, *loc) if section else loc))
