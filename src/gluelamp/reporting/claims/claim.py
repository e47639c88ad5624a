"""One claim with its verdict: the words that have the same meaning in every line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from gluelamp.reporting.labels import scope_title, task_names
from gluelamp.reporting.rendering.tables import DIFFERENCE, Number, plain
from gluelamp.tasks.glue import GLUE

SUPPORTED = "supported"
PARTLY = "partly supported"
MIXED = "mixed"
INCONCLUSIVE = "inconclusive"
PARTLY_NOT = "partly contradicted"
CONTRADICTED = "contradicted"
NOT_MEASURED = "not measured"
VERDICTS = {
    SUPPORTED: "the measurements agree with the claim",
    PARTLY: "some measurements agree with the claim, and none disagrees",
    MIXED: "some measurements agree with the claim, and some disagree",
    INCONCLUSIVE: "the measurements neither support nor contradict the claim",
    PARTLY_NOT: "some measurements disagree with the claim, and none agrees",
    CONTRADICTED: "the measurements disagree with the claim",
    NOT_MEASURED: "there are no records",
}
ONE_SEED_NOTE = "One seed is not enough to compare methods."


@dataclass(frozen=True)
class Claim:
    """One line of the table.

    Args:
        claim: the paper's claim, shortened.
        scale: the backbone, data and other conditions of the evidence.
        verdict: one of `VERDICTS`.
        evidence: the numbers, in sentences.
        collapsed: the number of collapsed runs in the compared means; a run in two means counts twice.
        head: the type of the task head, in a claim on scores.
        data: the data, the backbone and, if it is the same for all methods, the number of trained values.
        sensitivity: the verdicts by other selections of the epoch, by other metrics and with other heads.
    """

    claim: str
    scale: str
    verdict: str
    evidence: str
    collapsed: int = 0
    head: str = ""
    data: tuple[str, ...] = ()
    sensitivity: str = ""


def superiority(outcomes: Collection[str], is_complete: bool) -> str:
    """Return the verdict on "it is better than all of them" from one outcome for each of them.

    Args:
        outcomes: of `gluelamp.reporting.tables.paired.outcome`, for the method that is claimed to be
            better.
        is_complete: whether there is an outcome for all of them.
    """
    # Ties and single seeds neither support nor contradict; they only make a verdict partial.
    distinct = set(outcomes)
    if not distinct:
        return NOT_MEASURED
    if {"better", "worse"} <= distinct:
        return MIXED
    if "worse" in distinct:
        return CONTRADICTED if distinct == {"worse"} and is_complete else PARTLY_NOT
    if "better" in distinct:
        return SUPPORTED if distinct == {"better"} and is_complete else PARTLY
    return INCONCLUSIVE


def difference_text(difference: float, low: float, high: float, tasks: str, collapsed: int) -> str:
    """Return a difference of scores with its interval, its tasks and its number of collapsed runs."""
    runs = f" ({collapsed} collapsed {'run' if collapsed == 1 else 'runs'})" if collapsed else ""
    return f"{plain(Number(difference, DIFFERENCE, low, high))} on {task_names(tasks)}{runs}"


def paired_scale(rows: pd.DataFrame, reference: str) -> str:
    """Return the backbone, data, selection, seeds and tasks of comparisons; empty if there are none.

    Args:
        rows: means over tasks, of `gluelamp.reporting.tables.paired.compared_rows`.
        reference: the label of the reference.
    """
    rows = rows[rows[f"vs_{reference}_seeds"].notna()]
    if rows.empty:
        return ""
    # The union of the tasks: one rival may have run on fewer of them.
    names = " ".join(rows[f"vs_{reference}_tasks"]).split()
    tasks = " ".join(task for task in GLUE if task in names)
    return f"{scope_title(rows.assign(seeds=rows[f'vs_{reference}_seeds']))}, {task_names(tasks)}"
