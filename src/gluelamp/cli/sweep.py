"""Around a sweep: all its jobs are checked before the first one trains, and a bar shows where it is."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import product
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.progress import Progress

from gluelamp.cli.app import plain, stop
from gluelamp.errors import InputError
from gluelamp.experiments.progress import progress_bar


def expand(overrides: list[str], loader: ConfigLoader | None = None) -> list[list[str]]:
    """Return the overrides of each job of a sweep, such as ``["task=a,b"]`` to two lists.

    Args:
        overrides: as on the command line.
        loader: knows the leaves of each folder, which a ``glob(...)`` chooses from.

    Raises:
        InputError: if a list of values cannot be made.
    """
    parsed = OverridesParser.create(loader).parse_overrides(overrides)
    # as in Hydra's own sweeper, what the command line says of a key replaces what the experiment says
    choices = {
        one.get_key_element(): _values(one) if one.is_sweep_override() else [one.input_line or ""]
        for one in parsed
    }
    return [list(job) for job in product(*choices.values())]


def _values(sweep: Override) -> list[str]:
    try:
        return [f"{sweep.get_key_element()}={value}" for value in sweep.sweep_string_iterator()]
    except ValueError as error:
        raise InputError(f"{sweep.input_line} is no list of values: {error}.") from error


def _parser(name: str) -> Callable[[dict[str, Any]], object]:
    module, _, function = name.rpartition(".")
    if not module.startswith("gluelamp."):
        raise InputError(
            f"hydra.callbacks.sweep.parse={name!r} is not allowed: it must name a function inside "
            "this package, such as 'gluelamp.experiments.plan.check_run'."
        )
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"hydra.callbacks.sweep.parse={name!r} does not exist: {error}.") from error


class SweepCallback(Callback):
    """Hydra's hooks for the scripts.

    Args:
        parse: dotted name of the function of this package that checks a job's composed
            configuration, such as ``gluelamp.experiments.plan.check_run``; if None, nothing is checked.
    """

    def __init__(self, parse: str | None = None) -> None:
        self.parse = parse
        self.progress: Progress | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Compose and check every job: a sweep with a wrong value starts nothing."""
        params = config.hydra.sweeper.params or {}
        overrides = [f"{key}={value}" for key, value in params.items()]
        loader = GlobalHydra.instance().config_loader()
        try:
            if config.hydra.launcher.get("n_jobs") == 0:
                raise InputError(
                    "hydra.launcher.n_jobs=0 is not allowed: it should be a number of runs side by side, "
                    "or -1 for as many as there are cores."
                )
            jobs = expand([*overrides, *config.hydra.overrides.task], loader)
            if not jobs:
                raise InputError(
                    "The sweep has no jobs: one of its lists is empty, such as a glob(...) that matches no "
                    "name, or a range(...) without numbers."
                )
            if self.parse:
                check = _parser(self.parse)
                for job in jobs:
                    check(plain(compose(config.hydra.job.config_name, overrides=job)))
        except InputError as error:
            stop(error)  # Hydra would only warn of an exception in a callback
        except HydraException:
            return  # Hydra composes all jobs itself before the first one starts, and then says this
        if config.hydra.runtime.choices["hydra/launcher"] == "basic":  # others run jobs elsewhere
            self.progress = progress_bar()
            self.progress.add_task("runs", total=len(jobs))
            self.progress.start()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Move the bar."""
        if self.progress:
            self.progress.advance(self.progress.task_ids[0])

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Close the bar."""
        if self.progress:
            self.progress.stop()
