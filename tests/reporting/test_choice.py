"""The recommendation of a method: the methods that may be the best, the cheapest of them, the uncertainty."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gluelamp.errors import InputError
from gluelamp.records import FoundRun
from gluelamp.reporting.choice import BASELINE, choice_page, choice_rows, recommended

AddRun = Callable[..., FoundRun]
MERGING = ("head_only", "hiwi", "pafi", "full")


@pytest.fixture
def runs(add_run: AddRun) -> list[FoundRun]:
    """Half of the 100 labels are of each class; the first rows of every run are wrong."""
    sizes = {"head_only": (45, 0), "xpeft": (12, 156), "hiwi": (12, 4000), "full": (10, 90_000)}
    return [add_run(method, wrong=wrong, stored=stored) for method, (wrong, stored) in sizes.items()]


def test_the_cheapest_of_the_possibly_best_that_add_no_latency_is_recommended(runs: list[FoundRun]) -> None:
    rows = choice_rows(runs, MERGING).set_index("method")
    assert list(rows.index) == ["full", "hiwi", "xpeft", "head_only", BASELINE]
    assert rows["possibly_best"].tolist()[:4] == [True, True, True, False]
    assert rows.loc["hiwi", "difference"] == pytest.approx(-0.02)
    assert rows.loc["hiwi", "difference_low"] < -0.02 < rows.loc["hiwi", "difference_high"]
    assert rows.loc[BASELINE, "mean"] == pytest.approx(0.5)
    assert rows["vs_baseline"].tolist()[:4] == ["better", "better", "better", "tie"]
    assert recommended(rows.reset_index()) == "hiwi"


def test_the_sentences_name_the_ties_the_cheapest_and_the_uncertainty(runs: list[FoundRun]) -> None:
    page = choice_page(runs, MERGING, ["lora"], "Take 9 minutes.")
    first, alternatives, certainty, baseline, left_out = page.reading
    assert first.startswith("**Take hiwi**: 88.0 [")
    assert first.endswith("4,000 bytes per task, adds no latency. No method is significantly better.")
    assert alternatives == (
        "Not distinguishable from the best: `full`, `hiwi`, `xpeft`. The cheapest of them in bytes is "
        "`xpeft` (156), but it adds latency; without latency it is `hiwi` (4,000)."
    )
    assert certainty.startswith("How sure: 1 seed, 100 scored rows. `hiwi` - `full`, the best mean: −2.0 [")
    assert certainty.endswith("One seed says nothing about other seeds.")
    assert baseline == "Not significantly better than the majority baseline (50.0): `head_only`."
    assert left_out == "Not tried: `lora`. Take 9 minutes."


def test_without_a_method_above_the_baseline_the_page_says_so(add_run: AddRun) -> None:
    runs = [add_run("lora", wrong=50), add_run("pafi", wrong=49)]
    assert any(text.startswith("No method is significantly better") for text in choice_page(runs, ()).reading)


def test_one_method_is_no_choice(add_run: AddRun) -> None:
    with pytest.raises(InputError, match="Two or more methods"):
        choice_rows([add_run("lora", wrong=50)], ())
