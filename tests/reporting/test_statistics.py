"""Intervals and comparisons where the truth is known."""

from __future__ import annotations

from itertools import combinations
from statistics import NormalDist

import numpy as np
import pytest

from gluelamp.errors import InputError
from gluelamp.reporting.statistics import Cell, compare, compare_all, holm, rank_intervals, score_interval

ROWS = 277  # as RTE
EASE, NOISE, THRESHOLD = 0.9, 0.44, -0.7  # of the rows, of a row in one run; EASE² + NOISE² is about 1


def accuracy_cell(correct: np.ndarray, lower_is_better: bool = False) -> Cell:
    """Return the cell of runs that are right on some rows, shape (seeds, rows)."""
    seeds, rows = correct.shape
    return Cell("accuracy", np.ones(rows), correct.astype(float), tuple(range(seeds)), lower_is_better)


def simulate(rng: np.random.Generator, ease: np.ndarray, seeds: int, spread: float, skill: float = 0) -> Cell:
    """Return a cell of runs that are right where ease, noise, the run's luck and skill pass a threshold."""
    noise = rng.normal(0, NOISE, (seeds, len(ease)))
    luck = rng.normal(0, spread, (seeds, 1))
    return accuracy_cell(ease + noise + luck + skill > THRESHOLD)


def expected_accuracy(spread: float) -> float:
    return NormalDist(sigma=float(np.hypot(np.hypot(EASE, NOISE), spread))).cdf(-THRESHOLD)


def coverages(seeds: int, spread: float, repetitions: int = 1000) -> tuple[float, float]:
    """Return how often the interval of a score, and that of a difference of equals, holds the truth."""
    rng = np.random.default_rng(0)
    truth, scores, differences = expected_accuracy(spread), 0, 0
    for _ in range(repetitions):
        ease = rng.normal(0, EASE, ROWS)
        first, second = (simulate(rng, ease, seeds, spread) for _ in range(2))
        interval, comparison = score_interval(first), compare(first, second)
        scores += interval.low <= truth <= interval.high
        differences += comparison.low <= 0 <= comparison.high
    return scores / repetitions, differences / repetitions


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (2, 0.05), (3, 0.0), (3, 0.05), (5, 0.05)])
def test_intervals_hold_the_truth_in_95_of_100_simulations(seeds: int, spread: float) -> None:
    # a spread of 0.05 moves the accuracy by 1.6 points from seed to seed, as on RTE; that of 277 rows is 2.6
    score, difference = coverages(seeds, spread)
    assert score == pytest.approx(0.95, abs=0.02)
    # wide where seeds differ little: so the far tails, which Holm's correction needs, are not too thin
    assert 0.93 <= difference <= 0.985


@pytest.mark.parametrize("spread", [0.05, 0.1])
def test_small_p_values_of_equals_are_as_rare_as_holm_takes_them_to_be(spread: float) -> None:
    rng = np.random.default_rng(0)
    p = []
    for _ in range(400):
        ease = rng.normal(0, EASE, ROWS)
        cells = [simulate(rng, ease, 3, spread) for _ in range(8)]
        p += [compare(first, second).p for first, second in combinations(cells, 2)]
    # 0.0025 is the first step of a family of 20; normal tails where seeds add nothing gave 0.7 and 1.1 %
    assert np.mean(np.array(p) < 0.0025) < 0.004


def test_one_seed_says_nothing_of_other_seeds() -> None:
    score, difference = coverages(seeds=1, spread=0.2, repetitions=300)
    assert score < 0.85
    assert difference < 0.75


def test_one_seed_has_the_textbook_errors() -> None:
    rng = np.random.default_rng(1)
    first, second = (accuracy_cell(rng.random((1, ROWS)) < share) for share in (0.8, 0.7))
    accuracy = first.scores[0]
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / ROWS)
    interval = score_interval(first)
    assert interval.estimate == pytest.approx(accuracy)
    # 2,000 resamples tell an error to 1.6 %
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.05)
    # of paired differences -1, 0 and 1
    paired = 1.96 * np.std(first.predictions - second.predictions) / np.sqrt(ROWS)
    comparison = compare(first, second)
    assert (comparison.high - comparison.low) / 2 == pytest.approx(paired, rel=0.05)
    assert (comparison.low > 0) == (comparison.p < 0.05)


def test_seeds_that_are_right_on_the_same_rows_count_once() -> None:
    correct = np.random.default_rng(1).random((1, ROWS)) < 0.7
    one, three = (score_interval(accuracy_cell(correct.repeat(seeds, axis=0))) for seeds in (1, 3))
    np.testing.assert_allclose([three.low, three.high], [one.low, one.high])


def test_seeds_that_score_alike_by_chance_do_not_take_the_error_of_examples_away() -> None:
    majority = np.arange(ROWS) < 150
    right = np.tile(majority, (3, 1))
    right[np.arange(3), 150 + np.arange(3)] = True  # each seed is right on one row more, on another
    found = compare(accuracy_cell(right), accuracy_cell(np.tile(majority, (3, 1))))
    assert found.difference == pytest.approx(1 / ROWS)
    # three rows of the 277, each in one seed of three: the variance of a mean of thirds
    error = np.std(right.mean(axis=0) - majority) / np.sqrt(ROWS)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert found.p > 0.05


def test_seeds_that_make_all_of_the_error_have_students_interval() -> None:
    right = np.array([0.5, 0.6, 0.55])
    correct = np.arange(20_000) < right[:, None] * 20_000  # so many rows that their error is small
    interval = score_interval(accuracy_cell(correct))
    half = 4.303 * right.std(ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom, 97.5 %
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize(("metric", "least"), [("accuracy", 0.0), ("matthews_correlation", -1.0)])
def test_the_interval_of_a_score_ends_where_scores_end(metric: str, least: float) -> None:
    labels = np.arange(ROWS) % 2
    predictions = np.stack([labels, 1 - labels])  # seeds as far apart as can be
    interval = score_interval(Cell(metric, labels, predictions, (0, 1), False))
    assert (interval.low, interval.high) == (least, 1.0)


@pytest.mark.parametrize("metric", ["accuracy", "matthews_correlation", "pearson", "spearman"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_identical_predictions_never_differ(metric: str, seeds: int) -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 2, 90), rng.integers(0, 2, (seeds, 90))
    names = ("a", "b", "c")
    cells = {name: Cell(metric, labels, predictions.copy(), tuple(range(seeds)), False) for name in names}
    found = compare(cells["a"], cells["b"])
    assert (found.difference, found.p) == (0, 1)
    assert found.low <= 0 <= found.high
    assert compare_all(cells, "a")["verdict"].tolist() == ["tie", "tie"]
    ranks = rank_intervals(cells)[["rank", "rank_low", "rank_high"]]
    assert ranks.to_numpy().tolist() == [[1, 1, 3]] * 3


def test_planted_differences_are_found_and_named_by_their_side() -> None:
    rng = np.random.default_rng(0)
    ease = rng.normal(0, EASE, 1000)
    skills = {"equal": 0.0, "reference": 0.0, "strong": 0.5, "weak": -0.5}
    cells = {name: simulate(rng, ease, 3, 0.02, skill) for name, skill in skills.items()}
    found = compare_all(cells, "reference").set_index("method")
    assert found["verdict"].to_dict() == {"equal": "tie", "strong": "better", "weak": "worse"}
    assert (found["p_holm"] >= found["p"]).all()
    assert (found["seeds"] == 3).all()
    ranks = rank_intervals(cells)
    assert ranks["method"].tolist()[0] == "strong"
    assert ranks[["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1], [2, 3], [2, 3], [4, 4]]
    errors = {name: accuracy_cell(cell.predictions, lower_is_better=True) for name, cell in cells.items()}
    verdicts = compare_all(errors, "reference").set_index("method")["verdict"]
    assert verdicts.to_dict() == {"equal": "tie", "strong": "worse", "weak": "better"}
    assert rank_intervals(errors)["method"].tolist()[0] == "weak"


def test_a_comparison_turned_round_is_its_mirror_image() -> None:
    rng = np.random.default_rng(0)
    ease = rng.normal(0, EASE, ROWS)
    first, second = simulate(rng, ease, 3, 0.05), simulate(rng, ease, 2, 0.05)
    there, back = compare(first, second), compare(second, first)
    assert (there.difference, there.low, there.p) == (-back.difference, -back.high, back.p)
    assert there.seeds == back.seeds == 2


def test_beside_a_single_seed_only_examples_count() -> None:
    rng = np.random.default_rng(0)
    ease = rng.normal(0, EASE, ROWS)
    lucky, single = simulate(rng, ease, 3, 1.0), simulate(rng, ease, 1, 0.0)
    found = compare(lucky, single)
    assert found.seeds == 1
    error = (lucky.resampled.mean(axis=0) - single.resampled[0]).std(ddof=1)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=1e-4)


def test_cells_of_other_rows_or_metrics_cannot_be_compared() -> None:
    correct = np.ones((1, 4))
    cell = accuracy_cell(correct)
    others = [
        Cell("accuracy", np.zeros(4), correct, (0,), False),
        Cell("accuracy", np.ones(3), correct[:, :3], (0,), False),
        Cell("f1", np.ones(4), correct, (0,), False),
    ]
    for other in others:
        with pytest.raises(InputError, match="same metric on the same rows"):
            compare(cell, other)
    with pytest.raises(InputError, match="method 'pafl' is unknown; did you mean 'pafi'"):
        compare_all({"pafi": cell}, "pafl")


def test_a_method_alone_is_first_and_compared_with_nothing() -> None:
    cells = {"pafi": accuracy_cell(np.ones((1, 4)))}
    assert compare_all(cells, "pafi").empty
    assert rank_intervals(cells).to_numpy().tolist() == [["pafi", 1, 1, 1]]


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    # a hypothesis falls if every set that it is in does, by Bonferroni's rule (Marcus, Peritz, Gabriel 1976)
    values = np.random.default_rng(0).random((50, 5)) ** 3
    values[:, 3] = values[:, 1]  # ties
    sets = [some for size in range(1, 6) for some in combinations(range(5), size)]
    for p in values:
        by_set = {some: min(1.0, len(some) * p[list(some)].min()) for some in sets}
        expected = [max(by_set[some] for some in sets if one in some) for one in range(5)]
        np.testing.assert_allclose(holm(p), expected, rtol=1e-15)
    assert holm([]).size == 0
