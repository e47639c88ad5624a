"""X-PEFT's claims: the accuracy of adapter tuning, with 1/10,000 of the bytes per profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.records import Measurement
from gluelamp.reporting.claims.claim import (
    CONTRADICTED,
    INCONCLUSIVE,
    MIXED,
    NOT_MEASURED,
    ONE_SEED_NOTE,
    SUPPORTED,
    Claim,
    difference_text,
    paired_scale,
)
from gluelamp.reporting.labels import HEADS
from gluelamp.reporting.tables.paired import ONE_SEED, OVERALL, outcome
from gluelamp.reporting.tables.xpeft import ADAPTER, HEAD_ONLY, PAPER_BACKBONE, SECTION

ACCURACY_CLAIM = "X-PEFT matches adapter tuning"
BYTES_CLAIM = "A profile of X-PEFT takes 1/10,000 of an adapter's bytes"
_NO_RUNS = f"No runs of X-PEFT and {ADAPTER} with predictions."
_FACTOR = 10_000
_ADAPTERS = 100  # N of the paper's claim
_CLASSES = 2  # outputs of the head in the evidence
_MARGIN = 0.02  # a loss of two points is no match; this margin is ours


def accuracy_claims(rows: pd.DataFrame) -> Iterator[Claim]:
    """Compare every kind of masks with one adapter and with no adapter, by the mean over tasks.

    Args:
        rows: of `gluelamp.reporting.tables.xpeft.xpeft_rows`, without the sample.
    """
    scopes = [scope for _, scope in rows.groupby(SECTION, sort=False)] if f"vs_{ADAPTER}" in rows else []
    claims = [claim for scope in scopes for claim in _scope_claims(scope)]
    yield from claims or [Claim(ACCURACY_CLAIM, "", NOT_MEASURED, _NO_RUNS)]


def bytes_claim(measured: Sequence[Measurement]) -> Claim:
    """Evaluate the bytes of hard masks over the paper's 100 adapters, at the size of its backbone.

    Args:
        measured: measurements of kind ``xpeft_bytes``.
    """
    hard = [one for one in measured if one.backbone == PAPER_BACKBONE and one.config.get("mask") == "hard"]
    rows = [row for one in hard for row in one.rows if row["outputs"] == _CLASSES]
    claimed = [row for row in rows if row["num_adapters"] == _ADAPTERS]
    if not claimed:
        missing = f"The bytes of hard masks over {_ADAPTERS} adapters were not counted."
        return Claim(BYTES_CLAIM, PAPER_BACKBONE, NOT_MEASURED, missing)
    masks = claimed[0]
    most = max(int(row["num_adapters"]) for row in rows)
    largest = [row for row in rows if row["num_adapters"] == most > _ADAPTERS]
    bank = (
        f"The bank is stored once: {masks['bank_stored_bytes']:,} bytes for a random one, "
        f"{masks['bank_memory_bytes']:,} in memory"
    )
    # The paper's factor is of masks alone. A profile also stores its head, which dominates its bytes.
    verdict = MIXED if any(row["factor_with_head"] < _FACTOR for row in claimed) else SUPPORTED
    verdict = CONTRADICTED if masks["factor"] < _FACTOR else verdict
    evidence = ". ".join([*(_bytes_text(sizes) for sizes in (claimed, largest) if sizes), bank])
    return Claim(BYTES_CLAIM, f"{PAPER_BACKBONE}, from shapes", verdict, f"{evidence}.")


def _bytes_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the bytes of one number of adapters, from a row for each type of the head."""
    first = rows[0]
    heads = (f"{HEADS[row['head']]} 1/{row['factor_with_head']:,.1f}" for row in rows)
    return (
        f"N = {first['num_adapters']}: {first['mask_bytes']:,} bytes of masks against the "
        f"{first['adapter_weight_bytes']:,} of an adapter's weights, 1/{first['factor']:,.0f}; with the head "
        f"of {_CLASSES} classes on both sides: {', '.join(heads)}"
    )


def _scope_claims(rows: pd.DataFrame) -> Iterator[Claim]:
    """Yield the claims of one data and backbone, one for each kind and number of masks."""
    means = rows[rows["task"] == OVERALL].set_index("label", drop=False)
    # The largest head of all tasks, for both sides of the ratio.
    sizes = rows.groupby("label")[["method_bytes", "head_bytes"]].max()
    for label in means.index[means["mask"].notna() & means[f"vs_{ADAPTER}"].notna()]:
        row = means.loc[label]
        number = "" if pd.isna(row["num_adapters"]) else f", N = {row['num_adapters']:.0f}"
        verdict, reason = _verdict(row)
        alone = sizes.loc[ADAPTER, "method_bytes"] / sizes.loc[label, "method_bytes"]
        with_head = sizes.loc[ADAPTER].sum() / sizes.loc[label].sum()
        yield Claim(
            f"{ACCURACY_CLAIM} ({row['method']}{number})",
            paired_scale(means.loc[[label]], ADAPTER),
            verdict,
            f"{'; '.join(_differences(means, label))}. {reason} 1/{alone:,.0f} of the adapter's bytes with "
            f"its biases, with the head 1/{with_head:,.0f}.",
            collapsed=int(row[[f"vs_{ADAPTER}_collapsed", f"vs_{HEAD_ONLY}_collapsed"]].fillna(0).sum()),
            head=row["head"],
            data=(row["data"], row["backbone"]),
        )


def _differences(means: pd.DataFrame, label: str) -> Iterator[str]:
    """Yield masks - adapter, masks - no adapter and adapter - no adapter, if there are runs."""
    for left, right in ((label, ADAPTER), (label, HEAD_ONLY), (ADAPTER, HEAD_ONLY)):
        name = f"vs_{right}"
        if left in means.index and pd.notna(means.loc[left].get(name)):
            row = means.loc[left]
            columns = [name, *(f"{name}_{column}" for column in ("low", "high", "tasks", "collapsed"))]
            text = difference_text(*row[columns])
            yield f"{row['method']} - {right}: {text}, {outcome(row, right)}"


def _verdict(row: pd.Series) -> tuple[str, str]:
    """Return the verdict and its reason.

    A match needs two results: a loss to the adapter of less than the margin, and a gain over no adapter.
    Without the second, a tie with the adapter may only mean that no adapter is needed for these tasks.
    """
    # A significant loss within the margin does not contradict: the margin is what "matches" allows.
    to_adapter, is_within = outcome(row, ADAPTER), row[f"vs_{ADAPTER}_low"] >= -_MARGIN
    if to_adapter == "worse" and not is_within:
        return CONTRADICTED, "Worse than the adapter."
    if pd.isna(row[f"vs_{HEAD_ONLY}"]):
        return INCONCLUSIVE, f"Without {HEAD_ONLY}, the contribution of the masks is unknown."
    to_head_only = outcome(row, HEAD_ONLY)
    if ONE_SEED in (to_adapter, to_head_only):
        return INCONCLUSIVE, ONE_SEED_NOTE
    if to_head_only != "better":
        return INCONCLUSIVE, f"Not better than {HEAD_ONLY} either."
    if not is_within:
        return INCONCLUSIVE, f"Better than {HEAD_ONLY}, but a loss of two points is within the interval."
    return SUPPORTED, f"Within two points of the adapter, and better than {HEAD_ONLY}."
