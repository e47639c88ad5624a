"""The configuration of a run: Hydra's dictionary is converted to typed dataclasses here, and only here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, Literal, Self, TypeVar, get_type_hints

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.heads import HeadType
from gluelamp.backbones.load import BackboneConfig
from gluelamp.errors import InputError, unknown
from gluelamp.experiments.overrides import refuse_renamed
from gluelamp.experiments.search import with_trial
from gluelamp.methods.base import Method
from gluelamp.package_data import refuse_reference
from gluelamp.records.files import Name, PathOption
from gluelamp.tasks.config import CustomTaskConfig, DataConfig, TaskConfig, file_name
from gluelamp.tasks.mixture import find_task
from gluelamp.training.config import TrainerConfig

_TERMS = {  # of pydantic's messages, and what a user of a command line reads instead
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
        type: ``two_layer`` or ``linear``; see `gluelamp.backbones.heads.HeadType`.
    """

    type: HeadType = "two_layer"


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrackerConfig:
    """Where metrics are shown during a run. The record is written in any case.

    Args:
        name: ``none`` or ``wandb``.
        project: the project at Weights & Biases.
        mode: of Weights & Biases; ``auto`` is $WANDB_MODE or, without it, online if there is a key in
            $WANDB_API_KEY or ``.netrc``, and offline otherwise.
    """

    name: Literal["none", "wandb"] = "none"
    project: str = "gluelamp"
    mode: Literal["auto", "online", "offline"] = "auto"


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ResultsConfig:
    """Where results are written.

    Args:
        root: the results folder; not the project's committed results.
    """

    root: PathOption = Field(default="results", min_length=1)

    @model_validator(mode="after")
    def _check_root(self) -> Self:
        refuse_reference(self.root)
        return self


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RunConfig:
    """Everything that defines one run.

    Args:
        backbone: the encoder.
        method_name: the method's name in tables and folders, from ``method.name``.
        method: its hyper-parameters.
        task: the task.
        data: where the rows come from.
        trainer: how the method is trained.
        head: options of the task head.
        tracker: where metrics are shown.
        results: where results are written.
        seed: of head, method, order of examples and dropout.
        on_existing: what happens if the run is complete already.
    """

    backbone: BackboneConfig
    method_name: Name
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
        raw: nested plain containers; ``raw["method"]["_target_"]`` names the method's class, ``raw["trial"]``
            a point of its search space, see `gluelamp.experiments.search`.

    Raises:
        InputError: on an unknown key, a wrong type or a value out of range; the message names the
            key, the value, what is allowed and the nearest known name.
    """
    config = parse_sections(RunConfig, with_trial(raw))
    # The declaration of a task on a user's own rows is made from these rows.
    if not isinstance(config.task, CustomTaskConfig):
        find_task(config.task.name, config.task.members)
    return config


def parse_sections(cls: type[_T], raw: Mapping[str, Any]) -> _T:
    """Return the typed configuration of a composed one whose sections are dataclasses.

    Args:
        cls: a pydantic dataclass. A field whose type is a dataclass is a section; the section ``method``
            also gives the field ``method_name``.
        raw: nested plain containers.

    Raises:
        InputError: on an unknown key, a wrong type or a value out of range.
    """
    kinds = get_type_hints(cls)
    # a method's config also sets the learning rates of a run and their search, which a measurement lacks
    values = {key: value for key, value in raw.items() if key not in ("trainer", "search") or key in kinds}
    for name, kind in kinds.items():
        if kind is Method:
            section = _section(raw.get(name, {}), name)
            values[name] = parse_method(section)
            if "method_name" in kinds and "name" in section:
                values["method_name"] = section["name"]
        elif kind is TaskConfig:
            values[name] = parse_task(_section(raw.get(name, {}), name))
        elif isinstance(kind, type) and is_dataclass(kind):
            values[name] = parse(kind, raw.get(name, {}), name)
    return parse(cls, values, "")


def parse_task(raw: Mapping[str, Any]) -> TaskConfig:
    """Return the options of a ``task`` section; one that names a file is a task on a user's own rows.

    Args:
        raw: the section. Without a name such a task has that of its file or, if this is the name of a split,
            that of the folder.

    Raises:
        InputError: if an option is wrong.
    """
    if "train" not in raw:
        return parse(TaskConfig, raw, "task")
    text = raw.get("text", "text")
    own = {
        "name": raw.get("name") or file_name(str(raw["train"])),
        "text": [text] if isinstance(text, str) else text,
    }
    return parse(CustomTaskConfig, {**raw, **own}, "task")


def parse_method(raw: Mapping[str, Any]) -> Method:
    """Return the method of a ``method`` section.

    Args:
        raw: the section. ``_target_`` is the full name of a subclass of `Method`, of any package; ``name``
            is the method's name in tables and not one of its options.

    Raises:
        InputError: if the target is not a method, or an option is wrong.
    """
    options = dict(_section(raw, "method"))
    for key, value in options.items():
        refuse_renamed(f"method.{key}", value)
    method = _method_class(str(options.pop("_target_", "")))
    options.pop("name", None)
    return parse(method, options, "method", check_renamed=False)


def _method_class(target: str) -> type[Method]:
    # Any importable class may be named: the config is the user's own, and a method may be in any package.
    module, _, name = target.rpartition(".")
    try:
        named = getattr(import_module(module), name) if module else None
    except (ImportError, AttributeError) as error:
        raise InputError(f"method._target_={target!r} does not exist: {error}.") from error
    if not (isinstance(named, type) and issubclass(named, Method)):
        raise InputError(
            f"method._target_={target!r} is not allowed: it must be the full name of a subclass of "
            "gluelamp.methods.base.Method, such as 'gluelamp.methods.pafi.PaFi'."
        )
    return named


def parse(cls: type[_T], values: Mapping[str, Any], section: str, check_renamed: bool = True) -> _T:
    """Return a validated dataclass.

    Args:
        cls: a pydantic dataclass.
        values: its fields.
        section: the section of the configuration, for messages; empty for the whole.
        check_renamed: whether keys of earlier releases are refused with the new key.

    Raises:
        InputError: naming the wrong keys, and what is wrong with the first.
    """
    # Hydra refuses unknown keys of the command line; keys of a user's own config files arrive here.
    for key, value in _section(values, section).items():
        if check_renamed:
            refuse_renamed(_dotted(section, (key,)), value)
    try:
        return cls(**values)
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
    if first["type"] == "value_error":  # from a check of this package, whose message names keys or values
        return str(first["ctx"]["error"]).removesuffix(".") + "."
    # a list with one wrong item is reported twice, as the item and as the list
    keys = [_dotted(section, other["loc"]) for other in others if other["loc"] != first["loc"][:-1]]
    more = f" Also wrong: {', '.join(keys)}." if keys else ""
    key = _dotted(section, first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        known = [f.name for f in fields(cls) if f.name != "method_name"] if is_dataclass(cls) else []
        return str(unknown(f"{section or 'configuration'} key", str(first["loc"][-1]), known)) + more
    if first["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key} is missing; give it a value.{more}"
    reason = re.sub(r"^(Input|String|Tuple) should", "it should", first["msg"])
    for term, replacement in _TERMS.items():
        reason = reason.replace(term, replacement)
    return f"{key}={first['input']!r} is not allowed: {reason}.{more}"


def _dotted(section: str, loc: tuple[int | str, ...]) -> str:
    # the field method_name of a run is the key method.name of its configuration
    key = ".".join(map(str, (section, *loc) if section else loc))
    return "method.name" if key == "method_name" else key
