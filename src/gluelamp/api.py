"""What the commands do, as functions: compose a configuration, then train, measure, or read the results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gluelamp.experiments.overrides import quoted

if TYPE_CHECKING:
    import pandas as pd

    from gluelamp.experiments.config import RunConfig
    from gluelamp.methods.adaptation import Adaptation
    from gluelamp.methods.base import Method
    from gluelamp.records import RunRecord

# Heavy packages are imported inside the functions: results() needs no torch, and method() no Hydra.


def method(name: str, **options: Any) -> Method:
    """Return a method by the name of its config, with the options of that config.

    Args:
        name: such as ``"lora"``, ``"xpeft_soft"`` or ``"sparse_largest"``; `gluelamp.methods` lists them.
        options: replace those of the config, as in ``method("lora", rank=8)``.

    Raises:
        InputError: if the name or an option is unknown, or a value is not allowed.
    """
    from gluelamp.experiments.config import parse_method
    from gluelamp.methods.registry import method_config

    # An interpolation, such as that of a mask's seed by the run's, has no run here: the class's default.
    configured = {
        key: value
        for key, value in method_config(name)["method"].items()
        if not (isinstance(value, str) and value.startswith("${"))
    }
    return parse_method({**configured, **options})


def train(
    method: str = "lora",
    task: str = "cola",
    data: str = "auto",
    *,
    root: str | Path | None = None,
    results: str | Path = "results",
    **overrides: Any,
) -> RunRecord:
    """Train one run, as ``gluelamp train`` does; return its record.

    A complete run is not trained again, and an interrupted one resumes. The record's files are in the results
    folder.

    Args:
        method: name of a method's config.
        task: name of a task's config.
        data: ``auto``, ``local``, ``hub`` or ``sample``.
        root: folder of local data.
        results: the results folder.
        overrides: other keys of the configuration, as in ``backbone="roberta_base", seed=1``. The keys of a
            section are in a dictionary, as in ``trainer={"epochs": 1}``; beside a choice by name they have a
            dot, as in ``**{"method.rank": 4}``.

    Raises:
        InputError: on bad input, before any training.
        DivergedError: if the training diverged.
    """
    from gluelamp.experiments.run import execute

    return execute(_run_config(method, task, data, root, results, overrides))


def trained(
    method: str = "lora",
    task: str = "cola",
    data: str = "auto",
    *,
    root: str | Path | None = None,
    results: str | Path = "results",
    selection: Literal["best", "last"] = "best",
    **overrides: Any,
) -> Adaptation:
    """Return the model of a finished run with its method, in evaluation mode on the CPU.

    The arguments are those with which `train` or the command trained it.

    Args:
        method: name of a method's config.
        task: name of a task's config.
        data: ``auto``, ``local``, ``hub`` or ``sample``.
        root: folder of local data.
        results: the results folder.
        selection: the values of the best epoch on the validation rows, or of the last.
        overrides: other keys of the configuration, as for `train`.

    Raises:
        InputError: if the run is not complete, or each user has a profile.
    """
    from gluelamp.experiments.finished import load_trained
    from gluelamp.experiments.plan import plan_run

    return load_trained(
        plan_run(_run_config(method, task, data, root, results, overrides)), selection, "sdpa"
    )


def measure(
    what: str = "parameters",
    method: str = "lora",
    backbone: str = "minilm",
    *,
    results: str | Path = "results",
    **overrides: Any,
) -> list[dict[str, Any]]:
    """Measure what a method costs, as ``gluelamp measure`` does; return the rows of the measurement.

    Args:
        what: ``parameters``, ``storage``, ``flops``, ``memory``, ``latency``, ``xpeft_bytes`` or
            ``certificate``.
        method: name of a method's config.
        backbone: name of a backbone's config; its shape suffices.
        results: the results folder.
        overrides: other keys, as for `train`.

    Raises:
        InputError: on bad input, or if the method does not support the measurement. With
            ``on_unsupported="skip"`` the rows are empty instead.
    """
    from gluelamp.experiments.measure import measure as run
    from gluelamp.experiments.measure import parse_measure
    from gluelamp.io import read_json

    choices = {"what": what, "method": method, "backbone": backbone, "results.root": results}
    path = run(parse_measure(_composed("measure", {**choices, **overrides})))
    return [] if path is None else read_json(path)["rows"]


def results(root: str | Path = "results") -> pd.DataFrame:
    """Return the scores of all complete runs of a results folder, by run, metric and selection of the epoch.

    Args:
        root: the results folder.

    Returns:
        the columns that `gluelamp.reporting.scores.score_table` describes.
    """
    from gluelamp.io import user_path
    from gluelamp.records import find_runs
    from gluelamp.reporting.scores import score_table

    return score_table(find_runs(user_path(root)))


def _run_config(
    method: str,
    task: str,
    data: str,
    root: str | Path | None,
    results: str | Path,
    overrides: Mapping[str, Any],
) -> RunConfig:
    from gluelamp.experiments.config import parse_run

    choices = {"method": method, "task": task, "data": data, "results.root": results}
    if root is not None:
        choices["data.root"] = root
    return parse_run(_composed("train", {**choices, **overrides}))


def _composed(config_name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a composed configuration, from the same files and by the same rules as on the command line."""
    from hydra import compose
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from gluelamp.cli.app import explain, plain
    from gluelamp.experiments.compose import initialized_hydra

    overrides = list(_overrides(values))
    try:
        with initialized_hydra():
            return plain(compose(config_name, overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, config_name, overrides) from error


def _overrides(values: Mapping[str, Any], section: str = "") -> Iterator[str]:
    """Yield ``key=value`` in Hydra's grammar; the keys of a section are joined with a dot."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _overrides(value, f"{section}{key}.")
        else:
            yield f"{section}{key}={_quoted(value)}"


def _quoted(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_quoted, value))}]"
    if isinstance(value, str | Path):
        return quoted(str(value))
    return json.dumps(value)
