"""The interval of a mean over few units, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from gluelamp.bootstrap import mean_interval


@pytest.mark.parametrize("units", [10, 24])
def test_few_normal_units_miss_their_mean_in_about_one_case_of_twenty(units: int) -> None:
    rng = np.random.default_rng(0)
    found = [mean_interval(rng.standard_normal(units)) for _ in range(400)]
    missed = sum(not low <= 0 <= high for low, high in found)
    assert 8 <= missed <= 34  # 20 expected; 3.2 standard deviations


def test_of_many_units_it_is_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(0.7, 0.1, 400)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    # the ends have noise of their own, about 1 % of the half width
    expected = (values.mean() - half, values.mean() + half)
    assert mean_interval(values) == pytest.approx(expected, abs=0.06 * half)
