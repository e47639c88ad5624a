"""The head of the page: whose numbers it shows, of which benchmarks, models, data and versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gluelamp.package_data import REFERENCE
from gluelamp.records import RunRecord
from gluelamp.reporting.labels import plural
from gluelamp.reporting.rendering import PERCENTAGE
from gluelamp.reporting.results import Results
from gluelamp.reporting.site.sections import Section


@dataclass(frozen=True)
class Head:
    """The head of the page.

    Args:
        owner: whose numbers the page shows.
        title: the same, with benchmarks and backbones.
        facts: what they are of, by term.
    """

    owner: str
    title: str
    facts: dict[str, str]


def page_head(results: Results, sections: Sequence[Section]) -> Head:
    """Return the head of the page of a results folder.

    Args:
        results: of the folder.
        sections: of the page.
    """
    is_reference = results.root.resolve() == REFERENCE.resolve()
    owner = "Committed results of the gluelamp project" if is_reference else "Your runs"
    records = [record for _, record in results.runs if record.status == "complete"]
    benchmarks = _listed(section.benchmark or "GLUE" for section in sections)
    backbones = _listed(map(_backbone, records))
    facts = {
        "Runs": str(len(records)),
        "Benchmark": benchmarks,
        "Backbone": backbones,
        "Data": _listed(section.data for section in sections),
        "Selection": _listed(section.selection for section in sections),
        "Version": _versions(records),
    }
    title = " with ".join(part for part in (benchmarks, backbones) if part)
    return Head(
        owner=owner,
        title=f"{title}: {owner[0].lower()}{owner[1:]}" if title else owner,
        facts={term: text for term, text in facts.items() if text},
    )


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _backbone(record: RunRecord) -> str:
    name, values = record.config.backbone.name, record.parameters.backbone
    return f"{name} ({PERCENTAGE.text(values / 1e6)} M parameters)" if values else name


def _versions(records: Sequence[RunRecord]) -> str:
    """Return the versions of the package and the commits that trained the runs."""
    versions = _listed(f"gluelamp {one}" for record in records if (one := record.versions.get("gluelamp")))
    commits = Counter(str(record.git["revision"])[:7] for record in records if record.git.get("revision"))
    if not commits:
        return versions
    most = commits.most_common(1)[0][0]
    text = f"commit {most}" if len(commits) == 1 else f"{plural(len(commits), 'commit')}, most runs at {most}"
    return ", ".join(part for part in (versions, text) if part)
