"""The interval of a mean over few units, for known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from gluelamp.bootstrap import mean_interval


def test_intervals_of_ten_normal_units_miss_the_mean_in_about_one_case_of_twenty() -> None:
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.standard_normal(10)) for _ in range(400)]
    missed = sum(not low <= 0 <= high for low, high in intervals)
    assert 8 <= missed <= 34  # 20 expected; 3.2 standard deviations


def test_the_interval_of_many_units_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.1, 400)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    # The ends vary by about 1 % of the half width between bootstraps.
    expected = (values.mean() - half, values.mean() + half)
    assert mean_interval(values) == pytest.approx(expected, abs=0.06 * half)
