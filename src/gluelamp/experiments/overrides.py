"""Command-line words: those that train a run again, and keys of earlier releases.

This module imports nothing heavy, so that the command line can use it before anything is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping
from functools import cache
from typing import Any, cast

from gluelamp.errors import InputError
from gluelamp.package_data import config_folders, find_config

# Old keys are not accepted silently: a script with them would run with the defaults of the new keys.
RENAMED_KEYS = {
    "method.learning_rate": "trainer.learning_rate",
    "method.head_learning_rate": "trainer.head_learning_rate",
    "trainer.together": "trainer.profiles_per_pass",
    "task.users": "task.profiles",
    "head.train_pooler": "head.type",
    "export.destination": "destination",
    "export.selection": "selection",
}
RENAMED_VALUES = {
    "task.profiles": {"each": "per_user", "shared_then_each": "shared_then_per_user"},
    "head.type": {"True": "two_layer", "False": "linear", "true": "two_layer", "false": "linear"},
}

# the option takes the short names, and the record has those of torch
_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}
_SEARCHED = ("trainer.learning_rate", "trainer.head_learning_rate", "trainer.dropout")  # with every method
_UNQUOTED = re.compile(r"[\w./-]+")  # what Hydra accepts without quotes
_FILES = {"bank": "PATH"}  # a record has the checksum of such a file, not its path


def refuse_renamed(key: str, value: object) -> None:
    """Raise an error if a key or its value has another name now.

    Args:
        key: dotted, such as ``trainer.epochs``.
        value: of the key.

    Raises:
        InputError: naming the new key and value.
    """
    new_key = RENAMED_KEYS.get(key, key)
    new_value = RENAMED_VALUES.get(new_key, {}).get(str(value), value)
    if (new_key, new_value) != (key, value):
        raise InputError(f"{key}={value} has another name now. Write {new_key}={new_value}.")


def run_overrides(
    config: Mapping[str, Any],
    source: str,
    data_revision: str | None,
    backbone_revision: str | None,
    own_rows: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the words of a command line that train a run again, without the seed.

    Only differences from the config files are written. Precision and what the method's config searches, such
    as the learning rates, are always written, because they may depend on the machine or on a later release.
    The folders of data and backbone are left to the machine: their checksums are in the record.

    Args:
        config: the complete effective configuration, see `gluelamp.experiments.identity`.
        source: of the data.
        data_revision: commit of the data on the hub.
        backbone_revision: commit of the weights on the hub.
        own_rows: the options that name a user's own rows; None for a task of a benchmark.
    """
    trainer = config["trainer"]
    task = "custom" if own_rows else config["task"]["name"]
    method = _method_config(config["method"])
    # The resolved task name, such as lamp2n_time, has a config file of its own.
    words = [f"backbone={config['backbone']['name']}", f"method={method}", f"task={task}"]
    words += [] if own_rows else [f"data={source}"]
    revisions = (("data", data_revision), ("backbone", backbone_revision))
    words += [f"{section}.revision={revision}" for section, revision in revisions if revision]
    # A method's config also sets learning rates, so the trainer's defaults are those of the composed method.
    defaults = {**_composed("method", method), "task": _composed("task", task)["task"]}
    if not find_config("method", method):
        # a config of the user's own folder: its defaults are not known here, so all its options are written
        defaults["method"] = dict.fromkeys(config["method"])
    searched = {*_SEARCHED, *(defaults.get("search") or ())}
    if config["head"]["type"] != "two_layer":
        words.append(f"head={config['head']['type']}")
    for section in ("task", "method", "trainer"):
        values = config[section] | (own_rows or {}) if section == "task" else config[section]
        words += _differences(section, values, defaults[section], searched)
    words.append(f"trainer.precision={_PRECISIONS.get(trainer['precision'], trainer['precision'])}")
    options = [(key, *key.partition(".")[::2]) for key in sorted(searched)]
    return words + [f"{key}={as_word(config[section][option])}" for key, section, option in options]


def _differences(
    section: str, values: Mapping[str, Any], defaults: Mapping[str, Any], searched: Container[str]
) -> Iterator[str]:
    for key in values:
        # a key that is missing in a task's config has the only value that the task allows
        is_named = key in defaults.keys() - {"kind", "precision"} and f"{section}.{key}" not in searched
        if is_named and values[key] != defaults[key]:
            yield f"{section}.{key}={_FILES.get(key) or as_word(values[key])}"


def _method_config(method: Mapping[str, Any]) -> str:
    """Return the config of a method's name or, if the name was given on the command line, of its class."""
    # A config without _target_ inherits it from another file, which is found by its class instead.
    if find_config("method", method["name"]):
        return str(method["name"])
    target = re.compile(rf"^  _target_: \S+\.{method['kind']}$", re.MULTILINE)
    configs = (path for folder in config_folders() for path in sorted((folder / "method").glob("*.yaml")))
    files = (path for path in configs if target.search(path.read_text("utf-8")))
    return next((path.stem for path in files), str(method["name"]))


@cache
def _composed(group: str, name: str) -> dict[str, dict[str, Any]]:
    """Return the configuration of a run with one choice, and else the defaults."""
    from hydra import compose
    from omegaconf import OmegaConf

    from gluelamp.experiments.compose import initialized_hydra

    chosen = [f"{group}={name}"] if find_config(group, name) else []
    if find_config("local", "default"):
        chosen.append("~local")  # the defaults of this machine are not those of others
    with initialized_hydra():
        return cast("dict[str, Any]", OmegaConf.to_container(compose("train", overrides=chosen)))


def as_word(value: object) -> str:
    """Return a value as Hydra reads it in a word of the command line, without the quotes of a shell."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_word(inner)}" for key, inner in value.items()) + "}"
    # Hydra reads the lists, numbers and null of JSON. It does not read mappings with quoted keys.
    if isinstance(value, tuple | list | bool | int | float) or value is None:
        return json.dumps(value, separators=(",", ":"))
    text = str(value)
    return text if _UNQUOTED.fullmatch(text) else quoted(text, "'")


def quoted(text: str, quote: str = '"') -> str:
    """Return a text in quotes of Hydra's grammar, which then takes any other sign in it as it is.

    Args:
        text: any text.
        quote: the single or the double quote.
    """
    # A backslash escapes a quote, and is itself escaped before one only.
    escaped = re.sub(
        rf"(\\*)({quote}|$)", lambda found: 2 * found[1] + (f"\\{quote}" if found[2] else ""), text
    )
    return f"{quote}{escaped}{quote}"
