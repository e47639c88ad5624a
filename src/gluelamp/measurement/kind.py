"""What can be measured: a file each, with a `Kind` whose fields are the options of the measurement.

A kind divides its work into cells, such as one batch size at one length. Each cell is kept as soon as it
is measured, so that a long measurement can be stopped and continued.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.load import BackboneConfig
from gluelamp.methods.base import Method
from gluelamp.records import SCHEMA_VERSION, Certificate, Measurement

Row = dict[str, Any]
Cell = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Args:
        backbone: its ``shape`` is read; its weights are not needed.
        method: the recipe.
        train_pooler: whether the pre-trained pooler is trained, and counted, with the head.
    """

    backbone: BackboneConfig
    method: Method
    train_pooler: bool = False


@dataclass(frozen=True)
class Origin:
    """What the file of a measurement says beside its rows.

    Args:
        kind: name of the kind.
        backbone: name of the backbone.
        method: name of the method.
        config: the method's fields.
        versions: version per package.
    """

    kind: str
    backbone: str
    method: str
    config: Mapping[str, Any]
    versions: Mapping[str, Any]


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Kind:
    """One thing to measure."""

    folder: ClassVar[str] = "measurements/{kind}"
    """Where its files go, below the results."""

    def setting(self, subject: Subject) -> dict[str, Any]:
        """Return what can change the rows, other than the backbone's shape and the method."""
        raise NotImplementedError

    def cells(self, rows: Sequence[Row]) -> list[Cell]:
        """Return the cells to measure, given the rows of those that are measured; one by default."""
        return [{}]

    def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        """Measure some of the cells, in turn.

        Args:
            subject: what to measure.
            cells: from `cells`, in their order.

        Yields:
            the rows of each cell.

        Raises:
            InputError: if the method cannot be measured so on this backbone.
        """
        raise NotImplementedError

    def line(self, row: Row) -> str:
        """Return what a row says, for the console."""
        raise NotImplementedError

    def content(self, origin: Origin, rows: Sequence[Row]) -> Measurement | Certificate:
        """Return what is written, once all cells are measured."""
        return Measurement(
            SCHEMA_VERSION,
            origin.kind,
            origin.backbone,
            origin.method,
            origin.config,
            rows,
            versions=origin.versions,
        )

    def conclude(self, path: Path) -> None:
        """Say what a file comes to as a whole, written now or before; nothing by default."""
