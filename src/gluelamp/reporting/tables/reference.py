"""A user's own scores against the committed ones of the project, where the two are comparable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from gluelamp.reporting.labels import (
    DATA_PREFIXES,
    HEADS,
    SELECTIONS,
    UNSET,
    collapsed_mark,
    is_shared,
    plural,
    task_name,
)
from gluelamp.reporting.rendering import (
    DIFFERENCE,
    POINTS,
    Cell,
    Number,
    Page,
    Table,
    Text,
    escape,
    numbers,
    texts,
)
from gluelamp.reporting.scores import table_settings
from gluelamp.reporting.statistics import Predictions, difference, holm, read_predictions, verdict
from gluelamp.reporting.summary import SCOPE
from gluelamp.reporting.tables.paired import ONE_SEED

COLUMNS = [
    *(*SCOPE, "method", "task", "metric", "selection"),
    *("mean", "seeds", "reference_mean", "reference_seeds", "collapsed"),
    *("difference", "low", "high", "p", "p_holm", "verdict", "other_options", "not_comparable"),
]
NO_RUN = "the reference has no such run"
_READING = (
    "Your scores and those of `results/reference`, times 100, means over seeds. Difference: yours - "
    "reference, with its 95 % interval, by a bootstrap that is paired by example and, if both have the same "
    "seeds, by seed; the error over seeds is added. Two scores are compared only if backbone, head, rows and "
    "training are the same; learning rates, dropout and the method's own options may differ. **better**, "
    "**worse**: p < 0.05 after Holm's correction over all differences of this page."
)
_SHOWN_REASONS = 3


def reference_rows(summary: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return one row per score of a user's runs that has a counterpart in the reference.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`, of the user's runs.
        reference: of `gluelamp.reporting.scores.score_table`, of the committed runs.

    Returns:
        the columns `COLUMNS`, scores as fractions: those of the strictest selection of the epoch. Of two
        scores that are not comparable, ``not_comparable`` gives the reason, and there is no difference. No
        rows if no score has a counterpart.
    """
    reference = reference[reference["is_main"]]
    by_place = dict(list(reference.groupby(["backbone", "method", "task"])))
    own = summary[summary["is_main"].astype(bool)]
    # A summary has the strictest selection of each score first.
    own = own.drop_duplicates([*SCOPE, "variant", "task"]).sort_values([*SCOPE, "variant"], kind="stable")
    rows = [
        _row(row, settings, by_place.get((row["backbone"], row["method"], row["task"])))
        for row, settings in zip(own.to_dict("records"), table_settings(own), strict=True)
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    if frame["reference_mean"].isna().all():
        return frame.iloc[:0]
    is_compared = frame["difference"].notna()
    frame["p_holm"] = frame["p"].astype(float)
    frame.loc[is_compared, "p_holm"] = holm(frame.loc[is_compared, "p"])
    fewest = frame[["seeds", "reference_seeds"]].min(axis=1)
    # More is better in the main metrics of all tasks without users.
    verdicts = list(map(verdict, frame["difference"].astype(float), frame["p_holm"]))
    frame["verdict"] = (
        pd.Series(verdicts, index=frame.index).where(fewest > 1, ONE_SEED).where(is_compared, "")
    )
    return frame.astype({"seeds": "Int64", "reference_seeds": "Int64", "collapsed": "Int64"})


def _row(
    own: Mapping[Any, Any], settings: Mapping[str, str], candidates: pd.DataFrame | None
) -> dict[str, Any]:
    shown = {name: own[name] for name in (*SCOPE, "task", "metric", "selection", "mean", "seeds")}
    row = {**shown, "method": own["variant"], "collapsed": own["collapsed"]}
    row |= {"other_options": "", "not_comparable": ""}
    if candidates is not None:
        candidates = candidates[candidates["selection"] == own["selection"]]
    if candidates is None or candidates.empty:
        return {**row, "not_comparable": NO_RUN}
    runs, reasons, options = _closest(candidates, settings, own["data"])
    row["other_options"] = ", ".join(options)
    row |= {"reference_mean": runs["value"].mean(), "reference_seeds": runs["seed"].nunique()}
    predictions = read_predictions(runs) if not reasons else None
    if predictions is None or own["predictions"] is None:
        return {**row, "not_comparable": _sentence(reasons or ["predictions are missing"])}
    return row | _difference(own["predictions"], predictions)


def _closest(
    candidates: pd.DataFrame, settings: Mapping[str, str], data: str
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Return the most similar runs, the reasons why they are not comparable, and their other options."""
    all_settings = table_settings(candidates)
    keys = pd.Series([str(sorted(one.items())) for one in all_settings], index=candidates.index)
    options = dict(zip(keys, all_settings, strict=True))

    def distance(key: str) -> tuple[int, int, int]:
        different = _different_keys(settings, options[key])
        shared = sum(map(_must_be_equal, different))
        return shared, len(different), -int((keys == key).sum())

    best = min(sorted(options), key=distance)
    runs, other = candidates[keys == best], options[best]
    different: dict[bool, list[str]] = {True: [], False: []}
    for name in _different_keys(settings, other):
        text = _reason(name, settings, other, data, runs["data"].iloc[0])
        different[_must_be_equal(name)].append(text)
    return runs, different[True], different[False]


def _different_keys(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [key for key in sorted({*one, *other}) if one.get(key, UNSET) != other.get(key, UNSET)]


def _must_be_equal(key: str) -> bool:
    return is_shared(key) or key.startswith(DATA_PREFIXES)


def _reason(
    key: str, own: Mapping[str, str], reference: Mapping[str, str], data: str, reference_data: str
) -> str:
    if key == "data.fingerprint":
        return "other rows" if data == reference_data else f"{data} data (reference: {reference_data})"
    return f"{key}={own.get(key, UNSET)} (reference: {reference.get(key, UNSET)})"


def _sentence(reasons: list[str]) -> str:
    more = [f"{len(reasons) - _SHOWN_REASONS} more"] if len(reasons) > _SHOWN_REASONS else []
    return ", ".join([*reasons[:_SHOWN_REASONS], *more])


def _difference(own: Predictions, reference: Predictions) -> dict[str, float]:
    result = difference(own, reference, pair_seeds=True)
    return {"difference": result.value, "low": result.low, "high": result.high, "p": result.p}


def reference_page(rows: pd.DataFrame) -> Page:
    """Return the page of `reference_rows`."""
    tables = [_table(scope) for _, scope in rows.groupby(SCOPE, sort=False)]
    return Page("reference", "Your scores against the reference", [_READING], rows, tables)


def _table(rows: pd.DataFrame) -> Table:
    lines: list[list[Cell]] = [
        [
            *(Text(row["method"]), Text(task_name(row["task"]))),
            Number(row["mean"], POINTS, marks=collapsed_mark(row["collapsed"]), seeds=row["seeds"]),
            Number(row["reference_mean"], POINTS, seeds=row["reference_seeds"]),
            Number(row["difference"], DIFFERENCE, row["low"], row["high"], verdict=row["verdict"]),
        ]
        for row in rows[rows["difference"].notna()].to_dict("records")
    ]
    columns = [*texts("method", "task"), *numbers("yours (seeds)", "reference (seeds)", "difference")]
    first = rows.iloc[0]
    scope = f"{first['data']} data, {first['backbone']}, {HEADS[first['head']]}"
    title = f"Yours against the reference: {scope}, {SELECTIONS[first['selection']]}"
    return Table(title, columns, lines, list(_notes(rows)))


def _notes(rows: pd.DataFrame) -> Iterator[str]:
    compared = rows[rows["difference"].notna() & (rows["other_options"] != "")]
    for options, part in compared.groupby("other_options", sort=False):
        yield f"Other options of {', '.join(map(escape, dict.fromkeys(part['method'])))}: {escape(options)}."
    for reason, part in rows[rows["not_comparable"] != ""].groupby("not_comparable", sort=False):
        methods = ", ".join(map(escape, dict.fromkeys(part["method"])))
        yield f"Not comparable: {escape(reason)}. {plural(len(part), 'score')}: {methods}."
