"""What papers print of a method's size, against the same setting counted here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gluelamp.cli.app import CONFIGS
from gluelamp.experiments.measure import MeasureConfig
from gluelamp.measurement.parameters import measure_parameters
from gluelamp.reporting.published import PublishedCount, read_counts

COUNTS = read_counts(CONFIGS.parent / "results" / "published" / "counts" / "parameters.csv")


def rounding(count: PublishedCount) -> float:
    """Half a unit of the last printed digit, as a share of the printed number."""
    number = count.published.rstrip(" %MK")
    return 0.5 * 10.0 ** -len(number.partition(".")[2]) / float(number)


@pytest.mark.parametrize(
    "count",
    [one for one in COUNTS if one.backbone],
    ids=lambda one: f"{one.method}-{one.backbone}-{one.published}",
)
def test_a_printed_count_is_ours_to_its_last_digit_or_says_why_not(
    count: PublishedCount, measuring: Callable[..., MeasureConfig]
) -> None:
    options = [f"method.{option}" for option in count.setting.split()]
    config = measuring(f"backbone={count.backbone}", f"method={count.method}", *options)
    (row,) = measure_parameters(config.backbone, config.method)
    difference = abs(count.ratio(row) - 1)
    assert count.note or difference <= rounding(count)
    assert (
        difference <= max(0.1, rounding(count))
        or "not explained" in count.note
        or "cut and not rounded" in count.note
    )
