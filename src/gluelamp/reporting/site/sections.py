"""The part of the page about one source of data and one backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from gluelamp.reporting.rendering import Table
from gluelamp.reporting.scores import SELECTIONS
from gluelamp.reporting.site.cells import Key, RunCell
from gluelamp.reporting.site.families import FAMILIES, Family
from gluelamp.reporting.site.panels import Panels, score_panels
from gluelamp.reporting.site.score_sheets import overview, task_table
from gluelamp.reporting.site.scores import Scores


@dataclass(frozen=True)
class Section:
    """One source of data and one backbone.

    Args:
        data: label of the source.
        backbone: the name.
        selection: which score of a run the overview and the charts take.
        methods: of the charts.
        families: of the methods.
        overview: one row a method, one column a task.
        tasks: one table a task, with all settings and selections.
        panels: the charts.
    """

    data: str
    backbone: str
    selection: str
    methods: Sequence[str]
    families: Sequence[Family]
    overview: Table
    tasks: Sequence[Table]
    panels: Sequence[Panels]

    @property
    def slug(self) -> str:
        """Its name in links and files."""
        words = f"{self.data} {self.backbone}".replace("(", "").replace(")", "").split()
        return "-".join(words)


def section(scope: pd.DataFrame, cells: Mapping[Key, RunCell], rows: pd.DataFrame) -> Section:
    """Return one section.

    Args:
        scope: those of `common_settings` for one source of data and one backbone.
        cells: all cells of the page.
        rows: those of `summarise` for this source and backbone.
    """
    scores, first = Scores(scope, cells), scope.iloc[0]
    return Section(
        data=first["data"],
        backbone=first["backbone"],
        selection=SELECTIONS[first["selection"]],
        methods=scores.methods,
        families=[family for family in FAMILIES if family in scores.families.values()],
        overview=overview(scores),
        tasks=[task_table(of_task, cells) for _, of_task in rows.groupby("task", sort=False)],
        panels=list(score_panels(scores)),
    )
