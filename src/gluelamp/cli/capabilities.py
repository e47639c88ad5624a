"""The capabilities of every method: a page that is derived from declared facts and from counts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_dir

from gluelamp.backbones.load import BackboneConfig
from gluelamp.cli.app import CONFIGS, plain
from gluelamp.errors import InputError
from gluelamp.experiments.measure import MeasureConfig, parse_measure
from gluelamp.io import write_text
from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.flops import count_flops
from gluelamp.measurement.models import build_bare
from gluelamp.measurement.parameters import count_values
from gluelamp.methods.base import Method, TaskKind
from gluelamp.methods.phases import adapt_untrained
from gluelamp.methods.storage import count_bytes
from gluelamp.reporting.capabilities import Capabilities, capabilities_page

ARCHITECTURES = (
    "minilm",
    "roberta_base",
    "distilbert",
    "electra_small",
    "deberta_v3_base",
    "mpnet_base",
    "modernbert_base",
)
"""One backbone config of each architecture. The bytes and FLOPs are counted on the first."""

TOKENS = 64
"""Tokens of the sequence whose FLOPs are counted."""

_TASKS: tuple[TaskKind, ...] = ("classification", "regression")
_log = logging.getLogger(__name__)


def write_capabilities(page: Path) -> None:
    """Count every method config with its default options, and write the Markdown page.

    Args:
        page: the file to write, usually ``docs/capabilities.md``.

    Raises:
        InputError: if a method does not support the backbone whose bytes are counted.
    """
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        backbones = [_parse(f"backbone={name}").backbone for name in ARCHITECTURES]
        names = sorted(path.stem for path in (CONFIGS / "method").glob("*.yaml"))
        methods = {name: _parse(f"method={name}").method for name in names}
    rows = []
    for name, method in methods.items():
        rows.append(find_capabilities(name, method, backbones))
        _log.info("counted %s", name)
    write_text(page, capabilities_page(rows, backbones[0].name, TOKENS))
    _log.info("wrote %s", page)


def _parse(override: str) -> MeasureConfig:
    return parse_measure(plain(compose("measure", overrides=[override])))


def find_capabilities(name: str, method: Method, backbones: Sequence[BackboneConfig]) -> Capabilities:
    """Return what a method costs, and which tasks and architectures it supports.

    Args:
        name: of the method.
        method: the method with its hyper-parameters.
        backbones: one of each architecture. Bytes and FLOPs are counted on the first.

    Raises:
        InputError: if the method does not support the first backbone.
    """
    # with values, unlike the counts per architecture: the positions of SPT's mask depend on the weights
    model = MeasuredModel(backbones[0], method)
    size = count_bytes(adapt_untrained(method, build_bare(backbones[0])))
    (flops,) = count_flops(model, [(1, TOKENS)], with_values=True)
    extra = {row["state"]: 100 * (row["ratio_to_base"] - 1) for row in flops}
    return Capabilities(
        method=name,
        phases=len(method.phases()),
        stored_bytes=size["method"],
        shared_bytes=size["shared"],
        extra_flops_pct=extra["unmerged"],
        merged_extra_flops_pct=extra.get("merged"),
        tasks={kind: _task_refusal(method, kind) for kind in _TASKS},
        architectures={
            str(backbone.shape["model_type"]): count_values(replace(model, backbone=backbone)).get("refused")
            for backbone in backbones
        },
    )


def _task_refusal(method: Method, kind: TaskKind) -> str | None:
    try:
        method.check_task(kind)
    except InputError as error:
        return str(error)
    return None
