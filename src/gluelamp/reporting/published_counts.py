"""Numbers of values that papers print, compared with the counts of this suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from gluelamp.records import Measurement
from gluelamp.reporting.labels import flatten
from gluelamp.reporting.published_scores import read_rows


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PublishedCount:
    """A printed number of values: a row of ``results/published/counts``."""

    method: str
    backbone: str
    published: str
    value: float = Field(gt=0)
    counted: Literal["trained", "stored"]
    counts_head: Literal["yes", "no", "unstated"]
    setting: str
    paper: str
    table: str
    source: str
    note: str

    def ratio(self, row: Mapping[str, Any]) -> float:
        """Return our number over the printed one, for a row of a measurement with trained values."""
        # Compare like with like: what the paper counts, with the head only if the paper counts it.
        ours = row["stored_values" if self.counted == "stored" else "trained"]
        ours += row["head"] if self.counts_head == "yes" else 0
        # A percentage is relative to the backbone, whose size follows from our own percentage.
        percent = row["trained_pct"] / row["trained"] if self.published.endswith("%") else 1
        return float(percent * ours / self.value)


def read_counts(path: Path) -> list[PublishedCount]:
    """Return the published counts in the order of a file; none if it is missing.

    Raises:
        InputError: if a column is missing or superfluous, or a value is not allowed.
    """
    return read_rows(path, PublishedCount) if path.is_file() else []


def published_cells(
    one: Measurement, row: Mapping[str, Any], counts: Sequence[PublishedCount]
) -> dict[str, str]:
    """Return the cells ``published`` and ``notes`` of a row of a measurement of parameters."""
    if "refused" in row:
        return {"published": "", "notes": row["refused"]}
    printed = [
        count for count in counts if count.method == one.method and count.backbone in ("", one.backbone)
    ]
    options = {f"{key}={value}" for key, value in flatten(one.config).items()}
    # In a note, only options that differ from ours explain a difference.
    settings = {option.replace('"', "").replace(" ", "") for option in options}  # as on the command line
    return {
        "published": "; ".join(count.published for count in printed),
        "notes": ". ".join(_note(count, row, settings) for count in printed),
    }


def _note(count: PublishedCount, row: Mapping[str, Any], settings: set[str]) -> str:
    stored = " stored" if count.counted == "stored" else ""
    place = f"{count.published}{stored} ({count.paper.partition(' (')[0]}, {count.table})"
    other = " ".join(option for option in count.setting.split() if option not in settings)
    parts = [f"ours/published {count.ratio(row):.3f}", other and f"published with {other}", count.note]
    return f"{place}: {'; '.join(filter(None, parts))}"
