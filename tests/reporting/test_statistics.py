"""Intervals, comparisons and ranks where the truth is known; metrics against libraries."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr, ttest_rel
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    matthews_corrcoef,
    mean_absolute_error,
    roc_auc_score,
    root_mean_squared_error,
)

from gluelamp.errors import InputError
from gluelamp.reporting.statistics import (
    Estimate,
    Predictions,
    comparable,
    compare_all,
    difference,
    holm,
    mean_estimate,
    possibly_best,
    rank_intervals,
    score_estimate,
)
from gluelamp.reporting.statistics.intervals import RESAMPLES, resampled_scores, weighted_scores
from gluelamp.reporting.statistics.predictions import cross_fitted_classes

Reference = Callable[[np.ndarray, np.ndarray], float]
ROWS = 277  # as RTE
EASE, NOISE, THRESHOLD = 0.9, 0.44, -0.7  # of the rows, of a row in one run; EASE² + NOISE² is about 1

METRICS: list[tuple[str, int, Reference]] = [
    ("accuracy", 3, accuracy_score),
    ("f1", 2, f1_score),
    ("macro_f1", 3, lambda labels, predictions: f1_score(labels, predictions, average="macro")),
    ("matthews_correlation", 2, matthews_corrcoef),
    ("matthews_correlation", 3, matthews_corrcoef),
    ("pearson", 0, lambda labels, predictions: pearsonr(labels, predictions).statistic),
    ("spearman", 0, lambda labels, predictions: spearmanr(labels, predictions).statistic),
    ("mae", 0, mean_absolute_error),
    ("rmse", 0, root_mean_squared_error),
    ("mean", 0, lambda _, predictions: float(np.mean(predictions))),
]


def accuracies(correct: np.ndarray, lower_is_better: bool = False) -> Predictions:
    """Return the predictions of runs that are right on some rows, shape (seeds, rows)."""
    seeds, rows = correct.shape
    return Predictions("accuracy", np.ones(rows), correct.astype(float), tuple(range(seeds)), lower_is_better)


def simulate(
    rng: np.random.Generator, ease: np.ndarray, seeds: int, spread: float, skill: float = 0
) -> Predictions:
    """Return runs that are right where ease, noise, the luck of the run and skill exceed a threshold."""
    noise = rng.normal(0, NOISE, (seeds, len(ease)))
    luck = rng.normal(0, spread, (seeds, 1))
    return accuracies(ease + noise + luck + skill > THRESHOLD)


def right_on(fractions: list[float], lower_is_better: bool = False, rows: int = 400) -> Predictions:
    """Return seeds that are right on a fraction of the rows, the same easy ones first."""
    ease = np.random.default_rng(0).random((1, rows))
    return accuracies(np.array(fractions)[:, None] > ease, lower_is_better)


def coverages(seeds: int, spread: float, repetitions: int) -> tuple[float, float]:
    """Return how often the interval of a score, and that of a difference of equals, contains the truth."""
    rng = np.random.default_rng(0)
    truth = NormalDist(sigma=float(np.hypot(np.hypot(EASE, NOISE), spread))).cdf(-THRESHOLD)
    scores = differences = 0
    for _ in range(repetitions):
        ease = rng.normal(0, EASE, ROWS)
        first, second = (simulate(rng, ease, seeds, spread) for _ in range(2))
        score, found = score_estimate(first), difference(first, second)
        scores += score.low <= truth <= score.high
        differences += found.low <= 0 <= found.high
    return scores / repetitions, differences / repetitions


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (2, 0.05), (3, 0.05)])
def test_intervals_contain_the_truth_in_95_of_100_simulations(seeds: int, spread: float) -> None:
    # a spread of 0.05 moves the accuracy by 1.6 points from seed to seed, as on RTE; that of 277 rows is 2.6
    score, paired = coverages(seeds, spread, repetitions=500)
    assert score == pytest.approx(0.95, abs=0.02)
    # wide where seeds differ little: so the far tails, which Holm's correction needs, are not too thin
    assert 0.93 <= paired <= 0.985


def test_one_seed_does_not_cover_other_seeds() -> None:
    score, paired = coverages(seeds=1, spread=0.2, repetitions=100)
    assert score < 0.85
    assert paired < 0.75


def collapsing(
    rng: np.random.Generator,
    labels: np.ndarray,
    ease: np.ndarray,
    skill: float,
    threshold: float,
    risk: float,
) -> Predictions:
    """Return three runs with a Matthews correlation; each of them predicts class 1 alone with some risk."""
    noise, luck = rng.normal(0, NOISE, (3, len(labels))), rng.normal(0, 0.05, (3, 1))
    outputs = (ease + noise + luck + skill * labels > threshold).astype(float)
    outputs[rng.random(3) < risk] = 1
    return Predictions("matthews_correlation", labels, outputs, (0, 1, 2), False)


# skill and threshold give a Matthews correlation of 0.51 and 0.25, the latter as on CoLA
@pytest.mark.parametrize(
    ("skill", "threshold", "risk", "coverage"), [(1.5, 0.1, 1 / 5, 0.51), (0.75, -0.45, 1 / 3, 0.73)]
)
def test_intervals_of_seeds_that_may_collapse_are_too_narrow_but_find_no_false_difference(
    skill: float, threshold: float, risk: float, coverage: float
) -> None:
    rows, ones, repetitions = 1043, 0.69, 150
    margin = NormalDist(sigma=float(np.linalg.norm([EASE, NOISE, 0.05])))
    hits, errors = 1 - margin.cdf(threshold - skill), 1 - margin.cdf(threshold)
    predicted = ones * hits + (1 - ones) * errors
    skilled = (hits - errors) * np.sqrt(ones * (1 - ones) / (predicted * (1 - predicted)))
    rng, contained, different = np.random.default_rng(0), 0, 0
    for _ in range(repetitions):
        labels, ease = (rng.random(rows) < ones).astype(float), rng.normal(0, EASE, rows)
        first, second = (collapsing(rng, labels, ease, skill, threshold, risk) for _ in range(2))
        score = score_estimate(first)
        contained += score.low <= (1 - risk) * skilled <= score.high  # of a collapsed run it is 0
        different += difference(first, second).p < 0.05
    # three seeds without a collapsed one, or with collapsed ones alone, have no trace of the others
    assert contained / repetitions == pytest.approx(coverage, abs=0.1)
    assert different / repetitions < 0.05


def test_small_p_values_of_equals_are_as_rare_as_holm_assumes() -> None:
    rng = np.random.default_rng(0)
    p = []
    for _ in range(100):
        ease = rng.normal(0, EASE, ROWS)
        methods = [simulate(rng, ease, 3, 0.1) for _ in range(8)]
        p += [difference(*pair).p for pair in combinations(methods, 2)]
    # 0.0025 is the first step of a family of 20; normal tails where seeds add nothing gave 0.7 and 1.1 %
    assert np.mean(np.array(p) < 0.0025) < 0.004


def test_one_seed_has_the_textbook_errors() -> None:
    rng = np.random.default_rng(1)
    first, second = (accuracies(rng.random((1, ROWS)) < fraction) for fraction in (0.8, 0.7))
    accuracy = first.scores[0]
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / ROWS)
    score, found = score_estimate(first), difference(first, second)
    assert score.value == pytest.approx(accuracy)
    # 2,000 resamples give an error within 1.6 %
    assert (score.high - score.low) / 2 == pytest.approx(half, rel=0.05)
    # of paired differences -1, 0 and 1
    paired = 1.96 * np.std(first.outputs - second.outputs) / np.sqrt(ROWS)
    assert (found.high - found.low) / 2 == pytest.approx(paired, rel=0.05)
    assert (found.low > 0) == (found.p < 0.05)


def test_seeds_that_are_right_on_the_same_rows_count_once() -> None:
    correct = np.random.default_rng(1).random((1, ROWS)) < 0.7
    one, three = (score_estimate(accuracies(correct.repeat(seeds, axis=0))) for seeds in (1, 3))
    np.testing.assert_allclose([three.low, three.high], [one.low, one.high])


def test_equal_scores_of_seeds_by_chance_do_not_reduce_the_error_of_examples() -> None:
    majority = np.arange(ROWS) < 150
    right = np.tile(majority, (3, 1))
    right[np.arange(3), 150 + np.arange(3)] = True  # each seed is right on one more row, each on another
    found = difference(accuracies(right), accuracies(np.tile(majority, (3, 1))))
    assert found.value == pytest.approx(1 / ROWS)
    # three rows of the 277, each in one seed of three: the variance of a mean of thirds
    error = np.std(right.mean(axis=0) - majority) / np.sqrt(ROWS)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert found.p > 0.05


def test_an_error_of_seeds_alone_has_students_interval() -> None:
    right = np.array([0.5, 0.6, 0.55])
    correct = np.arange(20_000) < right[:, None] * 20_000  # so many rows that their error is small
    score = score_estimate(accuracies(correct))
    half = 4.303 * right.std(ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom, 97.5 %
    assert (score.high - score.low) / 2 == pytest.approx(half, rel=0.05)


def test_pairs_of_seeds_have_the_interval_of_a_paired_t_test() -> None:
    right = np.array([[0.22, 0.31, 0.42, 0.48], [0.21, 0.30, 0.42, 0.46]])  # by side and seed
    # So many rows that their error is small
    sides = [accuracies(np.arange(40_000) < 40_000 * side[:, None]) for side in right]
    paired = difference(*sides, pair_seeds=True)
    expected = ttest_rel(*(side.scores for side in sides)).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx(expected, rel=0.02)
    unpaired = difference(*sides)
    assert unpaired.value == paired.value
    assert unpaired.error > 3 * paired.error


@pytest.mark.parametrize(("metric", "least"), [("accuracy", 0.0), ("matthews_correlation", -1.0)])
def test_the_interval_of_a_score_ends_at_the_limits_of_the_metric(metric: str, least: float) -> None:
    labels = np.arange(ROWS) % 2
    outputs = np.stack([labels, 1 - labels])  # the largest possible difference of seeds
    score = score_estimate(Predictions(metric, labels, outputs, (0, 1), False))
    assert (score.low, score.high) == (least, 1.0)


@pytest.mark.parametrize("metric", ["accuracy", "matthews_correlation", "pearson", "spearman"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_identical_predictions_never_differ(metric: str, seeds: int) -> None:
    rng = np.random.default_rng(0)
    labels, outputs = rng.integers(0, 2, 90), rng.integers(0, 2, (seeds, 90))
    methods = {
        name: Predictions(metric, labels, outputs.copy(), tuple(range(seeds)), False) for name in "abc"
    }
    found = difference(methods["a"], methods["b"])
    assert (found.value, found.p) == (0, 1)
    assert found.low <= 0 <= found.high
    assert compare_all(methods, "a")["verdict"].tolist() == ["tie", "tie"]
    ranks = rank_intervals(methods)[["rank", "rank_low", "rank_high"]]
    assert ranks.to_numpy().tolist() == [[1, 1, 3]] * 3


def test_planted_differences_are_found_with_their_sign() -> None:
    rng = np.random.default_rng(0)
    ease = rng.normal(0, EASE, 1000)
    skills = {"equal": 0.0, "reference": 0.0, "strong": 0.5, "weak": -0.5}
    methods = {name: simulate(rng, ease, 3, 0.02, skill) for name, skill in skills.items()}
    found = compare_all(methods, "reference").set_index("method")
    assert found["verdict"].to_dict() == {"equal": "tie", "strong": "better", "weak": "worse"}
    assert (found["p_holm"] >= found["p"]).all()
    assert (found["seeds"] == 3).all()
    ranks = rank_intervals(methods)
    assert ranks["method"].tolist()[0] == "strong"
    assert ranks[["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 1], [2, 3], [2, 3], [4, 4]]
    errors = {name: accuracies(one.outputs, lower_is_better=True) for name, one in methods.items()}
    verdicts = compare_all(errors, "reference").set_index("method")["verdict"]
    assert verdicts.to_dict() == {"equal": "tie", "strong": "worse", "weak": "better"}
    assert rank_intervals(errors)["method"].tolist()[0] == "weak"


def test_a_reversed_comparison_is_the_mirror_image() -> None:
    rng = np.random.default_rng(0)
    ease = rng.normal(0, EASE, ROWS)
    first, second = simulate(rng, ease, 3, 0.05), simulate(rng, ease, 2, 0.05)
    there, back = difference(first, second), difference(second, first)
    assert (there.value, there.low, there.p) == (-back.value, -back.high, back.p)


def test_next_to_a_single_seed_only_examples_count() -> None:
    rng = np.random.default_rng(0)
    ease = rng.normal(0, EASE, ROWS)
    three, single = simulate(rng, ease, 3, 1.0), simulate(rng, ease, 1, 0.0)
    found = difference(three, single)
    error = (three.resampled.mean(axis=0) - single.resampled[0]).std(ddof=1)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=1e-4)
    assert compare_all({"three": three, "single": single}, "single")["seeds"].tolist() == [1]


def test_other_rows_metrics_and_methods_are_refused() -> None:
    correct = np.ones((1, 4))
    method = accuracies(correct)
    others = [
        Predictions("accuracy", np.zeros(4), correct, (0,), False),
        Predictions("accuracy", np.ones(3), correct[:, :3], (0,), False),
        Predictions("f1", np.ones(4), correct, (0,), False),
    ]
    for other in others:
        with pytest.raises(InputError, match="same metric on the same rows"):
            difference(method, other)
    with pytest.raises(InputError, match="method 'pafl' is unknown; did you mean 'pafi'"):
        compare_all({"pafi": method}, "pafl")


def test_a_single_method_is_first_and_compared_with_nothing() -> None:
    methods = {"pafi": accuracies(np.ones((1, 4)))}
    assert compare_all(methods, "pafi").empty
    assert rank_intervals(methods).to_numpy().tolist() == [["pafi", 1, 1, 1]]


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    # a hypothesis is rejected if every set with it is, by Bonferroni's rule (Marcus, Peritz, Gabriel 1976)
    values = np.random.default_rng(0).random((50, 5)) ** 3
    values[:, 3] = values[:, 1]  # ties
    sets = [chosen for size in range(1, 6) for chosen in combinations(range(5), size)]
    for p in values:
        by_set = {chosen: min(1.0, len(chosen) * p[list(chosen)].min()) for chosen in sets}
        expected = [max(by_set[chosen] for chosen in sets if one in chosen) for one in range(5)]
        np.testing.assert_allclose(holm(p), expected, rtol=1e-15)
    assert holm([]).size == 0


def test_the_mean_of_estimates_adds_variances_and_degrees_of_freedom() -> None:
    mean = mean_estimate([Estimate(value, 0.1, 2) for value in (1.0, 2.0, 3.0, 4.0)])
    assert (mean.value, mean.error, mean.freedom) == (2.5, pytest.approx(0.05), pytest.approx(8))
    normal = mean_estimate([Estimate(1.0, 0.3, np.inf), Estimate(2.0, 0.4, np.inf)])
    assert (normal.value, normal.error, normal.freedom) == (1.5, pytest.approx(0.25), np.inf)


def test_the_rows_on_which_two_methods_differ_decide_what_is_bold() -> None:
    # unpaired, 0.80 and 0.75 of 400 rows would be a tie: the error of their difference is 0.03
    methods = {"best": right_on([0.80]), "near": right_on([0.795]), "far": right_on([0.75])}
    assert possibly_best(methods) == {"best", "near"}
    errors = {"small": right_on([0.2], lower_is_better=True), "large": right_on([0.4], lower_is_better=True)}
    assert possibly_best(errors) == {"small"}


def test_a_large_spread_of_seeds_hides_a_difference() -> None:
    steady = {"best": right_on([0.80, 0.80, 0.80]), "other": right_on([0.75, 0.75, 0.75])}
    assert possibly_best(steady) == {"best"}
    scattered = {"best": right_on([0.74, 0.80, 0.86]), "other": right_on([0.69, 0.75, 0.81])}
    assert possibly_best(scattered) == {"best", "other"}


def test_more_methods_need_more_evidence() -> None:
    best, other = right_on([0.80]), right_on([0.7875])  # p = 0.014
    assert possibly_best({"best": best, "other": other}) == {"best"}
    many = {f"other {number}": other for number in range(5)}
    assert possibly_best({"best": best, **many}) == {"best", *many}


def test_a_truly_best_method_loses_its_bold_in_at_most_5_of_100_columns() -> None:
    rng = np.random.default_rng(0)
    methods, columns, lost = 8, 30, []
    for _ in range(columns):
        right = rng.random((methods, 1, 100)) < 0.7
        equal = {str(number): accuracies(one) for number, one in enumerate(right)}
        lost.append(methods - len(possibly_best(equal)))
    assert np.mean(lost) / methods < 0.05
    assert np.mean(np.array(lost) > 0) > 0.05  # of all equal methods, one loses it more often


def test_methods_are_comparable_if_all_have_predictions_on_the_same_rows() -> None:
    one, other = right_on([0.8]), right_on([0.7])
    assert comparable({"one": one, "other": other}) == {"one": one, "other": other}
    assert comparable({"one": one, "other": None}) == {}
    assert comparable({"one": one, "fewer": right_on([0.8], rows=10)}) == {}
    assert comparable({}) == {}


@pytest.mark.parametrize(("metric", "classes", "reference"), METRICS)
def test_a_weighted_score_is_that_of_the_resampled_rows(
    metric: str, classes: int, reference: Reference
) -> None:
    rng = np.random.default_rng(classes)
    rows, seeds = 60, 2
    if classes:
        labels = rng.integers(0, classes, rows)
        other = rng.integers(0, classes, (seeds, rows))
        outputs = np.where(rng.random((seeds, rows)) < 0.6, labels, other)
    else:  # numbers with ties
        labels = rng.integers(0, 11, rows) / 2
        outputs = (labels + rng.normal(0, 2, (seeds, rows))).round(1)
    samples = rng.integers(0, rows, (20, rows))
    weights = np.stack([np.bincount(sample, minlength=rows) for sample in samples], axis=1)
    expected = [[reference(labels[sample], seed[sample]) for sample in samples] for seed in outputs]
    found = weighted_scores(metric, labels, outputs, weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def exact_match(correct: np.ndarray, predictions: np.ndarray) -> bool:
    return bool(correct.all())


def gender_parity(correct: np.ndarray, predictions: np.ndarray) -> bool:
    return len(set(predictions)) == 1


@pytest.mark.parametrize("counted", [exact_match, gender_parity])
def test_a_metric_of_groups_counts_the_resampled_groups(
    counted: Callable[[np.ndarray, np.ndarray], bool],
) -> None:
    rng = np.random.default_rng(3)
    groups = rng.permutation(np.repeat(np.arange(20), rng.integers(1, 5, 20)))
    labels, outputs = rng.integers(0, 2, len(groups)), rng.integers(0, 2, (2, len(groups)))
    samples = rng.integers(0, 20, (10, 20))  # of groups
    weights = np.stack([np.bincount(sample, minlength=20)[groups] for sample in samples], axis=1)
    expected = [
        [
            np.mean([counted((labels == seed)[groups == one], seed[groups == one]) for one in sample])
            for sample in samples
        ]
        for seed in outputs
    ]
    found = weighted_scores(counted.__name__, labels, outputs, weights, groups)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_rows_of_a_group_are_sampled_together() -> None:
    # 100 groups of 4 equal rows hold as much as 100 rows: their error is twice that of 400 independent rows
    groups = np.repeat(np.arange(100), 4)
    outputs = np.repeat(np.random.default_rng(0).random((1, 100)) < 0.7, 4, axis=1).astype(float)
    labels = np.ones(400)
    together = resampled_scores("accuracy", labels, outputs, groups)
    np.testing.assert_array_equal(together, resampled_scores("accuracy", labels[::4], outputs[:, ::4]))
    alone = resampled_scores("accuracy", labels, outputs)
    assert together.std() == pytest.approx(2 * alone.std(), rel=0.07)  # 2,000 resamples: 1.6 % each


def test_roc_auc_on_resamples_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    margins = (rng.normal(0, 1, (2, 60)) + labels).round(1)  # with ties
    samples = rng.integers(0, 60, (20, 60))
    weights = np.stack([np.bincount(sample, minlength=60) for sample in samples], axis=1)
    expected = [[roc_auc_score(labels[sample], seed[sample]) for sample in samples] for seed in margins]
    found = weighted_scores("roc_auc", labels, margins, weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert (weighted_scores("roc_auc", np.ones(60), margins, weights) == 0.5).all()  # one class: chance


@pytest.mark.parametrize("seed", range(3))
def test_each_half_has_the_threshold_with_the_best_correlation_on_the_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, first = rng.integers(0, 2, 61), rng.random(61) < 0.5
    margins = (rng.normal(0, 1, 61) + labels - 3).round(1)  # with ties; almost all of class 0 at threshold 0
    found = cross_fitted_classes(labels, margins, first)
    for half, other in ((first, ~first), (~first, first)):
        best = max(
            np.unique(margins[other]), key=lambda one: matthews_corrcoef(labels[other], margins[other] >= one)
        )
        np.testing.assert_array_equal(found[half], margins[half] >= best)
    assert matthews_corrcoef(labels, found) > matthews_corrcoef(labels, margins > 0) + 0.1


def test_a_row_never_selects_its_own_threshold() -> None:
    labels, margins = np.array([0, 1, 0, 1]), np.array([0.0, 1.0, 0.0, 1.0])
    first = np.array([True, True, False, False])
    for label in (0, 1):
        labels[0] = label
        assert cross_fitted_classes(labels, margins, first)[0] == 0


def test_a_seed_with_one_output_on_99_of_100_rows_is_collapsed() -> None:
    outputs = np.zeros((4, 200))
    outputs[1, :2], outputs[2, :3], outputs[3] = 1, 1, np.arange(200)
    assert Predictions("accuracy", np.zeros(200), outputs, (0, 1, 2, 3), False).collapsed == 2
    one = Predictions("accuracy", np.zeros(200), outputs[:1], (0,), False)
    two = Predictions("accuracy", np.zeros(200), outputs[1:3], (0, 1), False)
    assert compare_all({"one": one, "two": two}, "one")["collapsed"].tolist() == [2]


@pytest.mark.parametrize("metric", ["matthews_correlation", "f1", "pearson", "spearman"])
@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_constant_predictions_score_exactly_zero(metric: str, constant: float) -> None:
    labels = np.random.default_rng(0).integers(0, 2, 60).astype(float)
    assert (resampled_scores(metric, labels, np.full((1, 60), constant)) == 0).all()


def test_all_methods_have_the_same_resamples_with_replacement() -> None:
    outputs = (np.random.default_rng(0).random((3, 60)) < 0.7).astype(float)
    scores = resampled_scores("accuracy", np.ones(60), outputs)
    assert scores.shape == (3, RESAMPLES)
    np.testing.assert_array_equal(scores[1:2], resampled_scores("accuracy", np.ones(60), outputs[1:2]))
    # a mean over n rows with replacement has the variance p (1 - p) / n; 2,000 resamples give it within 3.2 %
    p = outputs.mean(axis=1)
    np.testing.assert_allclose(scores.mean(axis=1), p, atol=0.005)
    np.testing.assert_allclose(scores.var(axis=1) * 60 / (p * (1 - p)), 1, atol=0.1)


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(InputError, match="metric 'pearsson' is unknown; did you mean 'pearson'"):
        weighted_scores("pearsson", np.ones(2), np.ones((1, 2)), np.ones((2, 1)))
