"""From the runs on tasks with persons to the rows of their table, each paired with two references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.aggregation import data_label
from gluelamp.reporting.lamp_scores import (
    Scores,
    mean_over_users,
    paired_difference,
    read_test_rows,
    score,
    verdict,
)
from gluelamp.reporting.variants import settings_of, variant_labels
from gluelamp.tasks.catalogue import TASKS
from gluelamp.tasks.task import Task

PROTOCOLS = ("shared", "each", "shared_then_each")
_PROTOCOL_OF_PROFILES = {"shared": "shared", "per_user": "each", "shared_then_per_user": "shared_then_each"}
REFERENCES = ("head_only", "pfeiffer")
SECTION = ["data", "task", "backbone", "fingerprint", "checksum"]
_COSTS = {
    "trained": ("parameters", "trained"),
    "method_bytes": ("bytes", "method"),
    "head_bytes": ("bytes", "head"),
    "shared_bytes": ("bytes", "shared"),
}
_COUNTS = ["persons", "min_user_rows", "test_rows", "seeds", "epochs", "diverged"]
_WHOLE = [*_COUNTS, *_COSTS, *(f"vs_{name}_persons" for name in REFERENCES)]
LAMP_COLUMNS = [
    *SECTION,
    *("method", "users", *_COUNTS),
    *("accuracy", "macro_f1", "mae", "rmse"),
    *("person_metric", "person_mean", "person_low", "person_high"),
    *_COSTS,
    *(f"vs_{name}{part}" for name in REFERENCES for part in ("", "_low", "_high", "_persons", "_verdict")),
]

_TASK_ORDER = {name: position for position, name in enumerate(TASKS)}


@dataclass(frozen=True)
class _Entry:
    """The runs of one row.

    Args:
        method: the name.
        label: the name with its variant.
        users: the protocol.
        rows: the test rows of all runs, with their seeds.
        scores: made from the rows.
        setting: which persons learnt for how long; it chooses among several references.
        facts: what the row says beside the scores.
    """

    method: str
    label: str
    users: str
    rows: pd.DataFrame
    scores: Scores
    setting: frozenset[tuple[str, str]] = frozenset()
    facts: Mapping[str, Any] = field(default_factory=dict)


def has_persons(record: RunRecord) -> bool:
    """Return whether the rows of a run's task belong to persons."""
    settings = record.config["task"]
    task = TASKS.get(settings["name"])
    return task is not None and task.user_column is not None and not settings.get("members")


def lamp_rows(runs: Sequence[FoundRun]) -> pd.DataFrame:
    """Return one row per data, task, backbone, method variant and protocol, and two baselines.

    Runs that differ in ``task.user_group`` alone are one row, on the persons of both groups.

    Args:
        runs: complete runs on tasks with persons.

    Returns:
        the columns :data:`LAMP_COLUMNS`, scores as fractions, and for the page ``deviations``.

    Raises:
        InputError: if the predictions of a run are missing.
    """
    sections: dict[tuple[str, ...], list[FoundRun]] = defaultdict(list)
    for run in runs:
        sections[_section(run[1])].append(run)
    rows = [row for key in sorted(sections, key=_place) for row in _section_rows(key, sections[key])]
    frame = pd.DataFrame(rows, columns=[*LAMP_COLUMNS, "deviations"])
    return frame.astype(dict.fromkeys(_WHOLE, "Int64"))


def _section(record: RunRecord) -> tuple[str, ...]:
    names = (record.config["task"]["name"], record.config["backbone"]["name"])
    return (data_label(record), *names, record.data["fingerprint"][:8], record.backbone["checksum"][:8])


def _place(section: tuple[str, ...]) -> tuple[Any, ...]:
    data, task, *others = section
    return (data, _TASK_ORDER[task], *others)


def _section_rows(section: tuple[str, ...], runs: Sequence[FoundRun]) -> Iterator[dict[str, Any]]:
    task = TASKS[section[1]]
    entries = _entries(task, runs)
    deviations = tuple(dict.fromkeys(text for _, record in runs for text in record.data["deviations"]))
    for entry in [*_baselines(task, entries), *entries]:
        differences = [_difference(task, entry, entries, name) for name in REFERENCES]
        yield {
            **dict(zip(SECTION, section, strict=True)),
            **_scores(task, entry),
            **entry.facts,
            **differences[0],
            **differences[1],
            "deviations": deviations,
        }


def _entries(task: Task, runs: Sequence[FoundRun]) -> list[_Entry]:
    """Return the entries in the order of protocols, then of labels."""
    described = [_settings(record) for _, record in runs]
    methods = [record.config["method"]["name"] for _, record in runs]
    protocols = [_protocol(record) for _, record in runs]
    families = zip(zip(methods, protocols, strict=True), methods, described, strict=True)
    keys = zip(protocols, variant_labels(list(families)), strict=True)
    groups: dict[tuple[str, str], list[FoundRun]] = defaultdict(list)
    for run, key in zip(runs, keys, strict=True):
        groups[key].append(run)
    ordered = sorted(groups, key=lambda key: (PROTOCOLS.index(key[0]), key[1]))
    return [_entry(task, *key, groups[key]) for key in ordered]


def _protocol(record: RunRecord) -> str:
    settings = record.config["task"]
    return settings.get("users") or _PROTOCOL_OF_PROFILES[settings["profiles"]]


def _settings(record: RunRecord) -> dict[str, str]:
    settings = settings_of(record)
    for key in ("task.users", "task.profiles"):  # a column of its own
        settings.pop(key, None)
    # A run on one group has other persons than a run on all, with whom they must not be counted twice.
    is_group = settings.get("task.user_group", "null") != "null"
    if is_group:
        settings.pop("method.bank", None)  # a bank of the other group's adapters
    return settings | {"task.user_group": "halves" if is_group else "null"}


def _entry(task: Task, users: str, label: str, runs: Sequence[FoundRun]) -> _Entry:
    records = [record for _, record in runs]
    first = records[0]
    parts = [read_test_rows(folder, task).assign(seed=record.config["seed"]) for folder, record in runs]
    rows = pd.concat(parts, ignore_index=True)
    if rows.duplicated(["seed", "idx"]).any():  # only the banks differ, and halves name no pairs of them
        folders = ", ".join(str(folder) for folder, _ in runs)
        raise InputError(
            f"The runs {folders} are on the same persons with the same seed, but on other banks. A row of "
            "the table has one run for each person: move the others away."
        )
    scores = score(task, rows)
    chosen = {key: value for key, value in _settings(first).items() if key.startswith("task.")}
    chosen["epochs"] = str(first.config["trainer"]["epochs"])
    facts = {
        "min_user_rows": first.config["task"]["min_user_rows"],
        "seeds": scores.seeds,
        "epochs": first.config["trainer"]["epochs"],
        "diverged": sum(len(record.protocol.get("diverged", ())) for record in records),
        **{name: getattr(first, group).get(key) for name, (group, key) in _COSTS.items()},
    }
    return _Entry(
        first.config["method"]["name"], label, users, rows, scores, frozenset(chosen.items()), facts
    )


def _baselines(task: Task, entries: Sequence[_Entry]) -> list[_Entry]:
    """Return what guesses without a model reach, on the persons of the run that has most."""
    widest = max(entries, key=lambda entry: len(entry.scores.persons))
    once = widest.rows.drop_duplicates("idx").assign(seed=0)
    guess = "median" if task.is_regression else "majority"
    found = []
    for name, users, column in (("all", "shared", "baseline_all"), ("own", "each", "baseline_user")):
        rows = once.assign(prediction=once[column])
        found.append(_Entry(guess, f"{guess} ({name})", users, rows, score(task, rows), widest.setting))
    return found


def _scores(task: Task, entry: _Entry) -> dict[str, Any]:
    mean = mean_over_users(entry.scores.persons)
    return {
        "method": entry.label,
        "users": entry.users,
        "persons": mean.users,
        "test_rows": entry.scores.rows,
        **entry.scores.pooled,
        "person_metric": task.main_metric,
        "person_mean": mean.mean,
        "person_low": mean.low,
        "person_high": mean.high,
    }


def _difference(task: Task, entry: _Entry, entries: Sequence[_Entry], name: str) -> dict[str, Any]:
    reference = _reference(entry, entries, name)
    found = reference and paired_difference(entry.scores, reference.scores)
    if not found:
        return {}
    return {
        f"vs_{name}": found.mean,
        f"vs_{name}_low": found.low,
        f"vs_{name}_high": found.high,
        f"vs_{name}_persons": found.users,
        f"vs_{name}_verdict": verdict(task, found),
    }


def _reference(entry: _Entry, entries: Sequence[_Entry], name: str) -> _Entry | None:
    """Return the reference of the same protocol; of several, the one with the entry's own setting."""
    found = [other for other in entries if (other.method, other.users) == (name, entry.users)]
    if len(found) > 1:
        found = [other for other in found if other.setting == entry.setting]
    return found[0] if len(found) == 1 and entry.method != name else None
