"""PaFi's claim: one task-agnostic mask is better than task-specific masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from gluelamp.reporting.claims.claim import (
    NOT_MEASURED,
    ONE_SEED_NOTE,
    Claim,
    difference_text,
    paired_scale,
    superiority,
)
from gluelamp.reporting.tables.paired import ONE_SEED, OVERALL, outcome
from gluelamp.reporting.tables.sparse_masks import CONTROLS, PAFI, SCOPE, TASK_SPECIFIC

MASKS_CLAIM = "PaFi: one mask for all tasks is better than task-specific masks"
CONTROLS_CLAIM = "PaFi: the smallest weights are a better choice than random, largest or middle ones"
_NAMES = {"fish": "FISH", "lt_sft": "LT-SFT", "diff_pruning": "diff pruning"}
_OPPOSITE = {"better": "worse", "worse": "better"}


def pafi_claims(rows: pd.DataFrame) -> Iterator[Claim]:
    """Compare PaFi with masks of the same size, by the mean over tasks.

    Args:
        rows: of `gluelamp.reporting.tables.sparse_masks.sparse_rows`, without the sample.
    """
    scopes = [scope for _, scope in rows.groupby(SCOPE, sort=False)] if len(rows) else []
    for claim, rivals in ((MASKS_CLAIM, TASK_SPECIFIC), (CONTROLS_CLAIM, CONTROLS)):
        claims = [_claim(claim, scope, rivals) for scope in scopes]
        measured = [one for one in claims if one.verdict != NOT_MEASURED]
        names = f"{', '.join(rivals[:-1])} or {rivals[-1]}"
        missing = f"No runs of {PAFI} and {names} with predictions at equal budget."
        yield from measured or [Claim(claim, "", NOT_MEASURED, missing)]


def _claim(claim: str, scope: pd.DataFrame, rivals: Sequence[str]) -> Claim:
    means = scope[(scope["task"] == OVERALL) & scope["method"].isin(rivals)]
    outcomes, texts = [], []
    for _, row in means.iterrows():
        # The table has rival - PaFi, the claim is about PaFi - rival
        reverse = outcome(row, PAFI)
        outcomes.append(_OPPOSITE.get(reverse, reverse))
        difference = difference_text(
            -row["vs_pafi"], -row["vs_pafi_high"], -row["vs_pafi_low"], row["vs_pafi_tasks"]
        )
        name = _NAMES.get(row["method"], row["method"])
        texts.append(f"PaFi - {name}: {difference}, {outcomes[-1]}")
    missing = [_NAMES.get(rival, rival) for rival in rivals if rival not in set(means["method"])]
    if missing:
        texts.append(f"{', '.join(missing)}: no complete run with predictions")
    scale = f"{paired_scale(means, PAFI)}, {scope['trained'].iloc[0]:,} trained values"
    note = f" {ONE_SEED_NOTE}" if ONE_SEED in outcomes else ""
    return Claim(claim, scale, superiority(outcomes, not missing), f"{'; '.join(texts)}.{note}")
