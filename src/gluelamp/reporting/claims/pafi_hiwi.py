"""The claims of the paper on PaFi and HiWi: masks for all tasks, storage, and no added latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.records import Certificate, Measurement
from gluelamp.records.measurements import MERGE_TOLERANCE
from gluelamp.reporting.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_MEASURED,
    ONE_SEED_NOTE,
    PARTLY,
    SUPPORTED,
    Claim,
    difference_text,
    paired_scale,
    superiority,
)
from gluelamp.reporting.rendering import PERCENTAGE
from gluelamp.reporting.tables.paired import ONE_SEED, OVERALL, outcome
from gluelamp.reporting.tables.sparse_masks import CONTROLS, PAFI, SECTION, TASK_SPECIFIC

MASKS_CLAIM = "PaFi: one mask for all tasks is better than task-specific masks"
CONTROLS_CLAIM = "PaFi: the smallest weights are a better choice than random, largest or middle ones"
_SEE_ALSO = {
    MASKS_CLAIM: " See also ID3 (Agarwal et al., TACL 2025), the one comparison by others that we found: "
    "its best fixed mask of 320,000 values on GLUE is FISH, a task-specific mask, and not PaFi. This is from "
    "a summary by the authors' laboratory; it was not checked in the paper's tables."
}
_METHOD_NAMES = {"fish": "FISH", "lt_sft": "LT-SFT", "diff_pruning": "diff pruning"}
_OPPOSITE = {"better": "worse", "worse": "better"}
_BACKBONE = "roberta_large"
STORAGE_CLAIM = "HiWi stores 0.03 % of full fine-tuning, whatever its bottleneck"
_STORED_PERCENTAGE = 0.03
_MERGED_METHODS = {"pafi": "PaFi", "hiwi": "HiWi", "hiwi_weight": "HiWi on the weights"}
_PARTS = ("modules", "tensors", "operators")


def mask_claims(rows: pd.DataFrame) -> Iterator[Claim]:
    """Compare PaFi with masks of the same size, by the mean over tasks.

    Args:
        rows: of `gluelamp.reporting.tables.sparse_masks.sparse_rows`, without the sample.
    """
    scopes = [scope for _, scope in rows.groupby(SECTION, sort=False)] if len(rows) else []
    for claim, rivals in ((MASKS_CLAIM, TASK_SPECIFIC), (CONTROLS_CLAIM, CONTROLS)):
        claims = [_mask_claim(claim, scope, rivals) for scope in scopes]
        measured = [one for one in claims if one.verdict != NOT_MEASURED]
        names = f"{', '.join(rivals[:-1])} or {rivals[-1]}"
        missing = f"No runs of {PAFI} and {names} with predictions at equal budget."
        yield from measured or [Claim(claim, "", NOT_MEASURED, missing)]


def _mask_claim(claim: str, scope: pd.DataFrame, rivals: Sequence[str]) -> Claim:
    means = scope[(scope["task"] == OVERALL) & scope["method"].isin(rivals)]
    outcomes, texts = [], []
    for _, row in means.iterrows():
        # The table has rival - PaFi, the claim is about PaFi - rival
        reverse = outcome(row, PAFI)
        outcomes.append(_OPPOSITE.get(reverse, reverse))
        bounds = (-row["vs_pafi_high"], -row["vs_pafi_low"])
        difference = difference_text(-row["vs_pafi"], *bounds, row["vs_pafi_tasks"], row["vs_pafi_collapsed"])
        name = _METHOD_NAMES.get(row["method"], row["method"])
        texts.append(f"PaFi - {name}: {difference}, {outcomes[-1]}")
    missing = [_METHOD_NAMES.get(rival, rival) for rival in rivals if rival not in set(means["method"])]
    if missing:
        texts.append(f"{', '.join(missing)}: no complete run with predictions")
    scale = f"{paired_scale(means, PAFI)}, {scope['trained'].iloc[0]:,} trained values"
    note = f" {ONE_SEED_NOTE}" if ONE_SEED in outcomes else ""
    evidence = f"{'; '.join(texts)}.{note}{_SEE_ALSO.get(claim, '')}"
    first = scope.iloc[0]
    return Claim(
        claim,
        scale,
        superiority(outcomes, not missing),
        evidence,
        collapsed=int(means["vs_pafi_collapsed"].sum()),
        head=first["head"],
        data=(first["data"], first["backbone"], str(first["trained"])),
    )


def storage_claim(counted: Sequence[Measurement], written: Sequence[Measurement]) -> Claim:
    """Evaluate the stored values of HiWi on the biases, and give the bytes of its files if there are any.

    Args:
        counted: measurements of kind ``parameters``.
        written: measurements of kind ``storage``.
    """
    hiwi = [one for one in counted if _is_hiwi(one)]
    if not hiwi:
        return Claim(STORAGE_CLAIM, _BACKBONE, NOT_MEASURED, "HiWi was not counted on this backbone.")
    row = hiwi[0].rows[0]
    values, head = row["stored_values"], row["head"]
    # The measurement stores the percentage and not the size of the backbone.
    backbone_values = 100 * row["trained"] / row["trained_pct"]
    percentage = 100 * values / backbone_values
    with_head = 100 * (values + head) / backbone_values
    bottlenecks = sorted({one.config["bottleneck"] for one in hiwi})
    is_constant = len({one.rows[0]["stored_values"] for one in hiwi}) == 1
    evidence = [
        f"{values:,} values, {row['stored_bytes']:,} bytes in fp32: {PERCENTAGE.text(percentage)} % of the "
        f"encoder's {backbone_values:,.0f} values, {PERCENTAGE.text(with_head)} % with the task head",
        f"{'The same' if is_constant else 'Not the same'} at bottlenecks {', '.join(map(str, bottlenecks))}"
        if len(bottlenecks) > 1
        else f"One bottleneck counted: {bottlenecks[0]}",
        *(_file_sizes(one) for one in written if _is_hiwi(one)),
    ]
    # The paper prints two decimals: 0.0347 % is its 0.03 %.
    agrees = round(percentage, 2) <= _STORED_PERCENTAGE and is_constant
    verdict = CONTRADICTED if not agrees else SUPPORTED if len(bottlenecks) > 1 else PARTLY
    return Claim(STORAGE_CLAIM, f"{_BACKBONE}, random weights", verdict, f"{'. '.join(evidence)}.")


def _is_hiwi(one: Measurement) -> bool:
    options = (one.config.get("target"), one.config.get("layers"))
    return (one.backbone, one.method, *options) == (_BACKBONE, "hiwi", "bias", "both")


def _file_sizes(one: Measurement) -> str:
    row = one.rows[0]
    return (
        f"Written at bottleneck {one.config['bottleneck']}: a file of {row['task_file_bytes']:,} bytes, "
        f"{row['head_bytes']:,} of them for the head"
    )


def latency_claims(certificates: Sequence[Certificate]) -> Iterator[Claim]:
    """Evaluate the certificates of merged models.

    Args:
        certificates: all; those of other methods, and of unmerged models, are skipped.
    """
    for method, name in _MERGED_METHODS.items():
        claim = f"{name} adds no inference latency"
        merged = [one for one in certificates if one.method == method and one.state == "merged"]
        yield from (_latency_claim(claim, one) for one in merged)
        if not merged:
            yield Claim(claim, "", NOT_MEASURED, "There is no certificate.")


def _latency_claim(claim: str, one: Certificate) -> Claim:
    machine, protocol = one.machine, one.protocol
    estimate, low, high = (f"{one.ratio[name]:.3f}" for name in ("estimate", "low", "high"))
    time = f"ratio to the time of the bare backbone {estimate} [{low}, {high}]"
    reasons = " ".join(one.reasons) or "Same modules, shapes, operators and FLOPs as the bare backbone."
    attempts = f" after {len(one.attempts)} attempts" if len(one.attempts) > 1 else ""
    evidence = f"Certificate {one.verdict}{attempts}: {time}. {reasons}"
    threads = f"{machine['threads']} {'thread' if machine['threads'] == 1 else 'threads'}"
    device = f"{machine['type']} ({machine['name']}), {machine['dtype']}, {threads}"
    batch = f"batch {protocol['batch']} x {protocol['length']} tokens"
    return Claim(claim, f"{one.backbone}, random weights, {batch}, {device}", _latency_verdict(one), evidence)


def _latency_verdict(one: Certificate) -> str:
    if one.verdict == "PASS":
        return SUPPORTED
    # If the interval of a second bare copy does not contain 1.00 either, the cause is the machine
    is_slower = one.ratio["low"] > 1 and one.control["low"] <= 1 <= one.control["high"]
    return CONTRADICTED if is_slower or not _is_same_model(one.structure) else INCONCLUSIVE


def _is_same_model(structure: Mapping[str, Any]) -> bool:
    flops, outputs = structure["flops"], structure["outputs"]
    # Written so that outputs of NaN are not the same.
    has_same_outputs = outputs["changed_by_merging"] <= MERGE_TOLERANCE * outputs["largest"]
    differs = any(structure[part]["first_difference"] for part in _PARTS)
    return has_same_outputs and not differs and flops["base"] == flops["candidate"]
