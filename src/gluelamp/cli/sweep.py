"""All jobs of a sweep are checked before the first one trains; a progress bar counts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.utils import get_method
from omegaconf import DictConfig
from rich.progress import Progress

from gluelamp.cli.app import explain, plain, stop
from gluelamp.cli.summary import end_sweep, start_sweep
from gluelamp.errors import InputError
from gluelamp.experiments.progress import progress_bar
from gluelamp.package_data import refuse_reference


def sweep_jobs(overrides: list[str]) -> list[list[str]]:
    """Return the overrides of each job of a sweep, such as two lists for ``["task=a,b"]``.

    Hydra must be initialised: ``glob(...)`` lists the files of a group.

    Args:
        overrides: as on the command line. Of two for the same key, the later one counts.

    Raises:
        InputError: if there are no jobs, or a list of values is not valid.
    """
    # Hydra's own sweeper makes the list, so that the checked jobs are those that will run.
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    try:
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(overrides), None)
    except ValueError as error:
        raise InputError(f"A list of values of the sweep is not valid: {error}.") from error
    if not jobs:
        raise InputError(
            "The sweep has no jobs: one of its lists is empty, such as a glob(...) that matches no name, or "
            "a range(...) without numbers."
        )
    return jobs


class SweepCallback(Callback):
    """Hydra's hooks before, during and after a sweep.

    Args:
        parse: dotted name of the function that checks the composed configuration of a job, such as
            ``gluelamp.experiments.plan.check_run``; if None, nothing is checked.
    """

    def __init__(self, parse: str | None = None) -> None:
        self.parse = parse
        self.progress: Progress | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Compose and check every job: a sweep with a wrong value starts nothing."""
        # the values of the experiment file come first: the command line replaces them
        params = config.hydra.sweeper.params or {}
        overrides = [f"{key}={value}" for key, value in params.items()]
        name, job = config.hydra.job.config_name, []
        try:
            refuse_reference(config.results.root)  # before Hydra makes a folder in it
            jobs = sweep_jobs([*overrides, *config.hydra.overrides.task])
            check = get_method(self.parse) if self.parse else lambda _: None
            for job in jobs if self.parse else []:
                check(plain(compose(name, overrides=job)))
        # Hydra catches an Exception of a callback, warns and starts the sweep all the same. The SystemExit of
        # stop is not an Exception, and ends the program.
        except InputError as error:
            stop(error)
        except (HydraException, ValueError) as error:
            stop(explain(error, name, job))
        if self.parse:  # a sweep of measurements has no scores
            start_sweep(Path(config.results.root))
        # other launchers run the jobs in processes of their own, where this bar is not visible
        if config.hydra.runtime.choices["hydra/launcher"] == "basic":
            self.progress = progress_bar()
            self.progress.add_task("runs", total=len(jobs))
            self.progress.start()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Count a job."""
        if self.progress:
            self.progress.advance(self.progress.task_ids[0])

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Remove the bar and print the scores."""
        if self.progress:
            self.progress.stop()
        end_sweep()
