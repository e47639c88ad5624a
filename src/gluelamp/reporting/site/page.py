"""Writes the page and the figures of a results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from gluelamp.errors import InputError
from gluelamp.io import write_text
from gluelamp.reporting.labels import SAMPLE_NOTE, SELECTIONS, task_name
from gluelamp.reporting.measurements import measurement_rows
from gluelamp.reporting.rendering import POINTS, Page, Table
from gluelamp.reporting.rendering.html import inline, symbol_html, table_html
from gluelamp.reporting.results import Results
from gluelamp.reporting.site.charts import DARK, LIGHT, specification
from gluelamp.reporting.site.panels import Panels, figure_files, latency_panels, search_panels
from gluelamp.reporting.site.provenance import Head, page_head
from gluelamp.reporting.site.sections import RECORD_SECTIONS, RunGroup, Section, run_groups, sections
from gluelamp.reporting.tables.accuracy import failed_runs

PAGE = "report.html"
FIGURES = "figures"


@dataclass(frozen=True)
class Contents:
    """Everything on the page.

    Args:
        head: whose numbers these are, and of what.
        claims: with their verdicts; None without records for them.
        sections: scores, by source of data, backbone and head.
        lamp: the tables of tasks with users; None without such runs.
        latencies: charts, by backbone and machine.
        searches: charts of the score against the number of trials.
        pages: the other tables of the results folder.
        failures: one row per failed run on tasks without users; None without such runs.
        groups: the runs that scores open.
    """

    head: Head
    claims: Page | None
    sections: Sequence[Section]
    lamp: Page | None
    latencies: Sequence[Panels]
    searches: Sequence[Panels]
    pages: Sequence[Page]
    failures: Table | None
    groups: Sequence[RunGroup]

    def panels(self) -> dict[str, Panels]:
        """Return all groups of charts, by the names of their figures."""
        scores = {f"{part.slug}-{panels.name}": panels for part in self.sections for panels in part.panels}
        scores |= {f"latency-{panels.name}": panels for panels in self.latencies}
        return scores | {f"search-{panels.name}": panels for panels in self.searches}


def write_report(results: Results) -> list[Path]:
    """Write ``report.html`` and ``figures/`` of a results folder, from its records alone.

    The same records and packages give the same bytes.

    Args:
        results: of the folder.

    Returns:
        the written files.

    Raises:
        InputError: if there are no records, or if one cannot be read.
    """
    root, contents = results.root, gather(results)
    write_text(root / PAGE, render(contents))
    figures = [
        file
        for name, panels in contents.panels().items()
        for file in figure_files(root / FIGURES, name, panels).items()
    ]
    for path, content in figures:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return [root / PAGE, *(path for path, _ in figures)]


def gather(results: Results) -> Contents:
    """Return the contents of the page of a results folder.

    Raises:
        InputError: if there are no records, or if one cannot be read.
    """
    pages = {page.name: page for page in results.pages()}
    if not (results.runs or pages):
        raise InputError(f"No records below {results.root}: there is nothing to report.")
    # Claims and LaMP have sections of their own; all other pages are folded under "Tables".
    groups = run_groups(results)
    failed = results.failed(with_users=False)
    timed = results.measurements["latency"]
    parts = sections(results.accuracy, groups)
    return Contents(
        head=page_head(results, parts),
        claims=pages.pop("claims", None),
        sections=parts,
        lamp=pages.pop("lamp", None),
        latencies=list(latency_panels(measurement_rows(timed))) if timed else [],
        searches=list(search_panels(results.search)) if len(results.search) else [],
        pages=list(pages.values()),
        failures=failed_runs(failed) if failed else None,
        groups=list({group.slug: group for group in groups.values()}.values()),
    )


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
            record_sections=RECORD_SECTIONS,
            sample_note=SAMPLE_NOTE.format("GLUE"),
            static=lambda name: (files(__package__) / "static" / name).read_text("utf-8"),
            libraries=_libraries(),
            credits={name: version(name) for name in ("altair", "itables", "vl-convert-python")},
        )
    )


def _specifications(contents: Contents) -> dict[str, Any]:
    """Return the charts by the names of their places, each with a description for screen readers."""
    return {
        f"{name}-{number}": specification(
            # One legend per section serves all its charts of scores.
            chart.configure_legend(disable=not panels.has_legend).properties(
                description=f"{panels.title}: {chart.title}"
            )
        )
        for name, panels in contents.panels().items()
        for number, chart in enumerate(panels.charts, 1)
    }


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        # Labels hold names from users' configs: only filters that return Markup may write HTML.
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # A misspelt name in a template is an error, not an empty string.
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "inline": inline,
        "points": POINTS.text,
        "duration": _duration,
        "symbol": symbol_html,
        "table": table_html,
        "task_name": task_name,
        "yaml": _yaml,
    }
    return environment


def _yaml(content: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)).rstrip()


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@cache
def _libraries() -> dict[str, str]:
    """Return the JavaScript libraries that the page embeds."""
    import vl_convert  # slow to import

    libraries = {
        # Vega-Embed with Vega and Vega-Lite, as a script that defines `vegaEmbed`; bundling takes seconds.
        "vega": vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"),
        "data_tables": (files("itables") / "html" / "dt_bundle.js").read_text("utf-8"),
    }
    # A script within HTML must not contain its closing tag.
    return {name: source.replace("</script", r"<\/script") for name, source in libraries.items()}
