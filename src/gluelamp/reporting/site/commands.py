"""The command that trains a recorded run again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

from gluelamp.records import RunRecord

_SECTIONS = ("task", "method", "trainer", "head")
_DERIVED = {"kind", "learning_rate", "head_learning_rate", "precision"}  # not written as they were read
_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}
_BARE = re.compile(r"[\w./-]+")  # what the command line takes without quotes
_PLACEHOLDERS = {"bank": "PATH"}  # a record knows such a file by its checksum


def command(records: Sequence[RunRecord], configs: Path) -> str:
    """Return the command line that gives runs of these identities again.

    It names what differs from the defaults of the configuration files, and whatever else depends on the
    machine. Where the data or the backbone lie is left to the machine; their checksums are in the record.

    Args:
        records: runs that differ in their seeds alone, at least one.
        configs: the folder of the configuration files.
    """
    record = records[0]
    task, method = record.config["task"]["name"], _leaf(configs, record.config["method"])
    words = [f"backbone={record.config['backbone']['name']}", f"method={method}", f"task={task}"]
    defaults = {**_composed(configs, "method", method), "task": _composed(configs, "task", task)["task"]}
    seeds = ",".join(str(one.config["seed"]) for one in records)
    sweep = ["-m"] if len(records) > 1 else []
    words += [*_inputs(record), *_changes(record, defaults), f"seed={seeds}"]
    return shlex.join(["python", "scripts/train.py", *sweep, *words])


def _leaf(configs: Path, method: Mapping[str, Any]) -> str:
    """The leaf of a method's name or, for a name given on the command line, of its class."""
    folder = configs / "method"
    if (folder / f"{method['name']}.yaml").is_file():
        return str(method["name"])
    target = re.compile(rf"^_target_: \S+\.{method.get('kind')}$", re.MULTILINE)
    leaves = (path for path in sorted(folder.glob("*.yaml")) if target.search(path.read_text("utf-8")))
    return next((path.stem for path in leaves), str(method["name"]))


@cache
def _composed(configs: Path, group: str, name: str) -> dict[str, dict[str, Any]]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    chosen = [f"{group}={name}"] if (configs / group / f"{name}.yaml").is_file() else []
    outer = GlobalHydra.instance().hydra  # that of the script, if there is one
    GlobalHydra.instance().hydra = None
    try:
        with initialize_config_dir(str(configs.resolve()), version_base="1.3"):
            return cast("dict[str, Any]", OmegaConf.to_container(compose("train", overrides=chosen)))
    finally:
        GlobalHydra.instance().hydra = outer


def _inputs(record: RunRecord) -> Iterator[str]:
    yield f"data={record.data.get('source', 'auto')}"
    for section, facts in (("data", record.data), ("backbone", record.backbone)):
        if facts.get("revision"):
            yield f"{section}.revision={facts['revision']}"


def _changes(record: RunRecord, defaults: Mapping[str, Any]) -> Iterator[str]:
    for section in _SECTIONS:
        for key, value in record.config.get(section, {}).items():
            # a key that a leaf does not name has one value that its task allows
            if key in defaults[section].keys() - _DERIVED and value != defaults[section][key]:
                yield f"{section}.{key}={_PLACEHOLDERS.get(key) or _text(value)}"
    trainer = record.config["trainer"]
    if precision := trainer.get("precision"):
        yield f"trainer.precision={_PRECISIONS.get(precision, precision)}"
    for key in ("learning_rate", "head_learning_rate"):
        if key in trainer:
            yield f"trainer.{key}={_text(trainer[key])}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value, separators=(",", ":"))
    return value if _BARE.fullmatch(value) else "'" + value.replace("'", r"\'") + "'"
