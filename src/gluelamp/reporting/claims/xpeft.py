"""X-PEFT's claim: the accuracy of adapter tuning, with 1/10,000 of the bytes a profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.records import Measurement
from gluelamp.reporting.claims.claim import (
    CONTRADICTED,
    MIXED,
    NOT_MEASURED,
    ONE_SEED_READING,
    SUPPORTED,
    UNDECIDED,
    Claim,
)
from gluelamp.reporting.claims.scale import paired_scale
from gluelamp.reporting.formats import count, points_within, task_name
from gluelamp.reporting.paired import ONE_SEED, OVERALL, outcome
from gluelamp.reporting.xpeft_table import ADAPTER, BASELINE, PAPER_BACKBONE, SCOPE

ACCURACY_CLAIM = "X-PEFT matches adapter tuning"
_NO_RUNS = f"No runs of X-PEFT and {ADAPTER} with predictions."
BYTES_CLAIM = "A profile of X-PEFT takes 1/10,000 of an adapter's bytes"
_FACTOR = 10_000
_ADAPTERS = 100  # N, at which the paper claims it
_CLASSES = 2  # outputs of the head in the evidence
_MARGIN = 0.02  # a loss of two points is not a match; the margin is ours


def accuracy_claims(rows: pd.DataFrame) -> Iterator[Claim]:
    """Judge every kind of masks against one adapter, and against no adapter, by the mean over tasks.

    Args:
        rows: of :func:`gluelamp.reporting.xpeft_table.xpeft_rows`, without those on the sample.
    """
    scopes = [of for _, of in rows.groupby(SCOPE, sort=False)] if f"vs_{ADAPTER}" in rows else []
    claims = [claim for of in scopes for claim in _of_scope(of)]
    yield from claims or [Claim(ACCURACY_CLAIM, "", NOT_MEASURED, _NO_RUNS)]


def bytes_claim(measured: Sequence[Measurement]) -> Claim:
    """Judge the bytes of hard masks over the paper's 100 adapters, at the size of its backbone.

    Args:
        measured: of kind ``xpeft_bytes``.
    """
    found = [row for one in measured for row in one.rows if _is_hard(one) and row["outputs"] == _CLASSES]
    claimed = next((row for row in found if row["num_adapters"] == _ADAPTERS), None)
    if claimed is None:
        missing = f"The bytes of hard masks over {_ADAPTERS} adapters were not counted."
        return Claim(BYTES_CLAIM, PAPER_BACKBONE, NOT_MEASURED, missing)
    largest = max(found, key=lambda row: int(row["num_adapters"]))
    shown = [claimed, largest] if largest["num_adapters"] > _ADAPTERS else [claimed]
    bank = (
        f"The bank is stored once: {count(claimed['bank_stored_bytes'])} bytes for a random one, "
        f"{count(claimed['bank_memory_bytes'])} in memory"
    )
    evidence = ". ".join([*(_bytes(row) for row in shown), bank])
    return Claim(BYTES_CLAIM, f"{PAPER_BACKBONE}, from shapes", _of_bytes(claimed), f"{evidence}.")


def _of_scope(rows: pd.DataFrame) -> Iterator[Claim]:
    """The claims of one data and backbone, one for each kind and number of masks."""
    means = rows[rows["task"] == OVERALL].set_index("label", drop=False)
    for label in means.index[means["mask"].notna() & means[f"vs_{ADAPTER}"].notna()]:
        row = means.loc[label]
        number = "" if pd.isna(row["num_adapters"]) else f", N = {count(row['num_adapters'])}"
        verdict, reading = _verdict(row)
        yield Claim(
            f"{ACCURACY_CLAIM} ({row['method']}{number})",
            paired_scale(means.loc[[label]], f"vs_{ADAPTER}"),
            verdict,
            f"{'; '.join(_differences(means, label))}. {reading} {_factors(rows, label)}",
        )


def _differences(means: pd.DataFrame, label: str) -> list[str]:
    """Masks less the adapter, masks less no adapter, and the adapter less no adapter, as far as they ran."""
    pairs = [(label, ADAPTER), (label, BASELINE), (ADAPTER, BASELINE)]
    there = [(means.loc[one], other) for one, other in pairs if one in means.index]
    return [_text(row, other) for row, other in there if pd.notna(row.get(f"vs_{other}"))]


def _factors(rows: pd.DataFrame, label: str) -> str:
    sizes = rows.groupby("label")[["method_bytes", "head_bytes"]].max()
    alone = sizes.loc[ADAPTER, "method_bytes"] / sizes.loc[label, "method_bytes"]
    with_head = sizes.loc[ADAPTER].sum() / sizes.loc[label].sum()
    return f"1/{count(alone)} of the adapter's bytes with its biases, with the head 1/{count(with_head)}."


def _verdict(row: pd.Series) -> tuple[str, str]:
    to_adapter, is_within = outcome(row, f"vs_{ADAPTER}"), row[f"vs_{ADAPTER}_low"] >= -_MARGIN
    if to_adapter == "worse" and not is_within:
        return CONTRADICTED, "Worse than the adapter."
    if pd.isna(row[f"vs_{BASELINE}"]):
        return UNDECIDED, f"Without {BASELINE} it cannot be told what masks contribute."
    to_baseline = outcome(row, f"vs_{BASELINE}")
    if ONE_SEED in (to_adapter, to_baseline):
        return UNDECIDED, ONE_SEED_READING
    if to_baseline != "better":
        return UNDECIDED, f"Not better than {BASELINE} either: it cannot be told."
    if not is_within:
        return UNDECIDED, f"Better than {BASELINE}, but the interval leaves room for a loss of two points."
    return SUPPORTED, f"Within two points of the adapter, and better than {BASELINE}."


def _text(row: pd.Series, reference: str) -> str:
    name = f"vs_{reference}"
    difference = points_within(row[name], row[f"{name}_low"], row[f"{name}_high"], sign=True)
    tasks = ", ".join(map(task_name, row[f"{name}_tasks"].split()))
    return f"{row['method']} less {reference}: {difference} on {tasks}, {outcome(row, name)}"


def _is_hard(one: Measurement) -> bool:
    return one.backbone == PAPER_BACKBONE and one.config.get("mask") == "hard"


def _of_bytes(row: Mapping[str, Any]) -> str:
    if row["factor"] < _FACTOR:
        return CONTRADICTED
    return SUPPORTED if row["factor_with_head"] >= _FACTOR else MIXED


def _bytes(row: Mapping[str, Any]) -> str:
    return (
        f"N = {row['num_adapters']}: {count(row['mask_bytes'])} bytes of masks against the "
        f"{count(row['adapter_weight_bytes'])} of an adapter's weights, 1/{count(row['factor'])}; with a "
        f"head of {_CLASSES} classes on both sides 1/{count(row['factor_with_head'])}"
    )
