"""Records of earlier releases in today's layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Version 1 differs in names and words only: each mapping in this file has its words as keys and today's as
# values. Its section `method` also had the learning rates, and it had no `family` and no `overrides`.
_PROFILES = {"each": "per_user", "shared_then_each": "shared_then_per_user"}
_SENTENCES = {
    "best on validation, last, and held_out, from the same run": "best on validation, last and held_out",
    "best on each person's validation rows, and last, from the same run": (
        "best on each user's validation rows, and last"
    ),
    "best: all rows choose; held_out: each half by the other's choice; last: no": (
        "best: yes; held_out: cross-fitted (2-fold); last: no"
    ),
    "best: each person's own rows choose; last: no": "best: yes, by user; last: no",
}

# A table of its own, because records are below methods, and a class of version 1 may be removed.
_FAMILIES = {
    "full": ("FullFineTuning", "HeadOnly"),
    "bias": ("BitFit", "FeedForwardBias", "LayerNormTuning", "Hadamard", "AdapterBias", "IA3", "Ether"),
    "sparse": ("PaFi", "Fish", "LtSft", "DiffPruning"),
    "reparametrization": ("HiWi", "LoRA", "LorettaRep", "Spt", "Peft"),
    "adapter": ("Houlsby", "Pfeiffer", "Parallel", "Compacter", "AdaMix", "PHA", "DyT", "LorettaAdp", "MAM"),
    "selected adapter": ("XPeft",),
    "prompt": ("Prompt", "Prefix"),
}
"""The families of the methods of version 1, by the names of their classes."""


def upgrade_run(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a run record of version 1 or 2 in the layout of version 3.

    Only names and words change: a number is never changed, and the identity stays that of the file. In a
    record of version 1, ``family`` is that of the method's class, and ``overrides`` stays unset.

    Args:
        content: of a ``record.json``. It is not changed.
    """
    record = dict(content) if content.get("schema_version") == 2 else _upgrade_words(content)
    record["schema_version"] = 3
    if isinstance(record.get("config"), Mapping):
        record["config"] = _upgrade_head(record["config"])
    return record


def _upgrade_head(config: Mapping[str, Any]) -> dict[str, Any]:
    head = config.get("head")
    if not isinstance(head, Mapping) or "train_pooler" not in head:
        return dict(config)
    # The option of versions 1 and 2 concerned the pooler of BERT, which is the first layer of its head.
    trains_pooler = head["train_pooler"]
    others = {key: value for key, value in head.items() if key != "train_pooler"}
    return {**config, "head": others | {"type": "two_layer" if trains_pooler else "linear"}}


def _upgrade_words(content: Mapping[str, Any]) -> dict[str, Any]:
    record = dict(content)
    # A section that is missing or not a mapping stays as it is: the check of the layout names it afterwards.
    if isinstance(record.get("config"), Mapping):
        record["config"] = _upgrade_config(record["config"])
        record["family"] = _family(record["config"])
    if isinstance(record.get("protocol"), Mapping):
        record["protocol"] = _upgrade_protocol(record["protocol"])
    if isinstance(record.get("memory"), Mapping):
        record["memory"] = _renamed(record["memory"], {"of": "measure"})
    return record


def _family(config: Mapping[str, Any]) -> str:
    method = config.get("method")
    kind = method.get("kind") if isinstance(method, Mapping) else None
    # a class that is not in the table is from another package
    return next((family for family, classes in _FAMILIES.items() if kind in classes), "other")


def _upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    upgraded = dict(config)
    if isinstance(config.get("task"), Mapping):
        task = _renamed(config["task"], {"users": "profiles", "head_starts_at": "initial_head_bias"})
        if "profiles" in task:
            task["profiles"] = _PROFILES.get(task["profiles"], task["profiles"])
        upgraded["task"] = task
    if isinstance(config.get("trainer"), Mapping):
        upgraded["trainer"] = _renamed(config["trainer"], {"together": "profiles_per_pass"})
    if isinstance(config.get("method"), Mapping):
        # The learning rates of a run are in the section trainer. Methods with phases also recorded
        # them here: the head of a phase was trained at the same rate.
        rates = ("learning_rate", "head_learning_rate")
        upgraded["method"] = {key: value for key, value in config["method"].items() if key not in rates}
    return upgraded


def _upgrade_protocol(protocol: Mapping[str, Any]) -> dict[str, Any]:
    upgraded = _renamed(protocol, {"persons": "users"})
    for key in ("selection", "validation_reused"):
        # a patience was described after a semicolon
        sentence, separator, patience = str(upgraded.get(key, "")).partition("; by all: when training ends ")
        if key in upgraded:
            ending = f"; early stopping on all rows {patience}" if separator else ""
            upgraded[key] = _SENTENCES.get(sentence, sentence) + ending
    return upgraded


def _renamed(section: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in section.items()}
