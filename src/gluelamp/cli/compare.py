"""The command ``gluelamp compare``: words of the command line to a comparison, and its output."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from gluelamp.errors import InputError, unknown
from gluelamp.io import user_path

USAGE = """\
usage: gluelamp compare SYSTEM [SYSTEM ...] [gold=FILE] [OPTION=VALUE ...]

Compare predictions on the same examples: scores, paired differences with intervals, p-values after Holm's
correction, verdicts and signatures.

SYSTEM is FILE, FOLDER, or NAME=FILE[,FILE ...], where each file has the predictions of one seed:
  a CSV, TSV, JSONL or Parquet file with the columns id and prediction;
  a JSONL file of samples of lm-evaluation-harness (--log_samples);
  a predictions.parquet of this suite, or a folder with runs that differ in the seed.

options:
  gold=FILE           the labels by id; by default the files have a column of labels
  metric=NAME         accuracy, macro_f1, matthews_correlation, f1, roc_auc, exact_match, gender_parity,
                      pearson, spearman, mae, rmse, or a score of the samples
  baseline=NAME       the system that the others are compared with; by default the first
  id=, prediction=, label=, group=COLUMN   names of columns; rows of a group are resampled together
  positive=CLASS      the class of f1 and roc_auc; by default 1
  selection=NAME      the epoch of runs: held_out, best or last
  filter=NAME         the filter of samples that have several
  resamples=NUMBER    bootstrap samples; by default 2000
  confidence=NUMBER   of the intervals; by default 0.95
  format=NAME         table, csv or json
"""
ROLES = ("id", "prediction", "label", "group")
TEXTS = ("metric", "baseline", "positive", "selection", "filter")
NUMBERS = {"resamples": int, "confidence": float}
FORMATS = ("table", "csv", "json")
OPTIONS = ("gold", *ROLES, *TEXTS, *NUMBERS, "format")


class Words(NamedTuple):
    """The parsed words of a command line.

    Args:
        systems: paths by name of the system.
        options: values by name, as text.
    """

    systems: dict[str, list[Path]]
    options: dict[str, str]


def main() -> int:
    """Run the command on `sys.argv`, print the result, and return the exit code: 0, or 2 on bad input."""
    words = sys.argv[1:]
    if not words or {"-h", "--help"} & set(words):
        sys.stdout.write(USAGE)
        return 0 if words else 2
    try:
        _print(parse(words))
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def parse(words: Sequence[str]) -> Words:
    """Sort words into systems and options.

    Raises:
        InputError: if an option is unknown, or two systems have the same name.
    """
    options: dict[str, str] = {}
    systems: list[tuple[str, list[Path]]] = []  # without a name: a single path
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or user_path(word).exists():
            systems.append(("", [user_path(word)]))
        elif name in OPTIONS:
            options[name] = value
        else:
            file = user_path(value)
            paths = [file] if file.exists() else [user_path(part) for part in value.split(",")]
            # A misspelt option would otherwise be a system whose file is missing.
            if not any(path.exists() for path in paths) and get_close_matches(name, OPTIONS, n=1):
                raise unknown("option", name, OPTIONS)
            systems.append((name, paths))
    unnamed = iter(_names([paths[0] for name, paths in systems if not name]))
    named = [(name or next(unnamed), paths) for name, paths in systems]
    for name, number in Counter(name for name, _ in named).items():
        if number > 1:
            raise InputError(
                f"{number} systems are named {name!r}. Name them with NAME=FILE; the files of several seeds "
                "are separated by commas."
            )
    return Words(dict(named), options)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the names of the files, or, where these are equal, the folders in which the paths differ."""
    names = [path.stem for path in paths]
    if len(set(names)) == len(names):
        return names
    parts = [path.parts for path in paths]
    start, end = _common(parts), _common([one[::-1] for one in parts])
    return ["/".join(one[start : len(one) - end]) or name for one, name in zip(parts, names, strict=True)]


def _common(parts: Sequence[Sequence[str]]) -> int:
    """Return with how many equal parts all paths start."""
    return len(list(takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))))


def _print(words: Words) -> None:
    from gluelamp.reporting.compare import compare
    from gluelamp.reporting.rendering import as_csv
    from gluelamp.reporting.rendering.terminal import print_table
    from gluelamp.reporting.signature import shared_signature
    from gluelamp.reporting.tables.comparison import comparison_table

    given = words.options
    form = given.get("format", "table")
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    options: dict[str, Any] = {name: given[name] for name in TEXTS if name in given}
    options |= {name: _number(name, given[name]) for name in NUMBERS if name in given}
    columns = {role: given[role] for role in ROLES if role in given}
    rows = compare(words.systems, given.get("gold"), columns=columns, **options)
    if form == "csv":
        sys.stdout.write(as_csv(rows))
    elif form == "json":
        records = rows.astype(object).where(rows.notna(), None).to_dict("records")
        sys.stdout.write(json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    else:
        print_table(comparison_table(rows))
        _, own = shared_signature(rows["signature"].tolist())
        lines = [f"{name}: {line}\n" for name, line in zip(rows["system"], own, strict=True) if line]
        sys.stdout.write("".join(lines))


def _number(name: str, text: str) -> float:
    try:
        return NUMBERS[name](text)
    except ValueError as error:
        raise InputError(f"{name}={text} is not allowed: give a number.") from error
