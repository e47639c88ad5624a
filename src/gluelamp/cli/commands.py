"""The subcommands that Hydra configures. Each takes a composed configuration as plain containers."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gluelamp.cli.app import RunFailedError, names, path, plain
from gluelamp.cli.summary import add_to_sweep, print_lines, print_report
from gluelamp.package_data import PUBLISHED, REFERENCE, config_folders, refuse_reference

if TYPE_CHECKING:
    from gluelamp.records import RunRecord

_log = logging.getLogger(__name__)

# Everything heavy is imported inside the commands, so that --help answers at once.


def train(raw: dict[str, Any]) -> None:
    """Train one run."""
    import torch

    from gluelamp.experiments.config import parse_run
    from gluelamp.experiments.run import execute
    from gluelamp.training.trainer import DivergedError

    config = parse_run(raw)
    try:
        record = execute(config)
    except DivergedError as error:
        raise RunFailedError(str(error)) from error
    except torch.OutOfMemoryError:  # without its cause, whose frames would keep the model in a sweep
        raise RunFailedError(
            "The device has too little free memory for this run. Lower trainer.batch_size, "
            "trainer.eval_batch_size or, where several profiles train in one pass, trainer.pass_tokens."
        ) from None
    add_to_sweep(record.folder(Path(config.results.root)))


def measure(raw: dict[str, Any]) -> None:
    """Measure the method of a composed configuration on the shape of its backbone."""
    import torch

    from gluelamp.experiments.measure import measure, parse_measure
    from gluelamp.measurement.certificate import CertificateFailedError

    try:
        measure(parse_measure(raw))
    except CertificateFailedError as error:
        raise RunFailedError(str(error)) from error
    except torch.OutOfMemoryError:  # a sweep stores exceptions, and the frames of this one hold the model
        raise RunFailedError(
            "The device has too little free memory for this measurement. Its finished parts are stored. "
            "Lower the largest of its batches or lengths, such as latency.batches=[1]."
        ) from None


def prepare(raw: dict[str, Any]) -> None:
    """Copy tasks to a local folder of checked Parquet."""
    from gluelamp.experiments.config import parse
    from gluelamp.tasks.catalogue import known_task
    from gluelamp.tasks.config import DataConfig
    from gluelamp.tasks.data import prepare

    tasks = [known_task(name) for name in names(raw["tasks"], "tasks")]
    prepare(tasks, parse(DataConfig, raw["data"], "data"), path(raw["destination"], "destination"))


def predict(raw: dict[str, Any]) -> None:
    """Write the test predictions of a finished run."""
    from gluelamp.experiments.config import parse, parse_run
    from gluelamp.experiments.finished import PredictConfig, write_test_predictions

    options = parse(PredictConfig, raw.pop("predict"), "predict")
    write_test_predictions(parse_run(raw), options)


def export(raw: dict[str, Any]) -> None:
    """Write the model of a finished run in a format of another library."""
    from dataclasses import fields

    from gluelamp.experiments.config import parse, parse_run
    from gluelamp.experiments.export import ExportConfig, export_run

    options = parse(ExportConfig, {field.name: raw.pop(field.name) for field in fields(ExportConfig)}, "")
    export_run(parse_run(raw), options)


def report(raw: dict[str, Any]) -> None:
    """Write the tables of a results folder, and its page with the figures."""
    from gluelamp.errors import InputError, unknown
    from gluelamp.reporting.results import Results, write_tables
    from gluelamp.reporting.site import write_report

    writers = {"tables": write_tables, "report": write_report}
    if not raw["allow_reference"]:
        refuse_reference(path(raw["results"]["root"], "results.root"))
    parts = names(raw["what"], "what")
    for part in parts:
        if part not in writers:
            raise unknown("what", part, writers)
    root, published = path(raw["results"]["root"], "results.root"), _published(raw)
    if raw["published"] is None and not published.exists():
        published = PUBLISHED
    if not published.is_dir():
        raise InputError(
            f"published={published} is not a folder; name a folder of papers' numbers, or leave the option "
            "out for those of the package."
        )
    is_reference = root.resolve() == REFERENCE.resolve()
    reference = None if is_reference or not REFERENCE.is_dir() else REFERENCE
    results = Results(root, published, reference, _words(root))
    for part in parts:
        writers[part](results)
    print_report(results)


def _words(root: Path) -> Callable[[Path, RunRecord], list[str]]:
    """Return a function that returns the words of the command which trains a run again."""
    from gluelamp.experiments.overrides import as_word
    from gluelamp.experiments.retrain import retrain_overrides

    # The default folder is not named, nor that of the committed results, into which no run writes.
    is_named = root != Path("results") and root.resolve() != REFERENCE.resolve()
    place = [f"results.root={as_word(str(root.absolute()))}"] if is_named else []
    return lambda folder, record: [*retrain_overrides(folder, record), *place]


def publish(raw: dict[str, Any]) -> None:
    """Add a CSV file of printed scores to those of one paper."""
    from gluelamp.reporting.published_scores import add_published

    known = [
        {file.stem for folder in config_folders() for file in (folder / group).glob("*.yaml")}
        for group in ("method", "backbone")
    ]
    folder = _published(raw)
    if not folder.exists():  # the report reads one folder, and the numbers of the package belong to it
        shutil.copytree(PUBLISHED, folder)
    added = add_published(path(raw["file"], "file"), str(raw["paper"]), folder, *known)
    _log.info("%d new rows in %s", added, folder / f"{raw['paper']}.csv")


def _published(raw: dict[str, Any]) -> Path:
    """Return the folder of published numbers that belongs to a results folder, unless another is named."""
    if raw["published"] is None:
        return path(raw["results"]["root"], "results.root") / "published"
    return path(raw["published"], "published")


def choose(raw: dict[str, Any]) -> None:
    """Train several methods on one task within a budget, and print which one to take."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from gluelamp.errors import InputError, unknown
    from gluelamp.experiments.choose import ChooseConfig, train_within
    from gluelamp.experiments.config import parse, parse_run
    from gluelamp.experiments.plan import check_run
    from gluelamp.io import write_text
    from gluelamp.reporting.choice import choice_page
    from gluelamp.reporting.rendering import page_files
    from gluelamp.reporting.rendering.markdown import parse as parse_markdown
    from gluelamp.reporting.rendering.terminal import print_table

    options = parse(ChooseConfig, raw["choose"], "choose")
    words = HydraConfig.get().overrides.task
    if given := [word for word in words if word.startswith(("method=", "seed=", "trial="))]:
        raise InputError(f"{given[0]} is not allowed here. Name the methods with choose.methods=[A,B].")

    known = GlobalHydra.instance().config_loader().get_group_options("method")
    for method in options.methods:
        if method not in known:
            raise unknown("method", method, known)

    def composed(method: str, seed: int) -> dict[str, Any]:
        config = plain(compose("choose", overrides=[*words, f"method={method}", f"seed={seed}"]))
        return {key: value for key, value in config.items() if key != "choose"}

    raws = [{method: composed(method, seed) for method in options.methods} for seed in range(options.seeds)]
    for one in raws[0].values():
        check_run(one)
    rounds = [{method: parse_run(one) for method, one in by_method.items()} for by_method in raws]
    trials = train_within(rounds, 60 * options.budget_minutes)
    merging = [method for method, config in rounds[0].items() if config.method.merges]
    page = choice_page(trials.runs, merging, trials.left_out, trials.enough)
    files = page_files(Path(rounds[0][options.methods[0]].results.root) / "choose", page)
    for file, text in files.items():
        write_text(file, text)
    print_lines(*("".join(span.text for span in parse_markdown(text)) for text in page.reading))
    for table in page.tables:
        print_table(table)
    print_lines(*map(str, files))
