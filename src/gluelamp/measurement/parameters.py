"""What a method trains and stores: numbers of values, bytes of tensors, and sizes of files.

`Parameters` counts on the real architecture without values, so a large backbone costs nothing. `Storage`
writes the files of one task with random weights, and measures them. The difference between both is the header
of the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import build_from_shape
from gluelamp.errors import UnsupportedError
from gluelamp.measurement.base import MeasuredModel, MeasurementKind, Part, Row
from gluelamp.measurement.models import OUTPUTS, build_bare
from gluelamp.methods.phases import adapt_untrained
from gluelamp.methods.storage import (
    count_bytes,
    count_parameters,
    provenance,
    save_task_state,
    write_shared_state,
)
from gluelamp.records import MEASUREMENT_COLUMNS

# As long as a real checksum, so that the header of a file is as long as in a run.
_CHECKSUM = "0" * 64


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
            f"{row['stored_bytes']:,} bytes per task and {row['shared_bytes']:,} bytes for all tasks"
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
        network = build_from_shape(model.backbone, num_outputs, ATTENTION, model.head)
        try:
            adaptation = adapt_untrained(model.method, network)
        # A row and not an error: a sweep over all backbones completes, and the tables show the reason.
        except UnsupportedError as error:
            return dict.fromkeys(MEASUREMENT_COLUMNS["parameters"]) | {"refused": str(error)}
        values, size = count_parameters(adaptation), count_bytes(adaptation)
    counts = {key: values[key] for key in ("trained", "trained_pct", "head", "stored_values")}
    return counts | {"stored_bytes": size["method"], "shared_bytes": size["shared"]}


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Storage(MeasurementKind):
    """Write the files of one task; see `measure_files`."""

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Write the files and measure them."""
        yield [measure_files(model)]

    def summarise(self, row: Row) -> str:
        """Return the sizes of the files next to the counted bytes."""
        return (
            f"writes {row['task_file_bytes']:,} bytes per task (counted: {row['counted_bytes']:,} and "
            f"{row['head_bytes']:,} of the head) and {row['shared_file_bytes']:,} for all tasks "
            f"(counted: {row['shared_bytes']:,})"
        )


def measure_files(model: MeasuredModel) -> Row:
    """Return the sizes of the files that a run would write.

    The real architecture with random weights is adapted, and its states are written to a temporary folder
    as a run writes them. The positions of a mask depend on the weights: with other weights its file may
    name a few tensors more or less.

    Args:
        model: the model under measurement.

    Returns:
        ``trained`` values, and ``stored_values`` of each task; ``counted_bytes`` of the tensors that a task
        stores, without its head, and ``head_bytes``; ``task_file_bytes`` of the file with both, including
        the names and checksums in its header; ``shared_bytes`` of the tensors that all tasks share, and
        ``shared_file_bytes`` of their file, 0 if there is none.

    Raises:
        InputError: if the method does not support this architecture or size.
    """
    adaptation = adapt_untrained(model.method, build_bare(model.backbone, model.head))
    values, size = count_parameters(adaptation), count_bytes(adaptation)
    header = provenance(adaptation, _CHECKSUM)
    # The functions that a run calls write the files, so names and headers are counted as they are.
    with TemporaryDirectory() as folder:
        task, shared = Path(folder) / "task.safetensors", Path(folder) / "shared"
        save_task_state(task, adaptation, header)
        write_shared_state(shared, adaptation, header)
        return {
            "trained": values["trained"],
            "stored_values": values["stored_values"],
            "counted_bytes": size["method"],
            "head_bytes": size["head"],
            "task_file_bytes": task.stat().st_size,
            "shared_bytes": size["shared"],
            "shared_file_bytes": sum(file.stat().st_size for file in shared.glob("*")),
        }
