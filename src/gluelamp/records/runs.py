"""The record of a run: all of its settings, its scores and its costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gluelamp.io import read_json, write_json
from gluelamp.records.files import Name, check_version, validate
from gluelamp.records.upgrade import upgrade_run

RUN_SCHEMA: Literal[3] = 3


class Section(BaseModel):
    """A part of a record. It accepts further keys, which are written back unchanged."""

    # strict: "0" is not a seed. A value is never converted, so that the hash of a config stays the same.
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class NamedSection(Section):
    """The settings of the backbone.

    Args:
        name: the short name, which is also the name of a folder.
    """

    name: Name


class MethodSection(NamedSection):
    """The settings of the method: its name, its class and its hyper-parameters.

    Args:
        kind: the name of the method's class.
    """

    kind: str = ""


class CustomSection(Section):
    """The declaration of a task on rows of a user's own, which no catalogue has.

    Args:
        text: the columns of texts.
        label: the column of labels.
        labels: class names by class id; empty for a regression task.
        label_range: lowest and highest label of a regression task.
        user: the column with the user of each row; None if the rows have no users.
        metrics: the main metric first.
        validation_fraction: of the training rows, which were scored; None if there was a validation split.
    """

    text: Sequence[str]
    label: str
    labels: Sequence[str] = ()
    label_range: Sequence[float] | None = None
    user: str | None = None
    metrics: Sequence[str]
    validation_fraction: float | None = None


class TaskSection(NamedSection):
    """The settings of the task.

    Args:
        profiles: whether users share one profile, or have one each.
        members: the tasks of a mixture.
        max_train_examples: upper limit of training rows.
        validation_from_train: number of training rows that were scored in place of the validation split.
        custom: the declaration of a task on a user's own rows; None for a task of a benchmark.
    """

    profiles: str = "shared"
    members: Sequence[str] = ()
    max_train_examples: int | None = None
    validation_from_train: int | None = None
    custom: CustomSection | None = None


class TrainerSection(Section):
    """The settings of the training.

    Args:
        epochs: passes over the training rows.
        profiles_per_pass: profiles that were trained in one pass.
    """

    epochs: int
    profiles_per_pass: int = 1


class HeadSection(Section):
    """The settings of the task head.

    Args:
        type: ``two_layer`` or ``linear``.
    """

    type: str = "two_layer"


class RunSettings(Section):
    """All settings that can change the result of a run.

    Args:
        backbone: its name, and the checksums of weights and tokenizer.
        method: its name, class and hyper-parameters.
        task: its name, and which of its rows.
        trainer: how the method was trained.
        head: the task head.
        seed: the seed.
    """

    backbone: NamedSection
    method: MethodSection
    task: TaskSection
    trainer: TrainerSection
    head: HeadSection = HeadSection()
    seed: int


class DataFacts(Section):
    """The data of a run.

    Args:
        source: ``hub``, ``local``, ``sample`` or ``custom``.
        fingerprint: hash of all rows.
        revision: the commit on the hub, if the rows are from there.
        rows: number of rows by split.
        deviations: a sentence for each difference from the official data.
    """

    source: str
    fingerprint: str
    revision: str | None = None
    rows: Mapping[str, int]
    deviations: Sequence[str]


class BackboneFacts(NamedSection):
    """The weights of a run.

    Args:
        checksum: sha256 of the weights' file.
        source: where the weights are from.
        revision: the commit on the hub, if they are from there.
    """

    checksum: str
    source: str = ""
    revision: str | None = None


class Protocol(Section):
    """How the scores were obtained.

    Args:
        selection: which evaluations of the run are reported.
        validation_reused: whether the validation rows that are scored also select the epoch.
        head_counted: whether the counts include the task head.
        starts_from: the weights at the beginning.
        truncated_to: maximum number of tokens of an example.
        users: number of users with a profile each; None if all share one.
        diverged: the error message of each user whose training diverged.
    """

    selection: str = ""
    validation_reused: str = ""
    head_counted: bool = False
    starts_from: str = ""
    truncated_to: int | None = None
    users: int | None = None
    diverged: Mapping[str, str] = Field(default_factory=dict)


class ParameterCounts(Section):
    """Numbers of values.

    Args:
        trained: values of the method that are trained.
        trained_pct: the same in percent of the backbone's.
        head: values of the task head.
        backbone: values of the backbone.
        stored_values: values of the method that are stored for the task.
        live: trained values of the method that a gradient other than zero ever reached, the mean over users
            of a run with a profile for each; None in records of earlier releases.
    """

    trained: int = 0
    trained_pct: float = nan
    head: int = 0
    backbone: int = 0
    stored_values: int = 0
    live: int | None = None


class StoredBytes(Section):
    """Bytes on disk.

    Args:
        method: of the method's values for the task.
        head: of the task head.
        shared: of what is stored once for all tasks.
        file: of the whole file of the task.
    """

    method: int = 0
    head: int = 0
    shared: int = 0
    file: int = 0


class PeakMemory(Section):
    """The peak of memory.

    Args:
        peak_bytes: the peak.
        measure: what was measured, such as the resident set of the process.
    """

    peak_bytes: int | None = None
    measure: str = ""


class RunRecord(BaseModel):
    """One run, complete or failed.

    Sections that are measured during training are empty in the record of a failed run.

    Args:
        schema_version: version of this layout.
        identity: hash of `config_dict`; also the name of the run's folder.
        status: whether the training reached its end.
        family: the family of the method; None in records of earlier releases.
        overrides: the words of a command line that trains this run again, without the seed; None in
            records of earlier releases.
        config: all settings that can change the result.
        data: the rows.
        backbone: the weights.
        protocol: how the scores were obtained.
        main_metric: the metric that selects the best epoch and is shown in the tables.
        metrics: by selection (``best``, ``last`` and, for a shared profile, ``held_out``): the ``epoch``
            and the scores as fractions.
        history: one mapping per evaluation, in order.
        parameters: numbers of values.
        bytes: bytes on disk.
        speed: timings.
        memory: peak memory.
        versions: version by package.
        git: revision and state of the source tree.
        device: the device of the run.
        error: the message of a failed run.
        phases: the method's preliminary phases, one mapping per phase.
    """

    # A key at this level belongs to the layout: a new one needs a new version. Sections may grow without.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Literal[3] = RUN_SCHEMA
    identity: Name
    status: Literal["complete", "failed"]
    family: str | None = None
    overrides: Sequence[str] | None = None
    config: RunSettings
    data: DataFacts
    backbone: BackboneFacts
    protocol: Protocol
    main_metric: str
    metrics: Mapping[str, Mapping[str, int | float | None]] = Field(default_factory=dict)
    history: Sequence[Mapping[str, int | float | None]] = ()
    parameters: ParameterCounts = ParameterCounts()
    bytes: StoredBytes = StoredBytes()
    speed: Mapping[str, int | float | None] = Field(default_factory=dict)
    memory: PeakMemory = PeakMemory()
    versions: Mapping[str, str | None]
    git: Mapping[str, str | bool | None]
    device: Mapping[str, Any]
    error: str | None = None
    phases: Sequence[Mapping[str, Any]] | None = None

    @model_validator(mode="after")
    def _check_metrics(self) -> Self:
        # held_out is missing in records of runs with a profile for each user
        for selection in ("best", "last") if self.status == "complete" else ():
            if self.main_metric not in self.metrics.get(selection, {}):
                raise ValueError(f"key 'metrics.{selection}.{self.main_metric}' is missing")
        return self

    def config_dict(self) -> dict[str, Any]:
        """Return `config` as nested plain values, exactly as in the file; its hash is the identity."""
        # without the defaults of this layout: a key that the run did not have would change its hash
        return self.config.model_dump(mode="json", exclude_unset=True)

    def folder(self, root: Path) -> Path:
        """Return the run's folder in a results folder."""
        names = (self.config.backbone.name, self.config.method.name, self.config.task.name)
        return root.joinpath("runs", *names, self.identity)


FoundRun = tuple[Path, RunRecord]
"""A run's folder and its record."""


def read_record(path: Path) -> RunRecord:
    """Read and check the record of one run; a record of an earlier release is upgraded.

    Args:
        path: a ``record.json``.

    Raises:
        InputError: if the file is not a record of this schema; the message names file and key.
    """
    # an upgrade is made in memory only; the file of an earlier release is not changed
    content = read_json(path)
    # the version first: with another version, the check of the layout would name a key that is not wrong
    if check_version(path, content, (1, 2, RUN_SCHEMA)) != RUN_SCHEMA:
        content = upgrade_run(content)
    return validate(path, content, RunRecord)


def write_record(path: Path, record: RunRecord) -> None:
    """Write the record of one run; what was not measured is left out."""
    write_json(path, {"schema_version": RUN_SCHEMA, **record.model_dump(mode="json", exclude_unset=True)})


def find_runs(root: Path) -> list[FoundRun]:
    """Return the folder and the record of all runs below a results folder, in the order of their paths.

    Args:
        root: the results folder.

    Raises:
        InputError: if one of the files is not a record.
    """
    # the depth is fixed, so that the record of an unfinished retraining, one folder deeper, is not read
    paths = sorted(root.glob("runs/*/*/*/*/record.json"))
    return [(path.parent, read_record(path)) for path in paths]
