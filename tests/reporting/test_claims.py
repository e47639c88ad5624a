"""Claims: the verdicts that follow from records, their evidence, and no verdict without records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

from gluelamp.records import Certificate, FoundRun, Measurement
from gluelamp.reporting.claims import claim_rows, claims_page
from gluelamp.reporting.claims.claim import VERDICTS, superiority
from gluelamp.reporting.rendering.markdown import page_as_markdown
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.summary import summarise
from gluelamp.reporting.tables.sparse_masks import sparse_rows
from gluelamp.reporting.tables.xpeft import xpeft_rows

AddRun = Callable[..., FoundRun]
TASKS = ("sst2", "rte")
MASKS = {"mask": "hard", "num_adapters": 100, "kind": "XPeft"}
RIVALS = ("fish", "lt_sft", "diff_pruning")


def claims_on(
    runs: Sequence[FoundRun] = (),
    certificates: Sequence[Certificate] = (),
    counted: Sequence[Measurement] = (),
    written: Sequence[Measurement] = (),
    masks: Sequence[Measurement] = (),
) -> pd.DataFrame:
    summary = summarise(score_table(runs))
    tables = (sparse_rows(summary), xpeft_rows(summary, []))
    return claim_rows(*tables, certificates, counted, written, masks, {})


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


def seeds(add_run: AddRun, *options: Any, number: int = 2, **changes: Any) -> list[FoundRun]:
    return [add_run(*options, seed=seed, **changes) for seed in range(number)]


def masks(number: int, kind: str = "hard", **ratios: Any) -> Measurement:
    sizes = {"mask_bytes": 312, "adapter_weight_bytes": 3_538_944, "bank_stored_bytes": 56}
    cells = sizes | {
        "bank_memory_bytes": 353_894_400,
        "num_adapters": number,
        "outputs": 2,
        "head": "two_layer",
    }
    return measured("xpeft_bytes", f"xpeft_{kind}", "bert_base", {"mask": kind}, **cells, **ratios)


@pytest.mark.parametrize(
    ("outcomes", "is_complete", "verdict"),
    [
        ([], True, "not measured"),
        (["better", "better"], True, "supported"),
        (["better", "better"], False, "partly supported"),
        (["better", "tie"], True, "partly supported"),
        (["better", "one seed"], True, "partly supported"),
        (["tie"], True, "inconclusive"),
        (["worse", "worse"], True, "contradicted"),
        (["worse", "worse"], False, "partly contradicted"),
        (["tie", "worse"], True, "partly contradicted"),
        (["one seed", "worse"], True, "partly contradicted"),
        (["better", "worse", "tie"], True, "mixed"),
    ],
)
def test_superiority_needs_a_better_outcome_for_all(
    outcomes: list[str], is_complete: bool, verdict: str
) -> None:
    assert superiority(outcomes, is_complete) == verdict
    assert verdict in VERDICTS


def test_without_records_nothing_is_claimed(add_run: AddRun) -> None:
    sample = [add_run(method, source="sample") for method in ("pafi", "fish")]  # synthetic: no evidence
    for claims in (claims_on(), claims_on(sample)):
        assert claims["verdict"].tolist() == ["not measured"] * 8
    assert "- *not measured*: there are no records" in page_as_markdown(claims_page(claims))


@pytest.mark.parametrize(("wrong", "verdict"), [(45, "supported"), (20, "inconclusive"), (5, "contradicted")])
def test_pafi_is_evaluated_by_its_mean_over_tasks(add_run: AddRun, wrong: int, verdict: str) -> None:
    runs = [run for task in TASKS for run in seeds(add_run, "pafi", task, wrong=20)]
    runs += [run for rival in RIVALS for task in TASKS for run in seeds(add_run, rival, task, wrong=wrong)]
    claims = claims_on(runs)
    claim = row(claims, "PaFi: one mask")
    assert claim["verdict"] == verdict
    assert "seed" not in claim["evidence"]
    assert f"PaFi - FISH: {wrong - 20:+}.0 [".replace(": -", ": −") in claim["evidence"]
    assert "] on SST-2, RTE, " in claim["evidence"]
    selection = "cross-fitted (2-fold) epoch selection"
    assert claim["scale"] == (
        f"minilm_l6, linear head, local data, 3 epochs, {selection}, 2 seeds, SST-2, RTE, "
        "1,000 trained values"
    )
    assert row(claims, "PaFi: the smallest")["verdict"] == "not measured"


def masks_where_rivals_are(add_run: AddRun, wrong: int, collapsed: bool = False) -> pd.DataFrame:
    runs = [run for name in RIVALS for run in seeds(add_run, name, wrong=wrong, epochs=wrong)]
    runs += seeds(add_run, "pafi", wrong=20, epochs=wrong)
    return sparse_rows(summarise(score_table(runs))).assign(vs_pafi_collapsed=int(collapsed))


def test_the_verdicts_by_other_selections_and_metrics_are_the_sensitivity(add_run: AddRun) -> None:
    nothing = pd.DataFrame()
    supporting, contradicting = (masks_where_rivals_are(add_run, wrong) for wrong in (45, 5))
    alternatives = {"best": (supporting, nothing), "roc_auc": (contradicting, nothing)}
    claims = claim_rows(supporting, nothing, [], [], [], [], alternatives)
    claim = row(claims, "PaFi: one mask")
    assert claim["verdict"] == "supported"
    assert claim["sensitivity"] == (
        "By the best epoch: supported; by ROC AUC after the last epoch: contradicted. "
        "The verdict depends on these choices."
    )
    assert row(claims, "X-PEFT matches")["sensitivity"] == ""


@pytest.mark.parametrize(("auc_wrong", "verdict"), [(45, "supported"), (5, "inconclusive")])
def test_a_verdict_on_collapsed_runs_needs_the_same_verdict_by_roc_auc(
    add_run: AddRun, auc_wrong: int, verdict: str
) -> None:
    nothing = pd.DataFrame()
    rows, by_auc = (
        masks_where_rivals_are(add_run, 45, collapsed=True),
        masks_where_rivals_are(add_run, auc_wrong),
    )
    claim = row(claim_rows(rows, nothing, [], [], [], [], {"roc_auc": (by_auc, nothing)}), "PaFi: one mask")
    assert claim["verdict"] == verdict
    assert claim["evidence"].count("on RTE (1 collapsed run), better") == 3
    is_lost = "without regard to collapsed runs: supported" in claim["sensitivity"]
    assert is_lost == (verdict != "supported")


def test_each_head_has_its_claim_with_the_verdict_of_the_other_head(add_run: AddRun) -> None:
    runs = [
        run
        for head, wrong in (("linear", 5), ("two_layer", 45))
        for name in ("pafi", *RIVALS)
        for run in seeds(add_run, name, wrong=20 if name == "pafi" else wrong, head={"type": head})
    ]
    claims = claims_on(runs)
    masks = claims[claims["claim"].str.startswith("PaFi: one mask")]
    assert masks["scale"].str.split(", ").str[1].tolist() == ["two-layer head", "linear head"]
    assert masks["verdict"].tolist() == ["supported", "contradicted"]
    assert masks["sensitivity"].tolist() == [
        "With the linear head: contradicted. The verdict depends on these choices.",
        "With the two-layer head: supported. The verdict depends on these choices.",
    ]


def test_the_comparison_by_others_is_cited_without_numbers_of_its_scores(add_run: AddRun) -> None:
    runs = [run for name in ("pafi", "fish", "sparse_random") for run in seeds(add_run, name)]
    claims = claims_on(runs)
    assert "ID3 (Agarwal et al., TACL 2025)" in row(claims, "PaFi: one mask")["evidence"]
    assert "was not checked in the paper" in row(claims, "PaFi: one mask")["evidence"]
    assert "ID3" not in row(claims, "PaFi: the smallest")["evidence"]


def test_rivals_with_one_seed_have_no_verdict(add_run: AddRun) -> None:
    runs = seeds(add_run, "pafi", wrong=20)
    runs += [
        add_run(rival, wrong=wrong) for rival, wrong in (("fish", 60), ("diff_pruning", 1), ("lt_sft", 60))
    ]
    claim = row(claims_on(runs), "PaFi: one mask")
    assert claim["verdict"] == "inconclusive"
    assert claim["evidence"].count(" on RTE, one seed") == 3
    assert ". One seed is not enough to compare methods. See also" in claim["evidence"]
    claim = row(claims_on([*runs, add_run("lt_sft", wrong=60, seed=2)]), "PaFi: one mask")
    assert claim["verdict"] == "partly supported"
    differences = claim["evidence"].partition(" See also")[0].split("; ")
    assert [part.rpartition(", ")[2] for part in differences] == [
        *("one seed", "one seed", "better. One seed is not enough to compare methods."),
    ]


def test_rivals_without_runs_or_predictions_are_named(add_run: AddRun) -> None:
    runs = [*seeds(add_run, "pafi", wrong=20), *seeds(add_run, "fish", wrong=60)]
    runs += seeds(add_run, "sparse_random", wrong=60)
    bare = add_run("lt_sft", wrong=60)
    (bare[0] / "predictions.parquet").unlink()
    claims = claims_on([*runs, bare])
    claim = row(claims, "PaFi: one mask")
    assert claim["verdict"] == "partly supported"
    assert "; LT-SFT, diff pruning: no complete run with predictions. See also" in claim["evidence"]
    assert row(claims, "PaFi: the smallest")["verdict"] == "partly supported"


def test_hiwi_stores_its_percentage_at_every_bottleneck() -> None:
    claim = row(claims_on(counted=[hiwi(4), hiwi(16), hiwi(4, 999, "weight")]), "HiWi stores")
    assert claim["verdict"] == "supported"
    assert claim["evidence"] == (
        "122,880 values, 491,520 bytes in fp32: 0.0347 % of the encoder's 354,310,144 values, 0.331 % with "
        "the task head. The same at bottlenecks 4, 16."
    )
    for counted in ([hiwi(4, 140_000), hiwi(16, 140_000)], [hiwi(4), hiwi(16, 140_000)]):
        assert row(claims_on(counted=counted), "HiWi stores")["verdict"] == "contradicted"


def test_one_bottleneck_is_a_part_of_the_claim_and_written_files_are_evidence() -> None:
    config = {"target": "bias", "layers": "both", "bottleneck": 4}
    sizes = {"task_file_bytes": 4_703_912, "head_bytes": 4_206_600}
    written = measured("storage", "hiwi", "roberta_large", config, **sizes)
    claim = row(claims_on(counted=[hiwi(4)], written=[written]), "HiWi stores")
    assert claim["verdict"] == "partly supported"
    assert "a file of 4,703,912 bytes, 4,206,600 of them for the head." in claim["evidence"]


def test_latency_is_evaluated_by_the_certificates_of_merged_models() -> None:
    claims = claims_on(
        certificates=[
            certificate("pafi", "PASS"),
            certificate("hiwi", "FAIL", operators={"first_difference": "another operator"}),
            certificate("hiwi_weight", "FAIL", state="unmerged"),
            certificate("lora", "PASS"),
        ]
    )
    found = claims[claims["claim"].str.contains("latency")].set_index("claim")
    assert found["verdict"].tolist() == ["supported", "contradicted", "not measured"]
    assert found["evidence"].tolist()[:2] == [
        "Certificate PASS: ratio to the time of the bare backbone 1.002 [0.998, 1.006]. "
        "Same modules, shapes, operators and FLOPs as the bare backbone.",
        "Certificate FAIL: ratio to the time of the bare backbone 1.002 [0.998, 1.006]. The reason.",
    ]
    assert found["scale"].tolist()[0].startswith("minilm, random weights, batch 1 x 128 tokens, cpu")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"ratio": SLOWER}, "contradicted"),
        ({"ratio": SLOWER, "control": SLOWER}, "inconclusive"),
        ({"ratio": SLOWER, "control": FASTER}, "inconclusive"),
        ({"ratio": FASTER}, "inconclusive"),
        ({"ratio": WIDE}, "inconclusive"),
        ({"flops": {"base": 9, "candidate": 10}}, "contradicted"),
        ({"modules": {"first_difference": "another module"}}, "contradicted"),
        ({"outputs": {"largest": 2.0, "changed_by_merging": 3e-5}}, "contradicted"),
        ({"outputs": {"largest": float("nan"), "changed_by_merging": 0.0}}, "contradicted"),
    ],
)
def test_a_failed_certificate_contradicts_if_the_model_is_different_or_slower(
    changes: dict[str, Any], verdict: str
) -> None:
    failed = certificate("pafi", "FAIL", attempts=3, **changes)
    claim = row(claims_on(certificates=[failed]), "PaFi adds")
    assert claim["verdict"] == verdict
    assert claim["evidence"].startswith("Certificate FAIL after 3 attempts: ratio to the time")


@pytest.mark.parametrize(
    ("wrong", "none", "verdict", "reason"),
    [
        (60, 60, "contradicted", "Worse than the adapter."),
        (20, 60, "supported", "Within two points of the adapter, and better than head_only."),
        (21, 60, "inconclusive", "but a loss of two points is within the interval."),
        (21, 22, "inconclusive", "Not better than head_only either."),
        (21, None, "inconclusive", "Without head_only, the contribution of the masks is unknown."),
    ],
)
def test_x_peft_matches_the_adapter_only_if_no_adapter_is_worse(
    add_run: AddRun, wrong: int, none: int | None, verdict: str, reason: str
) -> None:
    runs = seeds(add_run, "pfeiffer", wrong=20, stored=40_000)
    runs += seeds(add_run, "xpeft", wrong=wrong, stored=10, options=MASKS)
    runs += seeds(add_run, "head_only", wrong=none) if none is not None else []
    claim = row(claims_on(runs), "X-PEFT matches")
    assert claim["claim"] == "X-PEFT matches adapter tuning (xpeft, N = 100)"
    assert claim["verdict"] == verdict
    assert reason in claim["evidence"]
    assert claim["evidence"].endswith("1/4,000 of the adapter's bytes with its biases, with the head 1/445.")


@pytest.mark.parametrize("single", ["pfeiffer", "xpeft", "head_only"])
def test_one_seed_is_not_enough_for_a_match(add_run: AddRun, single: str) -> None:
    methods = (("pfeiffer", 20, {}), ("xpeft", 20, MASKS), ("head_only", 60, {}))
    runs = [
        run
        for method, wrong, options in methods
        for run in seeds(add_run, method, wrong=wrong, options=options, number=1 if method == single else 2)
    ]
    claim = row(claims_on(runs), "X-PEFT matches")
    assert claim["verdict"] == "inconclusive"
    assert "xpeft - head_only: +40.0 [" in claim["evidence"]
    assert claim["evidence"].count(", one seed") == 2
    assert ". One seed is not enough to compare methods. " in claim["evidence"]


def test_a_loss_that_is_surely_below_two_points_does_not_contradict(add_run: AddRun) -> None:
    tasks = ("sst2", "mrpc", "qqp", "qnli", "rte", "wnli", "mnli")

    def runs(method: str, wrong: int, **changes: Any) -> list[FoundRun]:
        return [run for task in tasks for run in seeds(add_run, method, task, wrong=wrong, **changes)]

    both = [*runs("pfeiffer", 20), *runs("xpeft", 21, options=MASKS)]
    for wrong, verdict, reason in (
        (60, "supported", "Within two points of the adapter, and better than head_only."),
        (21, "inconclusive", "Not better than head_only either."),
    ):
        rivals = runs("head_only", wrong, options={"rank": wrong})
        claim = row(claims_on([*both, *rivals]), "X-PEFT matches")
        assert re.search(r"xpeft - pfeiffer: −1.0 \[−1.7, −0.3\] on .*MNLI.*, worse; ", claim["evidence"])
        assert claim["verdict"] == verdict
        assert reason in claim["evidence"]


@pytest.mark.parametrize(
    ("factor", "with_head", "verdict"),
    [(11_342.8, 548.4, "mixed"), (20_000, 10_000, "supported"), (9_999, 500, "contradicted")],
)
def test_the_factor_of_bytes_counts_with_and_without_the_head(
    factor: float, with_head: float, verdict: str
) -> None:
    soft, hard = masks(100, "soft", factor=1), masks(100, factor=factor, factor_with_head=with_head)
    claim = row(claims_on(masks=[soft, hard]), "A profile of X-PEFT")
    assert claim["verdict"] == verdict
    assert (
        f"1/{factor:,.0f}; with the head of 2 classes on both sides: two-layer head 1/{with_head:,.1f}"
        in claim["evidence"]
    )


def test_the_papers_100_adapters_decide_and_the_largest_bank_is_shown() -> None:
    small = masks(50, factor=20_000, factor_with_head=20_000)
    claimed = masks(100, factor=9_000, factor_with_head=500)
    large = [masks(number, factor=2_000, factor_with_head=400) for number in (400, 800)]
    claim = row(claims_on(masks=[small, claimed, *large]), "A profile of X-PEFT")
    assert claim["verdict"] == "contradicted"
    assert re.findall(r"N = (\d+)", claim["evidence"]) == ["100", "800"]
    claim = row(claims_on(masks=[small, *large]), "A profile of X-PEFT")
    assert claim["verdict"] == "not measured"
    assert claim["evidence"] == "The bytes of hard masks over 100 adapters were not counted."
