"""All jobs of a sweep are checked before the first one trains; the terminal shows how many have ended."""

from __future__ import annotations

import gc
import logging
import warnings
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, configure_log
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.utils import get_method
from joblib import effective_n_jobs
from omegaconf import DictConfig

from gluelamp.cli.app import explain, path, plain, stop
from gluelamp.cli.summary import end_sweep, start_sweep
from gluelamp.cli.terminal import screen
from gluelamp.cli.workers import receive_records, send_records
from gluelamp.errors import InputError
from gluelamp.experiments.status import enable_updates
from gluelamp.package_data import refuse_reference

_log = logging.getLogger(__name__)


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
        # Workers have pickled copies of this object, and send their log records to this address.
        self.address: str | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Compose and check every job: a sweep with a wrong value starts nothing."""
        # the values of the experiment file come first: the command line replaces them
        params = config.hydra.sweeper.params or {}
        overrides = [f"{key}={value}" for key, value in params.items()]
        name, job = config.hydra.job.config_name, []
        try:
            root = path(config.results.root, "results.root")
            refuse_reference(root)  # before Hydra makes a folder in it
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
            start_sweep(root)
        self._show_sweep(config, len(jobs))

    def _show_sweep(self, config: DictConfig, jobs: int) -> None:
        launcher = config.hydra.runtime.choices["hydra/launcher"]
        if launcher not in ("basic", "joblib"):
            return  # the runs of a cluster write logs of their own
        configure_log(config.hydra.job_logging, config.hydra.verbose)
        workers = 1
        if launcher == "joblib":
            workers = effective_n_jobs(config.hydra.launcher.n_jobs)
            self.address = receive_records()
            # joblib replaces a worker whose memory has grown, between two runs
            warnings.filterwarnings("ignore", "A worker stopped while some jobs")
        screen().start_sweep(jobs, workers)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Take note of the begin of a run. A worker sends all log records to the process of the sweep."""
        if screen().bars:
            enable_updates()  # here, because Hydra sets the levels of all loggers before each job
        if self.address:
            send_records(self.address)
        _log.info("a run begins", extra={"event": "start"})

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Count a run, and free its memory."""
        _log.info("a run has ended", extra={"event": "end"})
        # An adapted model and its adaptation refer to each other. The next run may need its memory at once.
        gc.collect()

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Remove the bars and print the scores."""
        screen().close()
        end_sweep()
