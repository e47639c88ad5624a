"""Finished cells are kept, whatever happens to the next one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from gluelamp.errors import InputError
from gluelamp.experiments.measure import MeasureConfig, measure
from gluelamp.experiments.measurement_cells import KeptCells, measure_cells
from gluelamp.measurement.kind import Cell, Kind, Row, Subject
from gluelamp.measurement.latency import Latency

Measuring = Callable[..., MeasureConfig]


class FourCells(Kind):
    """Measures cells 0 to 3, and stops before one of them."""

    def __init__(self, stop: int, asked: list[int]) -> None:
        vars(self).update(stop=stop, asked=asked)

    def cells(self, rows: Sequence[Row]) -> list[Cell]:
        return [{"number": number} for number in range(4)]

    def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        for number in (cell["number"] for cell in cells):
            if number == vars(self)["stop"]:
                raise KeyboardInterrupt
            vars(self)["asked"].append(number)
            yield [{"twice": 2 * number}, {"thrice": 3 * number}]

    def line(self, row: Row) -> str:
        return str(row)


@pytest.fixture
def subject(measuring: Measuring) -> Subject:
    config = measuring("backbone=tiny", "backbone.path=null")
    return Subject(config.backbone, config.method)


def test_a_stopped_measurement_goes_on_with_the_missing_cells(subject: Subject, tmp_path: Path) -> None:
    path, asked = tmp_path / "some.cells", list[int]()
    with pytest.raises(KeyboardInterrupt):
        measure_cells(FourCells(2, asked), subject, path)
    assert len(KeptCells(path).rows()) == 4
    assert asked == [0, 1]
    rows = measure_cells(FourCells(4, asked), subject, path)
    assert asked == [0, 1, 2, 3]
    assert rows == [row for number in range(4) for row in ({"twice": 2 * number}, {"thrice": 3 * number})]


def test_damaged_cells_are_named(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "some.cells"
    path.write_text('{"{\\"number\\": 0}": [{"tw', encoding="utf-8")
    with pytest.raises(InputError, match=r"some\.cells is not JSON: .*\. Remove it and run again\."):
        measure_cells(FourCells(4, []), subject, path)


def test_each_cell_is_on_disk_before_the_next_one_begins(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "some.cells"

    class Looking(FourCells):
        def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
            for number, rows in enumerate(super().measure(subject, cells)):
                assert len(KeptCells(path).rows()) == 2 * number
                yield rows

    measure_cells(Looking(4, []), subject, path)


def test_a_second_process_cannot_measure_the_same(measuring: Measuring) -> None:
    tiny = ("backbone=tiny", "backbone.path=null", "on_existing=retrain")
    path = measure(measuring(*tiny))
    with (
        FileLock(path.with_suffix(".lock")),
        pytest.raises(InputError, match="is being measured by another process; wait"),
    ):
        measure(measuring(*tiny))
    assert measure(measuring(*tiny)) == path


def test_a_stopped_timing_is_continued_from_the_command(
    measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = ("backbone=tiny", "backbone.path=null", "method=bitfit")
    config = measuring(*tiny, "what=latency", "latency.batches=[1,2,3]")
    compare, asked = Latency._compare, list[int]()

    def until_three(self: Latency, states: object, cell: Cell, *rest: object) -> list[Row]:
        asked.append(cell["batch"])
        if asked == [1, 2, 3]:
            raise KeyboardInterrupt
        return compare(self, states, cell, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Latency, "_compare", until_three)
    with pytest.raises(KeyboardInterrupt):
        measure(config)
    path = measure(config)
    assert asked == [1, 2, 3, 3]
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [row["batch"] for row in rows] == [batch for batch in (1, 2, 3) for _ in range(3)]
    assert list(path.parent.iterdir()) == [path]
