"""The confidence interval of a mean over few units, such as users or blocks of a measurement."""

from __future__ import annotations

import numpy as np

_SEED = 0
_RESAMPLES = 9999
_LEVEL = 0.95


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean; the units are resampled.

    For few units, percentile intervals are too narrow: for ten normal units they miss the true mean in 10 %
    of cases instead of 5 %. The percentiles are therefore widened as in Hesterberg (What Teachers Should Know
    About the Bootstrap, 2015, section 5.4).

    Args:
        values: one per unit, shape (n,), n at least 2.
    """
    from scipy.stats import bootstrap, norm, t  # slow to import

    n = len(values)
    # The normal quantile that reaches as far as Student's t with n - 1 degrees of freedom. The factor
    # corrects the standard error of the bootstrap, which divides by n and not by n - 1.
    tails = 2 * norm.cdf(np.sqrt(n / (n - 1)) * t.ppf((1 - _LEVEL) / 2, n - 1))
    interval = bootstrap(
        (values,),
        np.mean,
        confidence_level=1 - tails,
        n_resamples=_RESAMPLES,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)
