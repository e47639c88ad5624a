"""The methods by name: those of the files in ``configs/method``, and those of other installed packages."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import yaml

from gluelamp.errors import InputError, unknown
from gluelamp.methods.base import Method
from gluelamp.package_data import config_folders, find_config, installed_methods


class Rates(NamedTuple):
    """Peak learning rates of a method's values and of the head; the head has the method's if it is None."""

    method: float
    head: float | None


@cache
def known_methods() -> dict[str, type[Method]]:
    """Return the class of every method by its name, such as ``"lora"`` or ``"xpeft_soft"``."""
    return {name: _class(method_config(name)["method"]["_target_"]) for name in _names()}


@cache
def method_config(name: str) -> dict[str, dict[str, Any]]:
    """Return a method's config, together with that on which it is based.

    Args:
        name: of a file in ``configs/method`` of this or of another package, or of an entry point.

    Returns:
        by section, ``method``, ``trainer`` and ``search``. Interpolations such as ``${seed}`` are not
        resolved. Of a method of another package without a config, its class alone.

    Raises:
        InputError: if the name is unknown.
    """
    path = find_config("method", name)
    if path is None and name in installed_methods():
        return {"method": {"_target_": installed_methods()[name]}}
    if path is None:
        raise unknown("method", name, _names())
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    bases = [base for base in content.pop("defaults", []) if base != "_self_"]
    merged: dict[str, dict[str, Any]] = {}
    for part in (*map(method_config, bases), content):
        for section, values in part.items():
            merged[section] = {**merged.get(section, {}), **values}
    return merged


def rates_or_default(method: Method, learning_rate: float | None, head_rate: float | None) -> Rates:
    """Return given learning rates or, if the first is None, those of a method's config.

    Args:
        method: see `default_rates`.
        learning_rate: of the method's values.
        head_rate: of the head; replaces that of the config, too.

    Raises:
        InputError: if neither is there.
    """
    if learning_rate is not None:
        return Rates(learning_rate, head_rate)
    rates = default_rates(method)
    if rates is None:
        raise InputError(f"{type(method).__name__} has no config with learning rates: give a learning_rate.")
    return Rates(rates.method, head_rate or rates.head)


def default_rates(method: Method) -> Rates | None:
    """Return the learning rates of the config whose options are most like a method's.

    Args:
        method: its class may have several configs, such as ``xpeft`` and ``xpeft_soft``.

    Returns:
        None if no config of its class has learning rates.
    """

    def equal_options(config: dict[str, dict[str, Any]]) -> int:
        return sum(getattr(method, key, None) == value for key, value in config["method"].items())

    configs = [method_config(name) for name, cls in known_methods().items() if cls is type(method)]
    rates = max(configs, key=equal_options, default={}).get("trainer")
    if rates is None:
        return None
    head = rates.get("head_learning_rate")
    return Rates(float(rates["learning_rate"]), None if head is None else float(head))


def _names() -> list[str]:
    files = {path.stem for folder in config_folders() for path in (folder / "method").glob("*.yaml")}
    return sorted(files | installed_methods().keys())


def _class(target: str) -> type[Method]:
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)
