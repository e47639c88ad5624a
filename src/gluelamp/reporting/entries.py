"""The runs behind one row of a paper's table: all seeds of one method, in one setting, on one task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.aggregation import data_label
from gluelamp.reporting.statistics import Cell, find_cell, score_estimate
from gluelamp.reporting.variants import OF_ROWS, OF_TRAINING, settings_of
from gluelamp.tasks.glue import GLUE

STRICT, OPTIMISTIC = "held_out", "best"
BYTES_A_VALUE = 4
"""Of a backbone in fp32, of which a method stores a share."""
SETTING_NOTE = (
    "All methods of a table were trained alike, as most of its runs were, but for their learning rates and "
    "what their own recipe trains first (`phases` of a record): `lt_sft` fine-tunes all weights to find its "
    "mask, `hadamard` begins with the head alone. Where a method ran in several settings, the one on the "
    "most tasks stands here, of equals the one with the most runs, then the first by its options: never by "
    "its scores. `glue_accuracy` has them all."
)

_WHOLE = ("epochs", "seeds", "trained", "method_bytes", "head_bytes", "shared_bytes")
_TASK_ORDER = {name: position for position, name in enumerate(GLUE)}
_Key = TypeVar("_Key", str, tuple[str, str], tuple[str, ...])


@dataclass(frozen=True)
class Entry:
    """All seeds of one method, in one setting, on one task.

    Args:
        data: label of the data's source.
        backbone: the name.
        label: the method, with what tells its rows in one table apart.
        task: the name.
        selection: which score of a run counts: ``"held_out"``, ``"best"`` or ``"last"``.
        runs: one a seed, in the order of seeds.
    """

    data: str
    backbone: str
    label: str
    task: str
    selection: str
    runs: Sequence[FoundRun]

    @property
    def record(self) -> RunRecord:
        """The first record; in sizes, setting and metric it speaks for all."""
        return self.runs[0][1]

    @property
    def method(self) -> str:
        """The method's name."""
        return str(self.record.config["method"]["name"])

    @property
    def epochs(self) -> int:
        """For how long it was trained."""
        return int(self.record.config["trainer"]["epochs"])

    @cached_property
    def cell(self) -> Cell | None:
        """The predictions of all seeds; None if a run kept none."""
        return find_cell(self.runs, self.selection)

    def scores(self) -> np.ndarray:
        """Return the main metric of each seed, as fractions; NaN where a run has none."""
        values = [record.metrics[self.selection][record.main_metric] for _, record in self.runs]
        return np.array(values, dtype=float)


def method_name(record: RunRecord) -> str:
    """Return the label of a table with one row a method."""
    return str(record.config["method"]["name"])


def entries(
    runs: Sequence[FoundRun],
    label: Callable[[RunRecord], str] = method_name,
    selection: str | None = None,
) -> dict[tuple[str, str], list[Entry]]:
    """Return the rows of paper tables, by data and backbone, which are never mixed.

    All were trained alike, in the setting with the most runs; of each task the data with the most runs are
    taken, and of each label one setting; see :data:`SETTING_NOTE`.

    Args:
        runs: all runs; those that failed, and those on other tasks than GLUE's, are passed over.
        label: names the row of a run.
        selection: which score of a run counts; None is ``"held_out"``, or ``"best"`` where a run lacks it.
    """
    scopes = _grouped([run for run in runs if _counts(run[1])], _scope)
    return {scope: _entries(scopes[scope], label, selection) for scope in sorted(scopes)}


def _entries(
    runs: Sequence[FoundRun], label: Callable[[RunRecord], str], selection: str | None
) -> list[Entry]:
    alike = _most_common(runs, _common_setting)
    same_data = [run for some in _grouped(alike, _task).values() for run in _most_common(some, _data_setting)]
    chosen = [some for of_label in _grouped(same_data, label).values() for some in _one_setting(of_label)]
    strict = all(STRICT in record.metrics for some in chosen for _, record in some)
    selection = selection or (STRICT if strict else OPTIMISTIC)
    found = [_entry(some, label, selection) for some in chosen]
    return sorted(found, key=lambda entry: (entry.label, _TASK_ORDER[entry.task]))


def _entry(runs: Sequence[FoundRun], label: Callable[[RunRecord], str], selection: str) -> Entry:
    record = runs[0][1]
    return Entry(*_scope(record), label(record), _task(record), selection, runs)


def _one_setting(runs: Sequence[FoundRun]) -> Iterator[list[FoundRun]]:
    """The runs of one label in one setting, task by task, in the order of seeds."""
    settings = _grouped(runs, _setting)
    tasks = {name: _grouped(some, _task) for name, some in settings.items()}
    first = min(settings, key=lambda name: (-len(tasks[name]), -len(settings[name]), name))
    for on_task in tasks[first].values():
        yield sorted(on_task, key=lambda run: run[1].config["seed"])


def score_rows(some: Sequence[Entry]) -> pd.DataFrame:
    """Return one row an entry: its score with a 95 % interval, over examples and seeds, and its sizes.

    Returns:
        scores as fractions; their bounds, standard error and its degrees of freedom, NaN where predictions
        are missing; shares in percent of the backbone's values (``trained_pct``) and of its bytes in fp32
        (``stored_pct``), without the head.
    """
    return pd.DataFrame([_score_row(entry) for entry in some]).astype(dict.fromkeys(_WHOLE, "Int64"))


def _score_row(entry: Entry) -> dict[str, Any]:
    record, scores = entry.record, entry.scores()
    found = score_estimate(entry.cell) if entry.cell is not None else None
    stored, backbone = record.bytes.get("method"), record.parameters.get("backbone", float("nan"))
    return {
        "data": entry.data,
        "backbone": entry.backbone,
        "method": entry.method,
        "label": entry.label,
        "task": entry.task,
        "metric": record.main_metric,
        "epochs": entry.epochs,
        "selection": entry.selection,
        "seeds": len(scores),
        "seed_set": " ".join(str(record.config["seed"]) for _, record in entry.runs),
        "mean": scores.mean(),
        "std": scores.std(ddof=1) if len(scores) > 1 else float("nan"),
        "low": found.interval.low if found else float("nan"),
        "high": found.interval.high if found else float("nan"),
        "error": found.error if found else float("nan"),
        "freedom": found.freedom if found else float("nan"),
        "trained": record.parameters.get("trained"),
        "trained_pct": record.parameters.get("trained_pct", float("nan")),
        "method_bytes": stored,
        "stored_pct": float("nan") if stored is None else 100 * stored / (BYTES_A_VALUE * backbone),
        "head_bytes": record.bytes.get("head"),
        "shared_bytes": record.bytes.get("shared"),
    }


def _counts(record: RunRecord) -> bool:
    return record.status == "complete" and record.config["task"]["name"] in GLUE


def _task(record: RunRecord) -> str:
    return str(record.config["task"]["name"])


def _scope(record: RunRecord) -> tuple[str, str]:
    return data_label(record), str(record.config["backbone"]["name"])


def _setting(record: RunRecord) -> tuple[str, ...]:
    """All that a run's method and trainer were told."""
    return _settings(record, lambda key: not key.startswith(OF_ROWS))


def _common_setting(record: RunRecord) -> tuple[str, ...]:
    """What all methods of a table share: of training everything but the rates, which are a method's own."""
    return _settings(record, lambda key: key.startswith(OF_TRAINING) and not key.endswith("learning_rate"))


def _data_setting(record: RunRecord) -> tuple[str, ...]:
    return _settings(record, lambda key: key.startswith(OF_ROWS))


def _settings(record: RunRecord, is_wanted: Callable[[str], bool]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in sorted(settings_of(record).items()) if is_wanted(key))


def _most_common(runs: Sequence[FoundRun], key: Callable[[RunRecord], _Key]) -> list[FoundRun]:
    groups = _grouped(runs, key)
    return min(groups.items(), key=lambda group: (-len(group[1]), group[0]))[1]


def _grouped(runs: Sequence[FoundRun], key: Callable[[RunRecord], _Key]) -> dict[_Key, list[FoundRun]]:
    groups: dict[_Key, list[FoundRun]] = defaultdict(list)
    for run in runs:
        groups[key(run[1])].append(run)
    return groups
