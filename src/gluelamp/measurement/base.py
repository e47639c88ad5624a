"""The base class of all measurements, with one subclass for each kind.

A subclass's fields are the options of the measurement. A measurement is divided into parts, such as one
batch size at one length. Each part is stored as soon as it is finished, so an interrupted measurement
can be resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.heads import HeadType
from gluelamp.backbones.load import BackboneConfig
from gluelamp.methods.base import Method
from gluelamp.records import SCHEMA_VERSION, Certificate, Measurement

# A part is what is measured in one piece, by its settings: {"batch": 8, "length": 128}. Its rows are those of
# the file. Both are plain JSON values.
Row = dict[str, Any]
Part = dict[str, Any]


@dataclass(frozen=True)
class MeasuredModel:
    """The model under measurement: the shape of a backbone, and a method.

    Args:
        backbone: its ``shape`` is used. Its weights are not needed.
        method: the method with its hyper-parameters.
        head: type of the head, which is counted.
    """

    backbone: BackboneConfig
    method: Method
    head: HeadType = "two_layer"


@dataclass(frozen=True)
class RecordHeader:
    """The fields of a measurement's file that are the same for every kind.

    Args:
        kind: name of the kind.
        backbone: name of the backbone.
        method: name of the method.
        config: the method's hyper-parameters.
        versions: version per package.
    """

    kind: str
    backbone: str
    method: str
    config: Mapping[str, Any]
    versions: Mapping[str, Any]


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class MeasurementKind:
    """One kind of measurement, such as FLOPs or latency."""

    folder: ClassVar[str] = "measurements/{kind}"
    """The folder of its files, below the results folder."""

    def settings(self, model: MeasuredModel) -> dict[str, Any]:
        """Return all that can change the rows, except the backbone's shape and the method.

        The settings are part of the hash in the file's name. Counts depend on the options and on the
        head. Timings add the machine.
        """
        return asdict(self) | {"head": model.head}

    def refusal(self, model: MeasuredModel) -> str | None:
        """Return why this kind does not support the method on any backbone; None if it supports it."""
        return None

    def parts(self, rows: Sequence[Row]) -> list[Part]:
        """Return all parts, given the rows of the finished ones. The default is a single part."""
        return [{}]

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Measure the given parts.

        Args:
            model: the model under measurement.
            parts: some of `parts`, in the same order.

        Yields:
            the rows of each part.

        Raises:
            InputError: if the method does not support this measurement on this backbone.
        """
        raise NotImplementedError

    def summarise(self, row: Row) -> str:
        """Return one row as a line of text for the console."""
        raise NotImplementedError

    def record(self, header: RecordHeader, rows: Sequence[Row]) -> Measurement | Certificate:
        """Return the content of the file, once all parts are measured."""
        return Measurement(
            SCHEMA_VERSION,
            header.kind,
            header.backbone,
            header.method,
            header.config,
            rows,
            versions=header.versions,
        )

    def conclude(self, path: Path) -> None:
        """Report the overall result of a finished file, new or old. The default does nothing."""
