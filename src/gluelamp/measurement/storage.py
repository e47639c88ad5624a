"""Sizes of a method's files on disk, next to the counted bytes of their tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.measurement.base import MeasuredModel, MeasurementKind, Part, Row
from gluelamp.measurement.models import build_bare
from gluelamp.methods.phases import adapt_untrained
from gluelamp.methods.storage import (
    count_bytes,
    count_parameters,
    provenance,
    save_task_state,
    write_shared_state,
)

_CHECKSUM = "0" * 64  # as long as a real checksum, so that the header is as long as in a run's file


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Storage(MeasurementKind):
    """Write the files of one task; see `measure_files`."""

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Write the files and measure them."""
        yield [measure_files(model)]

    def summarise(self, row: Row) -> str:
        """Return the sizes of the files next to the counted bytes."""
        return (
            f"writes {row['task_file_bytes']:,} bytes a task (counted: {row['counted_bytes']:,} and "
            f"{row['head_bytes']:,} of the head) and {row['shared_file_bytes']:,} once "
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
    adaptation = adapt_untrained(model.method, build_bare(model.backbone), model.train_pooler)
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
