"""The cells of a measurement, each kept as soon as it is measured."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from gluelamp.experiments.progress import progress_bar
from gluelamp.measurement.kind import Cell, Kind, Row, Subject
from gluelamp.records import read_json, write_json

_log = logging.getLogger(__name__)


class KeptCells:
    """The rows of finished cells, in a file that is whole at any time.

    Args:
        path: the file; what it holds is taken up again.

    Raises:
        InputError: if the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, list[Row]] = read_json(path) if path.is_file() else {}

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return those of some cells that are not kept yet."""
        return [cell for cell in cells if _key(cell) not in self._rows]

    def add(self, cell: Cell, rows: list[Row]) -> None:
        """Keep the rows of a cell."""
        self._rows[_key(cell)] = rows
        write_json(self.path, self._rows)

    def rows(self) -> list[Row]:
        """Return the rows of all cells, in the order in which they were measured."""
        return [row for rows in self._rows.values() for row in rows]


def _key(cell: Cell) -> str:
    return json.dumps(cell, sort_keys=True)


def measure_cells(kind: Kind, subject: Subject, path: Path) -> list[Row]:
    """Measure the cells that are not kept yet; return the rows of all.

    Args:
        kind: what to measure.
        subject: of what.
        path: where cells are kept until the caller has written the rows.
    """
    kept = KeptCells(path)
    with progress_bar() as bar:
        task = bar.add_task(f"{subject.backbone.name} {subject.method.name}")
        while missing := kept.missing(cells := kind.cells(kept.rows())):
            bar.update(task, total=len(cells), completed=len(cells) - len(missing))
            for cell, rows in zip(missing, kind.measure(subject, missing), strict=True):
                kept.add(cell, rows)
                bar.advance(task)
                for row in rows:
                    _log.info("%s %s %s", subject.backbone.name, subject.method.name, kind.line(row))
    return kept.rows()
