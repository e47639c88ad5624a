"""The interval of a ratio over blocks, in simulations where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from gluelamp.measurement.ratio import Ratio, ratio_of_blocks

BLOCKS, ROUNDS = 10, 15


def times(rng: np.random.Generator, placement: float, factor: float = 1.0) -> np.ndarray:
    """(blocks, rounds) of one model: where its copy lies decides a part of all rounds of a block."""
    where = placement * rng.standard_normal((BLOCKS, 1))
    return factor * np.exp(where + 0.02 * rng.standard_normal((BLOCKS, ROUNDS)))


@pytest.mark.parametrize("placement", [0.0, 0.01])
def test_equal_models_are_missed_in_about_one_case_of_twenty(placement: float) -> None:
    rng = np.random.default_rng(0)
    found = [ratio_of_blocks(times(rng, placement), times(rng, placement)) for _ in range(300)]
    missed = sum(not one.low <= 1 <= one.high for one in found)
    assert 6 <= missed <= 27  # 15 expected; 3.3 standard deviations


def test_a_bootstrap_over_rounds_would_promise_too_much() -> None:
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(100):
        logs = np.log(times(rng, 0.01) / times(rng, 0.01)).ravel()
        missed += abs(logs.mean()) > 1.96 * logs.std() / np.sqrt(logs.size)
    assert missed > 20  # of 100: the block is the unit, not the round


def test_a_planted_slowdown_is_estimated_and_found() -> None:
    rng = np.random.default_rng(0)
    for factor in (1.03, 1.2):
        found = [ratio_of_blocks(times(rng, 0.005, factor), times(rng, 0.005)) for _ in range(50)]
        assert np.mean([one.estimate for one in found]) == pytest.approx(factor, rel=0.003)
        assert all(one.low > 1 for one in found)


def test_the_estimate_is_the_geometric_mean_of_block_medians() -> None:
    base = np.ones((5, 3))
    slower = np.array([[1, 2, 9]] * 4 + [[1, 1, 1]])
    assert ratio_of_blocks(slower, base).estimate == pytest.approx(2 ** (4 / 5))


def test_drift_that_hits_a_round_alike_leaves_the_ratio_alone() -> None:
    rng = np.random.default_rng(0)
    one, base, drift = times(rng, 0.01), times(rng, 0.01), np.linspace(1, 8, BLOCKS)[:, None]
    before, after = ratio_of_blocks(one, base), ratio_of_blocks(one * drift, base * drift)
    assert (after.low, after.estimate, after.high) == pytest.approx(
        (before.low, before.estimate, before.high)
    )


@pytest.mark.parametrize(
    ("low", "high", "is_one"),
    [(0.99, 1.01, True), (1.0, 1.0, True), (1.001, 1.01, False), (0.98, 0.999, False), (0.9, 1.06, False)],
)
def test_one_must_lie_within_and_the_resolution_beyond(low: float, high: float, is_one: bool) -> None:
    assert Ratio(1.0, low, high).is_one(0.05) is is_one
