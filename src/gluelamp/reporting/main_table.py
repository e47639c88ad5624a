"""The main table of PaFi and HiWi's paper: each method's sizes and GLUE scores, ours beside published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.records import FoundRun, Measurement
from gluelamp.reporting.aggregation import SAMPLE, is_benchmark
from gluelamp.reporting.entries import BYTES_A_VALUE, STRICT, entries, score_rows
from gluelamp.reporting.published import BEST_EPOCH_MARK, HEAD_MARKS, PublishedCount
from gluelamp.reporting.statistics import Estimate, mean_estimate
from gluelamp.tasks.glue import GLUE

PAPER_BACKBONE = "roberta_large"
PAPER_METHODS = ("pafi", "hiwi", "hiwi_weight")
TASKS = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte")
"""The eight tasks of GLUE's average as papers on encoders take it, without WNLI."""
AVERAGE = "average"

SCOPE = ["data", "backbone", "epochs", "selection"]
_SHARES = ["trained_pct", "stored_pct"]
COLUMNS = [
    *SCOPE,
    *("method", "task", "tasks", "metric", "seeds", "mean", "std", "low", "high"),
    *("trained_pct_low", "trained_pct_high", "stored_pct_low", "stored_pct_high"),
    *("published_trained", "published_stored"),
    *("published", "published_metric", "marks", "paper", "protocol"),
    *("gap", "gap_low", "gap_high"),
]


def main_rows(
    runs: Sequence[FoundRun],
    measured: Sequence[Measurement],
    published: pd.DataFrame,
    counts: Sequence[PublishedCount],
) -> pd.DataFrame:
    """Return one row per data, backbone, method and task, and one for each average.

    The paper's own backbone is there without runs, too: with what is counted and what is published.

    Args:
        runs: all runs.
        measured: of kind ``parameters``.
        published: of :func:`gluelamp.reporting.published.closest_scores`.
        counts: what papers print of a method's size.

    Returns:
        the columns :data:`COLUMNS`, scores as fractions; sizes in percent of the backbone, the least and the
        most over a method's runs or, where there are none, over its counted configurations; ``gap`` is ours
        minus published where the protocols allow it, its interval that of ours alone.
    """
    scopes = [score_rows(some) for some in entries(runs).values()]
    known = {one.method for one in measured} | {name for ours in scopes for name in ours["method"]}
    theirs = published[published["method"].isin({*known, *PAPER_METHODS}) & published["task"].isin(TASKS)]
    if all(ours["backbone"].iloc[0] != PAPER_BACKBONE for ours in scopes):
        scopes.append(_empty(theirs))
    tables = [_scope_rows(ours, theirs, measured, counts) for ours in scopes]
    return pd.concat(tables, ignore_index=True)


def _empty(theirs: pd.DataFrame) -> pd.DataFrame:
    """The grid of the paper's own backbone, of which there is no run."""
    methods = {*PAPER_METHODS, *theirs.loc[theirs["backbone"] == PAPER_BACKBONE, "method"]}
    places = pd.MultiIndex.from_product([sorted(methods), TASKS], names=["method", "task"])
    scores = dict.fromkeys(["mean", "std", "low", "high", *_SHARES], np.nan)
    scope = {"data": "", "backbone": PAPER_BACKBONE, "epochs": 0, "selection": ""}
    return places.to_frame(index=False).assign(metric="", seeds=0, **scope, **scores)


def _scope_rows(
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    measured: Sequence[Measurement],
    counts: Sequence[PublishedCount],
) -> pd.DataFrame:
    scope = ours[SCOPE].iloc[0].to_dict()
    data, backbone = scope["data"], scope["backbone"]
    theirs = theirs[(theirs["backbone"] == backbone) & (not data.startswith(SAMPLE))]
    rows = _beside(ours.drop(columns=SCOPE), theirs.drop(columns="backbone"), data, scope["selection"])
    rows = pd.concat([rows, _averages(rows)], ignore_index=True)
    rows = rows.assign(**scope, seeds=rows["seeds"].fillna(0))
    counted = [one for one in measured if one.backbone == backbone]
    rows = rows.merge(_sizes(ours, counted), on="method", how="left")
    here = [count for count in counts if count.backbone in ("", backbone)]
    for kind in ("trained", "stored"):
        rows[f"published_{kind}"] = rows["method"].map(_printed(here, kind))
    order = {task: position for position, task in enumerate([*GLUE, AVERAGE])}
    rows = rows.assign(place=rows["task"].map(order), missing=rows["stored_pct_high"].fillna(-1))
    rows = rows.sort_values(["missing", "method", "place"], ascending=[False, True, True], kind="stable")
    return rows[COLUMNS]


def _beside(ours: pd.DataFrame, theirs: pd.DataFrame, data: str, selection: str) -> pd.DataFrame:
    theirs = theirs.rename(columns={"value": "published", "metric": "published_metric"})
    rows = ours.merge(theirs, on=["method", "task"], how="outer")
    comparable = rows["comparable"].eq(True)
    rows["marks"] = rows["marks"].fillna("")
    if selection == STRICT:
        rows.loc[comparable, "marks"] += BEST_EPOCH_MARK
    for gap, own in (("gap", "mean"), ("gap_low", "low"), ("gap_high", "high")):
        rows[gap] = (rows[own] - rows["published"]).where(comparable & is_benchmark(data))
    return rows.assign(tasks=rows["task"])


def _averages(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over all tasks with runs, of each method that has them all, on the same seeds as most."""
    done = rows[rows["mean"].notna() & rows["task"].isin(TASKS)]
    tasks = [task for task in TASKS if task in set(done["task"])]
    whole = [of for _, of in done.groupby("method") if len(of) == len(tasks) > 1]
    seeds = [tuple(of["seed_set"]) for of in whole]
    usual = max(seeds, key=lambda some: (seeds.count(some), some), default=())
    return pd.DataFrame([_average(of, tasks) for of in whole if tuple(of["seed_set"]) == usual])


def _average(rows: pd.DataFrame, tasks: Sequence[str]) -> dict[str, Any]:
    of_tasks = [Estimate(*row) for row in zip(rows["mean"], rows["error"], rows["freedom"], strict=True)]
    found = mean_estimate(of_tasks).interval
    scores = {"mean": found.estimate, "low": found.low, "high": found.high}
    seeds = {"method": rows["method"].iloc[0], "seeds": rows["seeds"].min()}
    return {**seeds, **scores, "task": AVERAGE, "tasks": " ".join(tasks), "marks": ""}


def _sizes(ours: pd.DataFrame, counted: Sequence[Measurement]) -> pd.DataFrame:
    """The least and the most of each size by method: of its runs, else of all configurations counted."""
    of_runs = ours.dropna(subset="trained_pct")
    others = [one for one in counted if one.method not in set(of_runs["method"])]
    shares = of_runs.to_dict("records") + [{"method": one.method, **_shares(one.rows[0])} for one in others]
    sizes = pd.DataFrame(shares, columns=["method", *_SHARES]).astype(dict.fromkeys(_SHARES, float))
    bounds = sizes.groupby("method")[_SHARES].agg(["min", "max"])
    bounds.columns = pd.Index([f"{share}_{end}" for share in _SHARES for end in ("low", "high")])
    return bounds.reset_index()


def _shares(row: Mapping[str, Any]) -> dict[str, float]:
    if not row.get("trained"):
        return {} if "refused" in row else {"trained_pct": 0.0, "stored_pct": 0.0}
    backbone = 100 * row["trained"] / row["trained_pct"]
    stored = 100 * row["stored_bytes"] / (BYTES_A_VALUE * backbone)
    return {"trained_pct": row["trained_pct"], "stored_pct": stored}


def _printed(counts: Sequence[PublishedCount], kind: str) -> dict[str, str]:
    texts: dict[str, list[str]] = defaultdict(list)
    for count in counts:
        if count.counted == kind:
            texts[count.method].append(count.published + HEAD_MARKS[count.counts_head])
    return {method: "; ".join(dict.fromkeys(some)) for method, some in texts.items()}
