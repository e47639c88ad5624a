"""Labels of tables: titles of tasks and selections, and the settings in which a method's runs differ."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.reporting.rendering.markdown import escape

SELECTIONS = {
    "held_out": "cross-fitted (2-fold) epoch selection",
    "best": "best epoch",
    "last": "last epoch",
}
"""Titles of the selections of the epoch, the strictest first; every record has ``best`` and ``last``."""

HEADS = {"two_layer": "two-layer head", "linear": "linear head"}
"""Titles of the types of the task head, that of the committed evidence first."""

SAMPLE_NOTE = "The bundled sample is synthetic: it shows that the suite runs, and it is no evidence on {}."
_DEVIATES_NOTE = (
    "The rows of this table are not the official ones of {}, so its scores are comparable with no others"
)

COLLAPSED_MARK = "ᶜ"
COLLAPSED_NOTE = (
    f"{COLLAPSED_MARK} the mean includes collapsed runs, which predict one class on at least 99 % of the "
    "validation rows. Its interval is too narrow: in simulations with three seeds, of which some collapse, "
    "it contains the true mean in 51 to 77 of 100 cases. `threshold_free` has scores that do not depend on "
    "the decision threshold. Collapsed: {}"
)

_TASK_NAMES = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "qqp": "QQP",
    "stsb": "STS-B",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
    "boolq": "BoolQ",
    "cb": "CB",
    "copa": "COPA",
    "multirc": "MultiRC",
    "super_rte": "RTE (SuperGLUE)",
    "wic": "WiC",
    "wsc": "WSC",
    "axb": "AX-b",
    "axg": "AX-g",
}

Settings = Mapping[str, str]
"""Settings as text by dotted key, such as ``{"method.density": "0.005"}``."""
Run = tuple[Hashable, str, Settings]
"""The group in which a run is labelled, its method's name and its settings."""

UNSET = "unset"
DATA_PREFIXES = ("task.", "data.")
"""Of the settings that define the rows of a run."""
TRAINING_PREFIXES = ("backbone.", "trainer.", "head.")
"""Of the settings of a run's training that all methods have."""


SEARCHED = ("trainer.learning_rate", "trainer.head_learning_rate", "trainer.dropout")
"""Settings of the training that are searched for each method, so that methods may differ in them."""


def task_name(task: str) -> str:
    """Return a task's name as papers write it."""
    return _TASK_NAMES.get(task, task)


def task_names(tasks: str) -> str:
    """Return the names of several tasks, which are separated by a blank, as a list in a sentence."""
    return ", ".join(map(task_name, tasks.split()))


def collapsed_mark(collapsed: float) -> str:
    """Return the mark of a score whose mean includes collapsed runs; empty without such runs.

    Args:
        collapsed: their number; missing if it is unknown.
    """
    return COLLAPSED_MARK if pd.notna(collapsed) and collapsed > 0 else ""


def collapse_notes(rows: pd.DataFrame, label: str) -> list[str]:
    """Return the note on the marked scores of a table, with the number of collapsed runs of each.

    Args:
        rows: with the columns ``task``, ``selection``, ``collapsed`` and ``seeds``.
        label: the column with the names of the lines.

    Returns:
        one sentence in Markdown; nothing if no run collapsed.
    """
    marked = rows[rows["collapsed"].fillna(0) > 0]
    has_selections = rows["selection"].nunique() > 1
    cells = [
        f"{escape(row[label])} on {task_name(row['task'])} {row['collapsed']} of {row['seeds']}"
        + (f" ({SELECTIONS[row['selection']]})" if has_selections else "")
        for row in marked.to_dict("records")
    ]
    return [COLLAPSED_NOTE.format(", ".join(cells))] if cells else []


def data_notes(data: str, benchmark: str, deviations: Iterable[str] = ()) -> list[str]:
    """Return the note of a table whose rows are not those of the benchmark.

    Args:
        data: the label of the data.
        benchmark: its title.
        deviations: the known differences from the official rows, if the table lists them.
    """
    if data.startswith("sample"):
        return [SAMPLE_NOTE.format(benchmark)]
    if "(deviates)" not in data:
        return []
    listed = "; ".join(deviations)
    return [_DEVIATES_NOTE.format(benchmark) + (f": {listed}." if listed else ".")]


def scope_title(rows: pd.DataFrame) -> str:
    """Return the title of a table of scores of one backbone, data, training and selection.

    Args:
        rows: with the columns ``backbone``, ``head``, ``data``, ``epochs``, ``selection`` (empty if there are
            no runs) and ``seeds``.
    """
    # All rows have the same backbone, head, data, epochs and selection; only the numbers of seeds may differ.
    first = rows.iloc[0]
    if not first["selection"]:
        return f"{first['backbone']}, no runs"
    seeds = rows.loc[rows["seeds"] > 0, "seeds"]
    fewest, most = int(seeds.min()), int(seeds.max())
    count = plural(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    training = f"{first['data']} data, {plural(first['epochs'], 'epoch')}"
    model = f"{first['backbone']}, {HEADS[first['head']]}"
    return f"{model}, {training}, {SELECTIONS[first['selection']]}, {count}"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``"3 seeds"``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a nested configuration as text by dotted key."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def is_shared(key: str) -> bool:
    """Return whether methods can be compared only with equal values of a setting.

    Learning rates and dropout are excluded: each method has its own, from a search with the same budget.
    """
    return key.startswith(TRAINING_PREFIXES) and key not in SEARCHED


def variant_labels(runs: Sequence[Run]) -> list[str]:
    """Return one label per run: the method's name and, in brackets, what distinguishes its variant.

    Two runs of one group on one task have the same label exactly if they have the same settings. The rows
    of a run always differ between tasks: their settings are in a label only if they differ within a task.

    Args:
        runs: settings of ``method`` are printed without this prefix, others with their full key.

    Returns:
        labels such as ``"pafi"`` or ``"pafi [density=0.01, trainer.epochs=3]"``.
    """
    return [_label(run, keys) for run, keys in zip(runs, _variant_keys(runs), strict=True)]


def table_labels(runs: Sequence[Run]) -> list[str]:
    """Return labels for the runs of several methods in one table.

    They are those of `variant_labels` for each method. In addition, a run with other rows or another
    training than most runs of the table is labelled with the difference: it is not comparable with them.

    Args:
        runs: a group is one table.
    """
    variants = _variant_keys([((table, method), method, settings) for table, method, settings in runs])
    keys = zip(variants, _deviating_keys(runs), strict=True)
    return [_label(run, sorted({*one, *other})) for run, (one, other) in zip(runs, keys, strict=True)]


def _variant_keys(runs: Sequence[Run]) -> list[list[str]]:
    """Return for each run the keys in which the runs of its group differ, sorted."""
    # The fingerprint of RTE differs from that of CoLA, but that is no variant of a method. A setting of the
    # rows counts only if runs on the same task differ in it.
    everywhere = _differing_keys([(group, settings) for group, _, settings in runs])
    on_task = _differing_keys([((group, settings.get("task.name")), settings) for group, _, settings in runs])
    return [
        [key for key in keys if key in keys_on_task or not key.startswith(DATA_PREFIXES)]
        for keys, keys_on_task in zip(everywhere, on_task, strict=True)
    ]


def _differing_keys(runs: Sequence[tuple[Hashable, Settings]]) -> list[list[str]]:
    groups: dict[Hashable, list[Settings]] = defaultdict(list)
    for group, settings in runs:
        groups[group].append(settings)
    differing = {}
    for group, members in groups.items():
        keys = sorted({key for settings in members for key in settings})
        # A setting that only some runs have differs too: their methods have other options.
        differing[group] = [
            key for key in keys if len({settings.get(key, UNSET) for settings in members}) > 1
        ]
    return [differing[group] for group, _ in runs]


def _deviating_keys(runs: Sequence[Run]) -> list[list[str]]:
    """Return for each run the settings of rows and training with another value than in most runs."""
    # Settings of the rows are compared within a task, settings of the training over all tasks of a table.
    counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
    settings = [list(_comparable_settings(group, values)) for group, _, values in runs]
    for scope, _, value in (setting for one in settings for setting in one):
        counts[scope][value] += 1
    # Of equally frequent values the first in alphabetical order, whatever the order of the runs
    modes = {scope: max(sorted(values), key=lambda value: values[value]) for scope, values in counts.items()}
    return [[key for scope, key, value in one if value != modes[scope]] for one in settings]


def _comparable_settings(group: Hashable, settings: Settings) -> Iterator[tuple[Hashable, str, str]]:
    """Yield for each setting that all methods have: the runs it is compared with, its key and its value."""
    for key, value in settings.items():
        if key.startswith(DATA_PREFIXES):
            yield (group, settings.get("task.name"), key), key, value
        elif is_shared(key):
            yield (group, key), key, value


def _label(run: Run, keys: Sequence[str]) -> str:
    _, method, settings = run
    if not keys:
        return method
    shown = (f"{key.removeprefix('method.')}={settings.get(key, UNSET)}" for key in keys)
    return f"{method} [{', '.join(shown)}]"
