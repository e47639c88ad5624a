"""The scores of users, and their mean with its interval."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from gluelamp.reporting.lamp_scores import mean_over_users, user_scores
from gluelamp.tasks.lamp.tasks import LAMP


def test_each_user_s_score_is_the_metric_of_their_rows() -> None:
    frame = pd.DataFrame(
        {"user": ["b", "a", "b", "b"], "prediction": [1, 2, 0, 1], "label": [1, 0, 0, 0]}, index=[9, 8, 7, 7]
    )
    accuracies = user_scores(LAMP["lamp2n"], frame)
    assert accuracies.to_dict("list") == {"user": ["a", "b"], "n": [1, 3], "accuracy": [0.0, 2 / 3]}
    errors = user_scores(LAMP["lamp3_score"], frame)
    assert errors.to_dict("list") == {"user": ["a", "b"], "n": [1, 3], "mae": [2.0, 1 / 3]}


def test_users_have_equal_weight_in_the_mean_and_its_interval() -> None:
    scores = pd.Series(np.random.default_rng(1).normal(0.7, 0.1, 400))
    result = mean_over_users(scores)
    half = 1.96 * scores.std() / math.sqrt(len(scores))
    assert result.mean == pytest.approx(scores.mean())
    assert result.users == 400
    # the ends of the bootstrap vary by about 1 % of the half width at 9,999 resamples
    assert (result.low, result.high) == pytest.approx(
        (result.mean - half, result.mean + half), abs=0.06 * half
    )
    assert mean_over_users(scores) == result


def test_one_user_has_no_interval_and_equal_users_a_narrow_one() -> None:
    alone = mean_over_users(pd.Series([0.5]))
    assert (alone.mean, alone.users) == (0.5, 1)
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)
    equal = mean_over_users(pd.Series([0.5, 0.5, 0.5]))
    assert (equal.low, equal.high) == (0.5, 0.5)
