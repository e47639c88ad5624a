"""The options of a run that concern its task: which task, which rows, and where the rows come from."""

from __future__ import annotations

import re
from dataclasses import InitVar, fields
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from gluelamp.io import user_path
from gluelamp.records.files import Name, PathOption
from gluelamp.tasks.catalogue import variant_name

_SPLIT_NAMES = ("train", "training", "data")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TaskConfig:
    """Which task, and which of its rows.

    `split` and `target` are part of the resolved `name` and are not stored a second time: ``lamp3`` with
    ``target="score"`` is the task ``lamp3_score``, however it was requested.

    Args:
        name: the task's short name; of a mixture, any name.
        split: of a LaMP task, whether its files separate users (``user``) or times (``time``).
        target: of a rating task, whether it is learnt as five classes (``class``) or as a number (``score``).
        members: the short names of the tasks that are trained together; empty for a single task.
        max_train_examples: the number of training rows of each task, sampled once with a fixed seed; None
            takes all rows.
        validation_from_train: the number of rows that are sampled from the training split of each task, once
            with a fixed seed, in place of the validation split. They are not trained on. None takes the
            validation split.
        profiles: of a task with users: one profile that all users share (``shared``), one for each user
            (``per_user``), or one for each user that starts from the shared one (``shared_then_per_user``).
        min_user_rows: users with fewer rows, counted over all splits, are left out.
        max_users: keep the users with most rows; None keeps all.
        user_group: keep every second of these users, from the first (0) or the second (1); None keeps all.

    Raises:
        ValueError: if the task has no such variant.
    """

    name: Name
    split: InitVar[Literal["user", "time"] | None] = None
    target: InitVar[Literal["class", "score"] | None] = None
    members: tuple[str, ...] = ()
    max_train_examples: int | None = Field(default=None, ge=1)
    validation_from_train: int | None = Field(default=None, ge=1)
    profiles: Literal["shared", "per_user", "shared_then_per_user"] = "shared"
    min_user_rows: int = Field(default=1, ge=1)
    max_users: int | None = Field(default=None, ge=1)
    user_group: Literal[0, 1] | None = None

    @property
    def own_rows(self) -> dict[str, Any] | None:
        """The options that name a user's own rows; None for a task of a benchmark."""
        return None

    # The variants are an init-only argument, so they are not in the effective configuration: two ways to
    # name one task give one identity.
    def __post_init__(self, split: str | None, target: str | None) -> None:
        object.__setattr__(self, "name", variant_name(self.name, split, target))


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CustomTaskConfig(TaskConfig):
    """A task on rows of one's own. Each split is a file or a split of a data set on the hub.

    A file is CSV, TSV, JSON lines or Parquet, by its name. A split on the hub is ``ORG/NAME:SPLIT`` or
    ``ORG/NAME:CONFIGURATION:SPLIT``.

    Args:
        train: the training rows.
        validation: the rows that are scored; None samples them from the training rows.
        test: further rows, whose labels are not read; `gluelamp predict` predicts them.
        validation_fraction: the fraction of the training rows that is sampled if `validation` is None, once
            with a fixed seed: of each class or, if the rows belong to users, of each user.
        text: the one or two columns of texts.
        label: the column of labels.
        user: the column with the user of each row; None if the rows have no users.
        kind: the type of the labels. ``auto`` takes numbers for a regression if one of them has decimals, or
            if there are more than 20 different ones.
        metrics: the main metric first; empty takes accuracy and macro_f1, or pearson and spearman.
    """

    train: PathOption
    validation: PathOption | None = None
    test: PathOption | None = None
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    text: tuple[str, ...] = Field(default=("text",), min_length=1, max_length=2)
    label: str = "label"
    user: str | None = None
    kind: Literal["auto", "classification", "regression"] = "auto"
    metrics: tuple[str, ...] = ()

    @property
    def own_rows(self) -> dict[str, Any]:
        """The options that name the rows."""
        values = {key: getattr(self, key) for key in CUSTOM_OPTIONS}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    # Two columns of a table cannot have one name, and these two are added to every table.
    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        columns = [*self.text, self.label, *([self.user] if self.user else [])]
        if len(set(columns)) < len(columns) or {"idx", "label"} & {*self.text, self.user}:
            raise ValueError(
                f"task.text={list(self.text)}, task.label={self.label} and task.user={self.user} are not "
                "allowed: they must be different columns, and neither a text nor the user may be in a column "
                "with the name 'idx' or 'label'"
            )
        return self


CUSTOM_OPTIONS = tuple(
    field.name for field in fields(CustomTaskConfig) if field.name not in TaskConfig.__dataclass_fields__
)
"""The options that only a task on one's own rows has."""


def file_name(place: str) -> str:
    """Return the name of a task on the rows of a file or of a split on the hub.

    It is the name of the file without its ending or, if that is ``train`` or alike, of its folder.
    """
    path = user_path(place.partition(":")[0])
    own = path.stem if path.stem.lower() not in _SPLIT_NAMES else path.absolute().parent.name
    return re.sub(r"[^\w.+-]", "_", own).lstrip("._") or "custom"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DataConfig:
    """Where the rows of a task come from.

    Args:
        source: ``"auto"`` takes the local folder if it holds the task or was named, else the hub if it
            answers, else the bundled sample. The other names force one source. LaMP is downloaded once by
            `gluelamp.tasks.data.prepare` and is never read from the network.
        root: the local folder; by default $GLUELAMP_DATA, else ``data/<benchmark>``. Not
            allowed for ``"hub"`` and ``"sample"``.
        hub_timeout_s: how long to wait for the first answer of the hub, in seconds.
        revision: branch, tag or commit on the hub; None takes the newest commit.
    """

    source: Literal["auto", "hub", "local", "sample"] = "auto"
    root: PathOption | None = None
    hub_timeout_s: float = Field(default=5.0, gt=0)
    revision: str | None = None

    # A root that is ignored would look like a run on local data.
    @model_validator(mode="after")
    def _check_root(self) -> Self:
        if self.root and self.source in ("hub", "sample"):
            raise ValueError(
                f"data.root={self.root} is not allowed with data.source={self.source}, which reads no "
                "folder. Take data=local, or leave data.root out"
            )
        return self
