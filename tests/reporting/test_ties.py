"""Bold: the methods that none is better than."""

from __future__ import annotations

import numpy as np

from gluelamp.reporting.statistics import Cell
from gluelamp.reporting.ties import comparable, possibly_best

ROWS = 400
UNIFORM = np.random.default_rng(0).random((1, ROWS))


def right_on(shares: list[float], lower_is_better: bool = False) -> Cell:
    """Return the cell of seeds that are right on a share of the rows, the same easy ones first."""
    correct = (np.array(shares)[:, None] > UNIFORM).astype(float)
    return Cell("accuracy", np.ones(ROWS), correct, tuple(range(len(shares))), lower_is_better)


def test_the_rows_on_which_two_methods_differ_decide() -> None:
    cells = {"best": right_on([0.80]), "near": right_on([0.795]), "far": right_on([0.75])}
    assert possibly_best(cells) == {"best", "near"}
    # unpaired, 0.80 and 0.75 of 400 rows could not be told apart: the error of their difference is 0.03


def test_seeds_that_scatter_widely_hide_a_difference() -> None:
    steady = {"best": right_on([0.80, 0.80, 0.80]), "other": right_on([0.75, 0.75, 0.75])}
    assert possibly_best(steady) == {"best"}
    scattered = {"best": right_on([0.74, 0.80, 0.86]), "other": right_on([0.69, 0.75, 0.81])}
    assert possibly_best(scattered) == {"best", "other"}


def test_more_methods_need_more_evidence() -> None:
    best, other = right_on([0.80]), right_on([0.7875])  # p = 0.014
    assert possibly_best({"best": best, "other": other}) == {"best"}
    many = {f"other {number}": other for number in range(5)}
    assert possibly_best({"best": best, **many}) == {"best", *many}


def test_of_errors_the_smallest_is_best() -> None:
    cells = {"small": right_on([0.2], lower_is_better=True), "large": right_on([0.4], lower_is_better=True)}
    assert possibly_best(cells) == {"small"}


def test_of_equal_methods_each_keeps_its_bold_but_some_one_loses_it_more_often() -> None:
    rng = np.random.default_rng(0)
    methods, columns, lost = 10, 200, []
    for _ in range(columns):
        right = rng.random((methods, 1, 100)) < 0.7
        cells = {
            str(number): Cell("accuracy", np.ones(100), one.astype(float), (0,), False)
            for number, one in enumerate(right)
        }
        lost.append(methods - len(possibly_best(cells)))
    assert np.mean(lost) / methods < 0.05
    assert np.mean(np.array(lost) > 0) > 0.05


def test_cells_are_comparable_if_all_are_known_and_on_the_same_rows() -> None:
    one, other = right_on([0.8]), right_on([0.7])
    assert comparable({"one": one, "other": other}) == {"one": one, "other": other}
    assert comparable({"one": one, "other": None}) == {}
    fewer = Cell("accuracy", np.ones(10), np.ones((1, 10)), (0,), False)
    assert comparable({"one": one, "fewer": fewer}) == {}
    assert comparable({}) == {}
