"""Claims: the verdict that records give, its evidence, and honest words where there are none."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

from gluelamp.records import Certificate, FoundRun, Measurement
from gluelamp.reporting.claims import claim_rows, claims_page, latency
from gluelamp.reporting.claims.claim import VERDICTS, superiority
from gluelamp.reporting.rendering.markdown import page_as_markdown as as_markdown
from gluelamp.reporting.sparse_table import sparse_rows
from gluelamp.reporting.xpeft_table import xpeft_rows

AddRun = Callable[..., FoundRun]
TASKS = ("sst2", "rte")
MASKS = {"mask": "hard", "num_adapters": 100, "kind": "XPeft"}
RIVALS = ("fish", "lt_sft", "diff_pruning")


def judged(
    runs: Sequence[FoundRun] = (),
    certificates: Sequence[Certificate] = (),
    counted: Sequence[Measurement] = (),
    written: Sequence[Measurement] = (),
    masks: Sequence[Measurement] = (),
) -> pd.DataFrame:
    return claim_rows(sparse_rows(runs), xpeft_rows(runs, []), certificates, counted, written, masks, {})


def row(claims: pd.DataFrame, start: str) -> dict[str, Any]:
    (found,) = claims[claims["claim"].str.startswith(start)].to_dict("records")
    return found


def measured(kind: str, method: str, backbone: str, config: dict[str, Any], **cells: Any) -> Measurement:
    return Measurement(1, kind, backbone, method, config, [cells])


def hiwi(bottleneck: int, stored: int = 122_880, target: str = "bias") -> Measurement:
    config = {"target": target, "layers": "both", "bottleneck": bottleneck}
    sizes = {"trained": 983_040, "trained_pct": 100 * 983_040 / 354_310_144, "head": 1_051_650}
    return measured(
        "parameters", "hiwi", "roberta_large", config, **sizes, stored_values=stored, stored_bytes=4 * stored
    )


EVEN = {"estimate": 1.002, "low": 0.998, "high": 1.006}
SLOWER = {"estimate": 1.04, "low": 1.03, "high": 1.06}
FASTER = {"estimate": 0.96, "low": 0.94, "high": 0.97}
WIDE = {"estimate": 1.02, "low": 0.9, "high": 1.2}


def certificate(
    method: str,
    verdict: str,
    state: str = "merged",
    ratio: dict[str, float] = EVEN,
    control: dict[str, float] = EVEN,
    attempts: int = 1,
    **structure: Any,
) -> Certificate:
    where = {"type": "cpu", "name": "a processor", "dtype": "float32", "threads": 2}
    same = {part: {"first_difference": None} for part in ("modules", "tensors", "operators")}
    same |= {"flops": {"base": 9, "candidate": 9}, "outputs": {"largest": 2.0, "changed_by_merging": 1e-6}}
    reasons = [] if verdict == "PASS" else ["The reason."]
    texts = (1, "minilm", method, {}, state, verdict, reasons, ratio, control)
    return Certificate(*texts, {"batch": 1, "length": 128}, where, same | structure, [{}] * attempts, {})


def seeds(add_run: AddRun, *of: Any, number: int = 2, **changes: Any) -> list[FoundRun]:
    return [add_run(*of, seed=seed, **changes) for seed in range(number)]


def masks(number: int, kind: str = "hard", **ratios: float) -> Measurement:
    sizes = {"mask_bytes": 312, "adapter_weight_bytes": 3_538_944, "bank_stored_bytes": 56}
    cells = sizes | {"bank_memory_bytes": 353_894_400, "num_adapters": number, "outputs": 2}
    return measured("xpeft_bytes", f"xpeft_{kind}", "bert_base", {"mask": kind}, **cells, **ratios)


@pytest.mark.parametrize(
    ("outcomes", "is_whole", "verdict"),
    [
        ([], True, "not measured"),
        (["better", "better"], True, "supported"),
        (["better", "better"], False, "partly supported"),
        (["better", "tie"], True, "partly supported"),
        (["better", "one seed"], True, "partly supported"),
        (["tie"], True, "not told apart"),
        (["worse", "worse"], True, "contradicted"),
        (["worse", "worse"], False, "partly contradicted"),
        (["tie", "worse"], True, "partly contradicted"),
        (["one seed", "worse"], True, "partly contradicted"),
        (["better", "worse", "tie"], True, "mixed"),
    ],
)
def test_beating_them_all_needs_all_of_them(outcomes: list[str], is_whole: bool, verdict: str) -> None:
    assert superiority(outcomes, is_whole) == verdict
    assert verdict in VERDICTS


def test_without_records_nothing_is_claimed() -> None:
    claims = judged()
    assert set(claims["verdict"]) == {"not measured"}
    assert len(claims) == 8
    assert "- *not measured*: there are no records for it" in as_markdown(claims_page(claims))


@pytest.mark.parametrize(
    ("wrong", "verdict"), [(45, "supported"), (20, "not told apart"), (5, "contradicted")]
)
def test_pafi_is_judged_by_its_mean_over_tasks(add_run: AddRun, wrong: int, verdict: str) -> None:
    runs = [run for task in TASKS for run in seeds(add_run, "pafi", task, wrong=20)]
    runs += [run for rival in RIVALS for task in TASKS for run in seeds(add_run, rival, task, wrong=wrong)]
    claim = row(judged(runs), "PaFi: one mask")
    assert claim["verdict"] == verdict
    assert "seed" not in claim["evidence"]
    assert f"fish: {wrong - 20:+}.0 [".replace("-", "−") in claim["evidence"]
    assert "] on SST-2, RTE, " in claim["evidence"]
    assert claim["scale"] == (
        "minilm_l6, local data, 3 epochs, held-out halves of dev, 2 seeds, SST-2, RTE, 1,000 trained values"
    )


def test_a_verdict_stands_with_those_of_other_choices_of_the_epoch(add_run: AddRun) -> None:
    def masks_where_rivals_are(wrong: int) -> pd.DataFrame:
        rivals = [run for name in RIVALS for run in seeds(add_run, name, wrong=wrong, epochs=wrong)]
        return sparse_rows([*seeds(add_run, "pafi", wrong=20, epochs=wrong), *rivals])

    nothing = pd.DataFrame()
    supporting, contradicting = masks_where_rivals_are(wrong=45), masks_where_rivals_are(wrong=5)
    otherwise = {"best": (supporting, nothing), "last": (contradicting, nothing)}
    claims = claim_rows(supporting, nothing, [], [], [], [], otherwise)
    claim = row(claims, "PaFi: one mask")
    assert claim["verdict"] == "supported"
    assert claim["evidence"].endswith(". By the best epoch: supported; by the last epoch: contradicted.")
    assert "epoch" not in row(claims, "X-PEFT matches")["evidence"]


@pytest.mark.parametrize("wrong", [5, 45])
def test_one_seed_tells_no_masks_apart(add_run: AddRun, wrong: int) -> None:
    runs = [add_run("pafi", wrong=20), *(add_run(rival, wrong=wrong) for rival in RIVALS)]
    claim = row(judged(runs), "PaFi: one mask")
    assert claim["verdict"] == "not told apart"
    assert f"; lt_sft: {wrong - 20:+}.0 [".replace("-", "−") in claim["evidence"]
    assert claim["evidence"].endswith("] on RTE, one seed. One seed cannot tell methods apart.")


def test_a_rival_of_one_seed_leaves_the_word_to_the_others(add_run: AddRun) -> None:
    runs = [*seeds(add_run, "pafi", wrong=20), *seeds(add_run, "fish", wrong=60)]
    runs += [*seeds(add_run, "lt_sft", wrong=60), add_run("diff_pruning", wrong=1)]
    claim = row(judged(runs), "PaFi: one mask")
    assert claim["verdict"] == "partly supported"
    assert [part.rpartition(", ")[2] for part in claim["evidence"].split("; ")] == [
        "one seed",
        "better",
        "better. One seed cannot tell methods apart.",
    ]


def test_a_rival_that_did_not_run_or_has_no_predictions_is_named(add_run: AddRun) -> None:
    runs = [*seeds(add_run, "pafi", wrong=20), *seeds(add_run, "fish", wrong=60)]
    bare = add_run("lt_sft", wrong=60)
    (bare[0] / "predictions.parquet").unlink()
    claim = row(judged([*runs, bare]), "PaFi: one mask")
    assert claim["verdict"] == "partly supported"
    assert claim["evidence"].endswith("; lt_sft, diff_pruning: no complete run with predictions.")


def test_controls_decide_another_claim(add_run: AddRun) -> None:
    claims = judged([*seeds(add_run, "pafi", wrong=20), *seeds(add_run, "sparse_random", wrong=60)])
    assert row(claims, "PaFi: one mask")["verdict"] == "not measured"
    assert row(claims, "PaFi: the smallest")["verdict"] == "partly supported"


def test_the_sample_says_nothing(add_run: AddRun) -> None:
    runs = [add_run("pafi", wrong=20, source="sample"), add_run("fish", wrong=60, source="sample")]
    assert set(judged(runs)["verdict"]) == {"not measured"}


def test_hiwi_stores_its_share_whatever_its_bottleneck() -> None:
    claim = row(judged(counted=[hiwi(4), hiwi(16), hiwi(4, 999, "weight")]), "HiWi stores")
    assert claim["verdict"] == "supported"
    assert claim["evidence"] == (
        "122,880 values, 491,520 bytes in fp32: 0.0347 % of the encoder's 354,310,144 values, 0.331 % with "
        "the task head. The same at bottlenecks 4, 16."
    )


def test_one_bottleneck_is_not_any_and_files_count_where_they_were_written() -> None:
    config = {"target": "bias", "layers": "both", "bottleneck": 4}
    sizes = {"task_file_bytes": 4_703_912, "head_bytes": 4_206_600}
    written = measured("storage", "hiwi", "roberta_large", config, **sizes)
    claim = row(judged(counted=[hiwi(4)], written=[written]), "HiWi stores")
    assert claim["verdict"] == "partly supported"
    assert "a file of 4,703,912 bytes, of which 4,206,600 are the head's." in claim["evidence"]


@pytest.mark.parametrize("stored", [122_881 * 2, 140_000])
def test_more_than_its_share_contradicts(stored: int) -> None:
    assert (
        row(judged(counted=[hiwi(4, stored), hiwi(16, stored)]), "HiWi stores")["verdict"] == "contradicted"
    )
    assert row(judged(counted=[hiwi(4), hiwi(16, stored)]), "HiWi stores")["verdict"] == "contradicted"


def test_latency_is_what_the_certificates_of_merged_models_say() -> None:
    claims = judged(
        certificates=[
            certificate("pafi", "PASS"),
            certificate("hiwi", "FAIL", operators={"first_difference": "another operator"}),
            certificate("hiwi_weight", "FAIL", state="unmerged"),
            certificate("lora", "PASS"),
        ]
    )
    latency = claims[claims["claim"].str.contains("latency")].set_index("claim")
    assert latency["verdict"].tolist() == ["supported", "contradicted", "not measured"]
    assert latency["evidence"].tolist()[:2] == [
        "Certificate PASS: time over the bare backbone's 1.002 [0.998, 1.006]. "
        "Same modules, shapes, operators and FLOPs as the bare backbone.",
        "Certificate FAIL: time over the bare backbone's 1.002 [0.998, 1.006]. The reason.",
    ]
    assert latency["scale"].tolist()[0].startswith("minilm, random weights, batch 1 x 128 tokens, cpu")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"ratio": SLOWER}, "contradicted"),
        ({"ratio": SLOWER, "control": SLOWER}, "not told apart"),
        ({"ratio": SLOWER, "control": FASTER}, "not told apart"),
        ({"ratio": FASTER}, "not told apart"),
        ({"ratio": WIDE}, "not told apart"),
        ({"flops": {"base": 9, "candidate": 10}}, "contradicted"),
        ({"modules": {"first_difference": "another module"}}, "contradicted"),
        ({"outputs": {"largest": 2.0, "changed_by_merging": 3e-5}}, "contradicted"),
        ({"outputs": {"largest": float("nan"), "changed_by_merging": 0.0}}, "contradicted"),
    ],
)
def test_a_failed_certificate_contradicts_where_the_model_is_another_or_slower(
    changes: dict[str, Any], verdict: str
) -> None:
    failed = certificate("pafi", "FAIL", attempts=3, **changes)
    claim = row(judged(certificates=[failed]), "PaFi adds")
    assert claim["verdict"] == verdict
    assert claim["evidence"].startswith("Certificate FAIL after 3 attempts: time over")


def test_outputs_are_held_to_the_tolerance_of_certificates() -> None:
    from gluelamp.measurement.paired_timing import MERGE_TOLERANCE  # imports torch

    assert latency.TOLERANCE == MERGE_TOLERANCE


@pytest.mark.parametrize(
    ("wrong", "none", "verdict", "reading"),
    [
        (60, 60, "contradicted", "Worse than the adapter."),
        (20, 60, "supported", "Within two points of the adapter, and better than head_only."),
        (21, 60, "not told apart", "but the interval leaves room for a loss of two points."),
        (21, 22, "not told apart", "Not better than head_only either: it cannot be told."),
        (21, None, "not told apart", "Without head_only it cannot be told what masks contribute."),
    ],
)
def test_x_peft_matches_the_adapter_only_where_no_adapter_is_worse(
    add_run: AddRun, wrong: int, none: int | None, verdict: str, reading: str
) -> None:
    runs = [
        *seeds(add_run, "pfeiffer", wrong=20, stored=40_000),
        *seeds(add_run, "xpeft", wrong=wrong, stored=10, options=MASKS),
    ]
    runs += seeds(add_run, "head_only", wrong=none) if none is not None else []
    claim = row(judged(runs), "X-PEFT matches")
    assert claim["claim"] == "X-PEFT matches adapter tuning (xpeft, N = 100)"
    assert claim["verdict"] == verdict
    assert reading in claim["evidence"]
    assert claim["evidence"].endswith("1/4,000 of the adapter's bytes with its biases, with the head 1/445.")


@pytest.mark.parametrize("single", ["pfeiffer", "xpeft", "head_only"])
def test_one_seed_tells_no_adapters_apart(add_run: AddRun, single: str) -> None:
    methods = (("pfeiffer", 20, {}), ("xpeft", 20, MASKS), ("head_only", 60, {}))
    runs = [
        run
        for method, wrong, options in methods
        for run in seeds(add_run, method, wrong=wrong, options=options, number=1 if method == single else 2)
    ]
    claim = row(judged(runs), "X-PEFT matches")
    assert claim["verdict"] == "not told apart"
    assert "xpeft less head_only: +40.0 [" in claim["evidence"]
    assert claim["evidence"].count(", one seed") == 2
    assert ". One seed cannot tell methods apart. " in claim["evidence"]


@pytest.mark.parametrize(
    ("none", "verdict", "reading"),
    [
        (60, "supported", "Within two points of the adapter, and better than head_only."),
        (21, "not told apart", "Not better than head_only either: it cannot be told."),
    ],
)
def test_a_loss_that_is_surely_below_two_points_does_not_contradict(
    add_run: AddRun, none: int, verdict: str, reading: str
) -> None:
    tasks = ("sst2", "mrpc", "qqp", "qnli", "rte", "wnli", "mnli")
    methods = (("pfeiffer", 20, {}), ("xpeft", 21, MASKS), ("head_only", none, {}))
    runs = [
        run
        for task in tasks
        for method, wrong, options in methods
        for run in seeds(add_run, method, task, wrong=wrong, options=options)
    ]
    claim = row(judged(runs), "X-PEFT matches")
    assert re.search(r"xpeft less pfeiffer: −1.0 \[−1.7, −0.3\] on .*MNLI.*, worse; ", claim["evidence"])
    assert claim["verdict"] == verdict
    assert reading in claim["evidence"]


@pytest.mark.parametrize(
    ("factor", "with_head", "verdict"),
    [(11_342.8, 548.4, "mixed"), (20_000, 10_000, "supported"), (9_999, 500, "contradicted")],
)
def test_the_factor_of_bytes_counts_with_and_without_the_head(
    factor: float, with_head: float, verdict: str
) -> None:
    soft, hard = masks(100, "soft", factor=1), masks(100, factor=factor, factor_with_head=with_head)
    claim = row(judged(masks=[soft, hard]), "A profile of X-PEFT")
    assert claim["verdict"] == verdict
    assert f"1/{factor:,.0f}; with a head of 2 classes on both sides 1/{with_head:,.0f}" in claim["evidence"]


def test_the_papers_100_adapters_decide_and_the_largest_bank_is_shown() -> None:
    small = masks(50, factor=20_000, factor_with_head=20_000)
    claimed = masks(100, factor=9_000, factor_with_head=500)
    large = [masks(number, factor=2_000, factor_with_head=400) for number in (400, 800)]
    claim = row(judged(masks=[small, claimed, *large]), "A profile of X-PEFT")
    assert claim["verdict"] == "contradicted"
    assert re.findall(r"N = (\d+)", claim["evidence"]) == ["100", "800"]
    claim = row(judged(masks=[small, *large]), "A profile of X-PEFT")
    assert claim["verdict"] == "not measured"
    assert claim["evidence"] == "The bytes of hard masks over 100 adapters were not counted."
