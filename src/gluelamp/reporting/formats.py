"""How numbers are printed in the papers' tables: scores in points with one decimal, the CSV has the rest."""

from __future__ import annotations

import pandas as pd


def points(fraction: float, sign: bool = False) -> str:
    """Return a fraction as points (times 100); empty if there is none."""
    if pd.isna(fraction):
        return ""
    rounded = round(100 * fraction, 1) + 0.0  # never -0.0
    return f"{rounded:{'+' if sign else ''}.1f}".replace("-", "−")


def points_within(fraction: float, low: float, high: float, sign: bool = False) -> str:
    """Return a fraction as points with its interval in brackets, where it has one."""
    if pd.isna(fraction) or pd.isna(low):
        return points(fraction, sign)
    return f"{points(fraction, sign)} [{points(low, sign)}, {points(high, sign)}]"


def count(number: object) -> str:
    """Return a whole number with its thousands apart; empty if there is none."""
    return "" if pd.isna(number) else f"{number:,.0f}"


def share(percent: float) -> str:
    """Return a small share in percent with three digits that count, such as ``0.0347``."""
    return "" if pd.isna(percent) else f"{percent:#.3g}".rstrip(".") if percent else "0"


def share_range(low: float, high: float) -> str:
    """Return two shares as `share` does, or one where they are printed alike."""
    return " to ".join(dict.fromkeys([share(low), share(high)]))


def task_name(task: str) -> str:
    """Return a task's name as papers write it."""
    return _NAMES.get(task, task)


_NAMES = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "qqp": "QQP",
    "stsb": "STS-B",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
}


def scope_title(rows: pd.DataFrame) -> str:
    """Return the title of rows of one backbone, data, training and selection, with their numbers of seeds."""
    first = rows.iloc[0]
    if not first["selection"]:
        return f"{first['backbone']}, no runs"
    seeds = rows.loc[rows["seeds"] > 0, "seeds"]
    few, many = int(seeds.min()), int(seeds.max())
    parts = [first["backbone"], f"{first['data']} data", _plural(first["epochs"], "epoch")]
    number = f"{few} to {many} seeds" if few < many else _plural(few, "seed")
    return ", ".join([*parts, _SELECTIONS[first["selection"]], number])


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


_SELECTIONS = {"held_out": "held-out halves of dev", "best": "best epoch on dev", "last": "last epoch"}
