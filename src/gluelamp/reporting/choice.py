"""The choice of a method on one task: all scores, the methods that none beats, and the cheapest of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
from gluelamp.records import FoundRun
from gluelamp.reporting.labels import plural, scope_title, task_name
from gluelamp.reporting.rendering import (
    COUNT,
    Cell,
    Format,
    Number,
    Page,
    Table,
    Text,
    numbers,
    score_format,
    texts,
)
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.signature import common_signature, with_signatures
from gluelamp.reporting.statistics import Predictions, compare_all, difference, rank_intervals, score_estimate
from gluelamp.reporting.summary import summarise
from gluelamp.tasks.task import Task

BASELINE = "majority"
COLUMNS = [
    *("method", "mean", "low", "high", "seeds", "difference", "difference_low", "difference_high"),
    *(
        "possibly_best",
        "vs_baseline",
        "method_bytes",
        "shared_bytes",
        "head_bytes",
        "adds_latency",
        "seconds",
    ),
]
_READING = (
    "*Score*, with its 95 % interval over examples and seeds; with one seed, over examples alone. *To the "
    "best*: the difference to the best mean, by a bootstrap paired by example. *May be best*: no method is "
    "significantly better (p < 0.05 after Holm's correction over all comparisons of the method).",
    "*Bytes*: stored by each task, without the head, which every method has; *shared bytes*: stored once for "
    "all tasks. *Seconds*: of one training. *Latency*: none if the method merges into the backbone's "
    "weights. *To majority*: against the most frequent class of the scored rows, or their median.",
    "The learning rates are the defaults of each method. They were not tuned on this data, and tuning may "
    "change the order.",
)


def choice_rows(runs: Sequence[FoundRun], merging: Collection[str]) -> pd.DataFrame:
    """Return one row per method, the best mean first, and a row of the majority baseline.

    The scores are those of the cross-fitted epoch selection or, of tasks with a profile per user, after the
    last epoch.

    Args:
        runs: of one task, with one setting per method; methods without a complete run are left out.
        merging: the methods that merge into the backbone.

    Returns:
        the columns `COLUMNS`; scores and differences as fractions. ``vs_baseline`` is a verdict of
        `compare_all`.

    Raises:
        InputError: if fewer than two methods have scores.
    """
    rows = _scored(runs)
    methods: dict[str, Predictions] = dict(zip(rows["method"], rows["predictions"], strict=True))
    ranks = rank_intervals(methods)
    best = ranks["method"].iloc[0]
    possible = set(ranks.loc[ranks["rank_low"] == 1, "method"])
    baseline = _baseline(methods[best], rows["declaration"].iloc[0])
    verdicts = compare_all({BASELINE: baseline, **methods}, BASELINE).set_index("method")["verdict"]
    seconds = pd.Series([record.speed.get("train_seconds") for _, record in runs]).groupby(
        [record.config.method.name for _, record in runs]
    )
    table = rows.set_index("method").loc[ranks["method"]].reset_index()
    differences = [difference(methods[name], methods[best]) for name in table["method"][1:]]
    table = table.assign(
        difference=[np.nan, *(one.value for one in differences)],
        difference_low=[np.nan, *(one.low for one in differences)],
        difference_high=[np.nan, *(one.high for one in differences)],
        possibly_best=table["method"].isin(possible),
        vs_baseline=table["method"].map(verdicts),
        adds_latency=~table["method"].isin(merging),
        seconds=table["method"].map(seconds.mean()),
    )
    constant = score_estimate(baseline)
    last = {"method": BASELINE, "mean": constant.value, "low": constant.low, "high": constant.high}
    return pd.concat([table[COLUMNS], pd.DataFrame([last])], ignore_index=True)


def _scored(runs: Sequence[FoundRun]) -> pd.DataFrame:
    summary = with_signatures(summarise(score_table(runs)))
    rows = summary[summary["is_main"].astype(bool)]
    selection = "held_out" if (rows["selection"] == "held_out").any() else "last"
    rows = rows[(rows["selection"] == selection) & rows["predictions"].notna()]
    if len(rows) < 2:
        raise InputError("Two or more methods with complete runs are needed for a choice. Raise the budget.")
    return rows


def _baseline(example: Predictions, task: Task) -> Predictions:
    """Return the predictions that are the most frequent class of the rows, or the median of their labels."""
    labels = pd.Series(example.labels)
    constant = labels.median() if task.is_regression else labels.mode().iloc[0]
    return replace(example, outputs=np.full(example.outputs.shape, constant, np.float64))


def recommended(rows: pd.DataFrame) -> str:
    """Return the method to take.

    It is the one with the fewest bytes among the methods that may be the best, are better than the majority
    baseline and add no latency. A condition that none meets is left out, the last one first.

    Args:
        rows: of `choice_rows`.
    """
    candidates = rows[rows["possibly_best"].eq(True)]
    for condition in (candidates["vs_baseline"] == "better", candidates["adds_latency"].eq(False)):
        met = candidates[condition.reindex(candidates.index)]
        candidates = met if len(met) else candidates
    return str(candidates.sort_values("method_bytes", kind="stable")["method"].iloc[0])


def choice_page(
    runs: Sequence[FoundRun], merging: Collection[str], left_out: Sequence[str] = (), enough: str = ""
) -> Page:
    """Return the page of a choice: one recommendation, how sure it is, and the table of all methods.

    Args:
        runs: as for `choice_rows`.
        merging: the methods that merge into the backbone.
        left_out: the methods that were not tried.
        enough: a sentence on how to try them.
    """
    rows, scored = choice_rows(runs, merging), _scored(runs)
    first = scored.iloc[0]
    form = score_format(first["metric"])
    sentences = [
        _recommendation(rows, form),
        _alternatives(rows),
        _certainty(rows, form, len(first["predictions"].labels)),
        _against_baseline(rows, form),
    ]
    if left_out:
        sentences.append(f"Not tried: {_names(left_out)}. {enough}".strip())
    metric = first["metric"].replace("_", " ")
    title = f"{task_name(first['task'])}, {metric}; {scope_title(scored)}"
    name = first["task"]
    return Page(
        name,
        f"Which method for {name}",
        tuple(filter(None, sentences)),
        rows,
        [_table(title, rows, scored, form)],
    )


def _recommendation(rows: pd.DataFrame, form: Format) -> str:
    row = rows.set_index("method").loc[recommended(rows)]
    latency = "adds latency" if row["adds_latency"] else "adds no latency"
    return (
        f"**Take {row.name}**: {_interval(row, form)}, {int(row['method_bytes']):,} bytes per task, "
        f"{latency}. No method is significantly better."
    )


def _alternatives(rows: pd.DataFrame) -> str:
    possible = rows[rows["possibly_best"].eq(True)]
    if len(possible) == 1:
        return "Every other method is significantly worse than another one."
    by_bytes = possible.sort_values("method_bytes", kind="stable")
    smallest = by_bytes.iloc[0]
    merging = by_bytes[by_bytes["adds_latency"].eq(False)]
    if merging.empty:
        latency = "; all of them add latency"
    elif not smallest["adds_latency"]:
        latency = ", and it adds no latency"
    else:
        latency = (
            f", but it adds latency; without latency it is `{merging['method'].iloc[0]}` "
            f"({int(merging['method_bytes'].iloc[0]):,})"
        )
    return (
        f"Not distinguishable from the best: {_names(possible['method'])}. The cheapest of them in bytes is "
        f"`{smallest['method']}` ({int(smallest['method_bytes']):,}){latency}."
    )


def _certainty(rows: pd.DataFrame, form: Format, scored: int) -> str:
    seeds = int(rows["seeds"].min())
    chosen = rows.set_index("method").loc[recommended(rows)]
    ending = " One seed says nothing about other seeds." if seeds == 1 else ""
    measured = f"How sure: {plural(seeds, 'seed')}, {scored:,} scored rows."
    if pd.isna(chosen["difference"]):
        return f"{measured} It has the best mean.{ending}"
    signed = replace(form, sign=True)
    return (
        f"{measured} `{chosen.name}` - `{rows['method'].iloc[0]}`, the best mean: "
        f"{signed.text(chosen['difference'])} "
        f"[{signed.text(chosen['difference_low'])}, {signed.text(chosen['difference_high'])}].{ending}"
    )


def _against_baseline(rows: pd.DataFrame, form: Format) -> str:
    baseline = rows[rows["method"] == BASELINE].iloc[0]
    others = rows[rows["method"] != BASELINE]
    worse = others.loc[others["vs_baseline"] != "better", "method"]
    constant = f"the {BASELINE} baseline ({form.text(baseline['mean'])})"
    if len(worse) == len(others):
        return f"No method is significantly better than {constant}: train longer, or collect more rows."
    if len(worse):
        return f"Not significantly better than {constant}: {_names(worse)}."
    return f"All methods are significantly better than {constant}."


def _names(methods: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in methods)


def _interval(row: Mapping[str, float] | pd.Series, form: Format) -> str:
    return f"{form.text(row['mean'])} [{form.text(row['low'])}, {form.text(row['high'])}]"


def _table(title: str, rows: pd.DataFrame, scored: pd.DataFrame, form: Format) -> Table:
    columns = [
        *texts("method"),
        *numbers("score", "to the best"),
        *texts("may be best"),
        *numbers("bytes", "shared bytes", "seconds"),
        *texts("latency", "to majority"),
    ]
    signed = replace(form, sign=True)
    lines: list[list[Cell]] = [
        [
            Text(row["method"], bold=row["possibly_best"] is True),
            Number(row["mean"], form, row["low"], row["high"]),
            Number(row["difference"], signed, row["difference_low"], row["difference_high"]),
            Text({True: "yes", False: "no"}.get(row["possibly_best"], "")),
            *(Number(row[column], COUNT) for column in ("method_bytes", "shared_bytes", "seconds")),
            Text({True: "added", False: "none"}.get(row["adds_latency"], "")),
            Text("" if pd.isna(row["vs_baseline"]) else row["vs_baseline"]),
        ]
        for row in rows.to_dict("records")
    ]
    return Table(title, columns, lines, list(_READING), common_signature(scored))
