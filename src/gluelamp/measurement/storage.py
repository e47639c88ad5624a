"""Bytes of a method's files, really written, beside the bytes that its tensors are counted to have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.load import BackboneConfig
from gluelamp.measurement.kind import Cell, Kind, Row, Subject
from gluelamp.measurement.states import build_bare
from gluelamp.methods.base import Method
from gluelamp.methods.storage import (
    count_bytes,
    count_parameters,
    provenance,
    save_task_state,
    write_shared_state,
)

_CHECKSUM = "0" * 64  # as long as that of real weights, so that the files are as long as those of a run


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Storage(Kind):
    """Writes the files of one task; see `measure_storage`."""

    def setting(self, subject: Subject) -> dict[str, Any]:
        """Return how the head is stored."""
        return {"train_pooler": subject.train_pooler}

    def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        """Write."""
        yield measure_storage(subject.backbone, subject.method, subject.train_pooler)

    def line(self, row: Row) -> str:
        """Return the files' bytes beside the counted ones."""
        return (
            f"writes {row['task_file_bytes']:,} bytes a task (counted: {row['counted_bytes']:,} and "
            f"{row['head_bytes']:,} of the head) and {row['shared_file_bytes']:,} once "
            f"(counted: {row['shared_bytes']:,})"
        )


def measure_storage(backbone: BackboneConfig, method: Method, train_pooler: bool = False) -> list[Row]:
    """Return the bytes of the files that a run would leave, as the one row of a measurement.

    The real architecture with random weights is adapted, its states are written to a temporary folder
    as a run writes them, and the files are asked for their size. Where a mask falls depends on the weights:
    with others its file may name a few tensors more or less.

    Args:
        backbone: its ``shape`` is read.
        method: the recipe.
        train_pooler: whether the pre-trained pooler is trained, and stored, with the head.

    Returns:
        ``trained`` values, and ``stored_values`` of each task; ``counted_bytes`` of the tensors that a
        task stores, without its head, and ``head_bytes`` of these; ``task_file_bytes``, of the file with
        both, names and checksums in its header; ``shared_bytes`` of the tensors that all tasks share,
        and ``shared_file_bytes`` of their file, 0 if there is none.

    Raises:
        InputError: if the method cannot serve this architecture or size.
    """
    adaptation = method.adapt(build_bare(backbone), train_pooler)
    values, size = count_parameters(adaptation), count_bytes(adaptation)
    bound_to = provenance(adaptation, _CHECKSUM)
    with TemporaryDirectory() as place:
        task, shared = Path(place) / "task.safetensors", Path(place) / "shared"
        save_task_state(task, adaptation, bound_to)
        write_shared_state(shared, adaptation, bound_to)
        return [
            {
                "trained": values["trained"],
                "stored_values": values["stored_values"],
                "counted_bytes": size["method"],
                "head_bytes": size["head"],
                "task_file_bytes": task.stat().st_size,
                "shared_bytes": size["shared"],
                "shared_file_bytes": sum(file.stat().st_size for file in shared.glob("*")),
            }
        ]
