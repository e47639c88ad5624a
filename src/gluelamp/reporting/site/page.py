"""Writes the page and the figures of a results folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from gluelamp.records import write_text
from gluelamp.reporting.rendering import POINTS
from gluelamp.reporting.rendering.html import inline, symbol_html, table_html
from gluelamp.reporting.results import Results
from gluelamp.reporting.scores import SELECTIONS
from gluelamp.reporting.site import assets
from gluelamp.reporting.site.contents import Contents, gather
from gluelamp.reporting.site.figures import figure_files, specification
from gluelamp.reporting.site.theme import DARK, LIGHT
from gluelamp.reporting.titles import SAMPLE_NOTE, task_name

PAGE = "report.html"
FIGURES = "figures"


def write_report(root: Path, published: Path, configs: Path) -> list[Path]:
    """Write ``report.html`` and ``figures/`` of a results folder, from its records alone.

    The same records, configuration files and packages give the same bytes.

    Args:
        root: the results folder.
        published: the folder of the papers' numbers.
        configs: the folder of the configuration files, to which commands are told apart.

    Returns:
        the files written.

    Raises:
        InputError: if there are no records, or if one cannot be read.
    """
    contents = gather(Results(root, published), configs)
    write_text(root / PAGE, render(contents))
    figures = [
        file
        for name, some in contents.panels.items()
        for file in figure_files(root / FIGURES, name, some).items()
    ]
    for path, content in figures:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [root / PAGE, *(path for path, _ in figures)]


def render(contents: Contents) -> str:
    """Return the page as HTML that needs no other file."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=contents,
            charts=_specifications(contents),
            themes={"light": LIGHT, "dark": DARK},
            selections=SELECTIONS,
            sample_note=SAMPLE_NOTE.format("GLUE"),
            static=assets.static,
            vega=assets.vega(),
            data_tables=assets.data_tables(),
            credits=assets.credits(),
        )
    )


def _specifications(contents: Contents) -> dict[str, Any]:
    """The charts by the names of their places, each with a description for those who do not see it."""
    return {
        f"{name}-{number}": specification(
            chart.configure_legend(disable=not some.legend).properties(
                description=f"{some.title}: {chart.title}"
            )
        )
        for name, some in contents.panels.items()
        for number, chart in enumerate(some.charts, 1)
    }


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "inline": inline,
        "points": POINTS.text,
        "seconds": _seconds,
        "symbol": symbol_html,
        "table": table_html,
        "task_name": task_name,
        "yaml": _yaml,
    }
    return environment


def _yaml(content: Mapping[str, Any]) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(content))).rstrip()


def _seconds(duration: float | None) -> str:
    if duration is None:
        return ""
    minutes, seconds = divmod(round(duration), 60)
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
