"""The options of a run that concern its task: which task, which rows, and where the rows come from."""

from __future__ import annotations

from dataclasses import InitVar
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from gluelamp.records.files import Name
from gluelamp.tasks.catalogue import variant_name


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

    # The variants are an init-only argument, so they are not in the effective configuration: two ways to
    # name one task give one identity.
    def __post_init__(self, split: str | None, target: str | None) -> None:
        object.__setattr__(self, "name", variant_name(self.name, split, target))


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
    root: str | None = None
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
