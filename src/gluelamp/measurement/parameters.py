"""Numbers of values and bytes, counted on the real architecture without its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import build_from_shape
from gluelamp.errors import UnsupportedError
from gluelamp.measurement.base import MeasuredModel, MeasurementKind, Part, Row
from gluelamp.measurement.models import OUTPUTS
from gluelamp.methods.phases import adapt_untrained
from gluelamp.methods.storage import count_bytes, count_parameters
from gluelamp.records import MEASUREMENT_COLUMNS


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Parameters(MeasurementKind):
    """Count values and bytes; see `count_values`."""

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Count the values and bytes."""
        yield [count_values(model)]

    def summarise(self, row: Row) -> str:
        """Return what is trained and stored, or why the method does not support the backbone."""
        if "refused" in row:
            return f"is refused: {row['refused']}"
        return (
            f"trains {row['trained']:,} values ({row['trained_pct']:.4f} %), stores "
            f"{row['stored_bytes']:,} bytes a task and {row['shared_bytes']:,} once"
        )


def count_values(model: MeasuredModel, num_outputs: int = OUTPUTS) -> Row:
    """Return what a method trains and stores.

    The model is built and adapted on the meta device, so that a large backbone costs nothing.

    Args:
        model: the model under measurement.
        num_outputs: number of outputs of the head.

    Returns:
        ``trained``, ``trained_pct`` (percentage of the encoder) and ``head``; ``stored_values`` and
        ``stored_bytes`` of each task, without its head; ``shared_bytes``, stored once for all tasks. If the
        architecture lacks a part that the method changes, each is None, and ``refused`` is the reason.

    Raises:
        InputError: if the method's options do not fit the backbone's size.
    """
    with torch.device("meta"):
        network = build_from_shape(model.backbone, num_outputs, ATTENTION)
        try:
            adaptation = adapt_untrained(model.method, network, model.train_pooler)
        # A row and not an error, so that a sweep over all backbones completes and tables show the reason.
        except UnsupportedError as error:
            return dict.fromkeys(MEASUREMENT_COLUMNS["parameters"]) | {"refused": str(error)}
        values, size = count_parameters(adaptation), count_bytes(adaptation)
    counts = {key: values[key] for key in ("trained", "trained_pct", "head", "stored_values")}
    return counts | {"stored_bytes": size["method"], "shared_bytes": size["shared"]}
