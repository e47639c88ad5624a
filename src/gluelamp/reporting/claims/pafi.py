"""PaFi's claim: its one mask for all tasks is better than masks made for each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from gluelamp.reporting.claims.claim import (
    NOT_MEASURED,
    ONE_SEED_READING,
    Claim,
    superiority,
)
from gluelamp.reporting.claims.scale import paired_scale
from gluelamp.reporting.formats import count, points_within, task_name
from gluelamp.reporting.paired import ONE_SEED, OVERALL, outcome
from gluelamp.reporting.sparse_table import CONTROLS, PAFI, SCOPE, TASK_SPECIFIC

MASKS_CLAIM = "PaFi: one mask for all tasks beats masks made for each task"
CONTROLS_CLAIM = "PaFi: the smallest weights are a better choice than random, largest or middle ones"


def pafi_claims(rows: pd.DataFrame) -> Iterator[Claim]:
    """Judge PaFi against masks of the same size, by the mean over tasks.

    Args:
        rows: of :func:`gluelamp.reporting.sparse_table.sparse_rows`, without those on the sample.
    """
    scopes = [of for _, of in rows.groupby(SCOPE, sort=False)] if len(rows) else []
    for claim, rivals in ((MASKS_CLAIM, TASK_SPECIFIC), (CONTROLS_CLAIM, CONTROLS)):
        missing = f"No runs of {PAFI} and {_either(rivals)} with predictions at equal budget."
        judged = [_judge(claim, of, rivals) for of in scopes]
        known = [one for one in judged if one.verdict != NOT_MEASURED]
        yield from known or [Claim(claim, "", NOT_MEASURED, missing)]


def _judge(claim: str, rows: pd.DataFrame, rivals: Sequence[str]) -> Claim:
    found = rows[(rows["task"] == OVERALL) & rows["method"].isin(rivals)]
    outcomes = [_of_pafi(row) for _, row in found.iterrows()]
    texts = [_text(row) for _, row in found.iterrows()]
    missing = [rival for rival in rivals if rival not in set(found["method"])]
    texts += [f"{', '.join(missing)}: no complete run with predictions"] if missing else []
    budget = f"{count(rows['trained'].iloc[0])} trained values"
    scale = f"{paired_scale(found, 'vs_pafi')}, {budget}"
    reading = f" {ONE_SEED_READING}" if ONE_SEED in outcomes else ""
    return Claim(claim, scale, superiority(outcomes, not missing), f"PaFi less {'; '.join(texts)}.{reading}")


def _of_pafi(row: pd.Series) -> str:
    found = outcome(row, "vs_pafi")
    return {"better": "worse", "worse": "better"}.get(found, found)  # the row holds the rival less PaFi


def _text(row: pd.Series) -> str:
    difference = points_within(-row["vs_pafi"], -row["vs_pafi_high"], -row["vs_pafi_low"], sign=True)
    tasks = ", ".join(map(task_name, row["vs_pafi_tasks"].split()))
    return f"{row['method']}: {difference} on {tasks}, {_of_pafi(row)}"


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
