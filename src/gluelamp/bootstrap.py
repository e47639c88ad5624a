"""The interval of a mean over few units, such as persons or blocks of a measurement."""

from __future__ import annotations

import numpy as np

_SEED = 0
_RESAMPLES = 9999
_LEVEL = 0.95


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean; the units are resampled.

    The percentiles are widened for a small number of units as Hesterberg (What Teachers Should Know About the
    Bootstrap, 2015, section 5.4) does: ten normal ones then miss the truth in 5 % of cases and not in 10 %.

    Args:
        values: one per unit, shape (n,), n at least 2.
    """
    from scipy.stats import bootstrap, norm, t  # slow to import

    n = len(values)
    outside = 2 * norm.cdf(np.sqrt(n / (n - 1)) * t.ppf((1 - _LEVEL) / 2, n - 1))
    found = bootstrap(
        (values,),
        np.mean,
        confidence_level=1 - outside,
        n_resamples=_RESAMPLES,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)
