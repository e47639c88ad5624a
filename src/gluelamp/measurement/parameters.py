"""Values and bytes of a method, counted on the real architecture without its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.errors import UnsupportedError
from gluelamp.measurement.kind import Cell, Kind, Row, Subject
from gluelamp.methods.base import Method
from gluelamp.methods.storage import count_bytes, count_parameters
from gluelamp.records import MEASUREMENT_COLUMNS


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Parameters(Kind):
    """Counts values and bytes; see `measure_parameters`."""

    def setting(self, subject: Subject) -> dict[str, Any]:
        """Return how the head is counted."""
        return {"train_pooler": subject.train_pooler}

    def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        """Count."""
        yield measure_parameters(subject.backbone, subject.method, subject.train_pooler)

    def line(self, row: Row) -> str:
        """Return what is trained and stored, or why the method is refused."""
        if "refused" in row:
            return f"is refused: {row['refused']}"
        return (
            f"trains {row['trained']:,} values ({row['trained_pct']:.4f} %), stores "
            f"{row['stored_bytes']:,} bytes a task and {row['shared_bytes']:,} once"
        )


def measure_parameters(
    backbone: BackboneConfig, method: Method, train_pooler: bool = False, num_outputs: int = 2
) -> list[Row]:
    """Return what a method trains and stores, as the one row of a measurement.

    The model is built and adapted on the meta device, so that a large backbone costs nothing.

    Args:
        backbone: its ``shape`` is read.
        method: the recipe.
        train_pooler: whether the pre-trained pooler is trained, and counted, with the head.
        num_outputs: values that the head returns.

    Returns:
        ``trained``, ``trained_pct`` (of the encoder) and ``head``; ``stored_values`` and
        ``stored_bytes`` of each task, without its head; ``shared_bytes`` of all tasks together. If the
        architecture lacks what the method changes: None for each, and the reason as ``refused``.

    Raises:
        InputError: if the method's options do not fit the backbone's size.
    """
    with torch.device("meta"):
        model = build_from_shape(backbone, num_outputs, ATTENTION)
        try:
            adaptation = method.adapt(model, train_pooler)
        except UnsupportedError as error:
            return [dict.fromkeys(MEASUREMENT_COLUMNS["parameters"]) | {"refused": str(error)}]
        values, size = count_parameters(adaptation), count_bytes(adaptation)
    counts = {key: values[key] for key in ("trained", "trained_pct", "head", "stored_values")}
    return [counts | {"stored_bytes": size["method"], "shared_bytes": size["shared"]}]
