"""Signatures: one line of text beside a score, from which the score can be repeated.

A signature is a list of ``key:value`` pairs in the order of `KEYS`, separated by bars, as in sacrebleu (Post,
"A Call for Clarity in Reporting BLEU Scores", WMT 2018). ``docs/protocol.md`` explains the keys.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd

from gluelamp.reporting.scores import CHECKSUM_DIGITS, table_settings
from gluelamp.reporting.statistics import BOOTSTRAP_SEED, LEVEL, Predictions

KEYS = (
    *("benchmark", "task", "metric", "backbone", "weights", "method", "options", "data", "fingerprint"),
    *("head", "selection", "epochs", "learning_rate", "head_learning_rate", "seeds", "settings"),
    *("files", "sha256", "labels", "rows"),
    *("bootstrap", "resamples", "bootstrap_seed", "level", "version"),
)
"""All keys, in their order. A score has those that are known of it."""

_UNSET = ("null", "", "[]")
_METHOD = "method."


def signature(fields: Mapping[str, object]) -> str:
    """Return fields as one line, such as ``task:cola|metric:accuracy|seeds:1,2,3``.

    Args:
        fields: values by the names in `KEYS`, in any order. A value of None is left out. Bars, percent signs
            and line breaks of a value are percent-encoded.

    Raises:
        KeyError: if a name is not in `KEYS`.
    """
    if extra := fields.keys() - set(KEYS):
        raise KeyError(f"no key of a signature: {', '.join(sorted(extra))}")
    known = [(key, fields[key]) for key in KEYS if fields.get(key) is not None]
    return "|".join(f"{key}:{_encoded(str(value))}" for key, value in known)


def parse_signature(text: str) -> dict[str, str]:
    """Return the fields of a signature, as text by key.

    Raises:
        ValueError: if a part of the text has no colon.
    """
    parts = [part.partition(":") for part in text.split("|") if part]
    if broken := [key for key, colon, _ in parts if not colon]:
        raise ValueError(f"{broken[0]!r} is no part of a signature: it has no colon")
    return {key: unquote(value) for key, _, value in parts}


def shared_signature(signatures: Sequence[str]) -> tuple[str, list[str]]:
    """Split the signatures of a table into what all have in common, and the rest of each.

    Args:
        signatures: of the scores of one table.

    Returns:
        a signature of the common fields, and one of the other fields for each of `signatures`; both may be
        empty.
    """
    parsed = [parse_signature(text) for text in signatures]
    first = parsed[0] if parsed else {}
    common = {key: value for key, value in first.items() if all(one.get(key) == value for one in parsed)}
    rest = [{key: value for key, value in one.items() if key not in common} for one in parsed]
    return signature(common), [signature(one) for one in rest]


def common_signature(rows: pd.DataFrame) -> str:
    """Return what the signatures of the scores of a table have in common.

    Args:
        rows: with the column ``signature``; averages and published scores have none.
    """
    return shared_signature([text for text in rows["signature"] if isinstance(text, str) and text])[0]


def with_signatures(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the column ``signature`` to scores.

    Args:
        rows: of `gluelamp.reporting.summary.summarise`.
    """
    settings = table_settings(rows)
    lines = [
        signature(
            run_fields(row, one)
            | {"seeds": row["seed_set"].replace(" ", ",")}
            | bootstrap_fields(row["predictions"])
            | {"version": row["version"] or None}
        )
        for row, one in zip(rows.to_dict("records"), settings, strict=True)
    ]
    return rows.assign(signature=pd.Series(lines, index=rows.index, dtype=object))


def run_fields(row: Mapping[Any, Any], settings: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of a score of runs, without their seeds.

    Args:
        row: of `gluelamp.reporting.scores.score_table`.
        settings: of the same row, of `gluelamp.reporting.scores.table_settings`.
    """
    return {
        "benchmark": row["declaration"].benchmark if row["declaration"] else None,
        "task": row["task"],
        "metric": row["metric"],
        "backbone": row["backbone"],
        "weights": row["checksum"][:CHECKSUM_DIGITS],
        "method": row["method"],
        "options": _options(settings) or None,
        "data": row["data"],
        "fingerprint": row["fingerprint"][:CHECKSUM_DIGITS],
        "head": row["head"],
        "selection": row["selection"],
        "epochs": row["epochs"],
        "learning_rate": settings.get("trainer.learning_rate"),
        "head_learning_rate": settings.get("trainer.head_learning_rate"),
        "settings": _digest(settings),
    }


def bootstrap_fields(predictions: Predictions | None, level: float = LEVEL) -> dict[str, object]:
    """Return the fields of the resampling behind an interval.

    Args:
        predictions: of the score; None if it has no interval.
        level: the confidence level of the interval.
    """
    if predictions is None:
        return {"bootstrap": "none"}
    return {
        "rows": len(predictions.labels),
        "bootstrap": "rows" if predictions.groups is None else "groups",
        "resamples": predictions.resamples,
        "bootstrap_seed": BOOTSTRAP_SEED,
        "level": level,
    }


def _options(settings: Mapping[str, str]) -> str:
    """Return the options of the method that have a value, sorted by name."""
    # All of them, and not those that differ from the defaults: defaults change between releases.
    skipped = (f"{_METHOD}name", f"{_METHOD}kind")
    options = sorted(key for key in settings if key.startswith(_METHOD) and key not in skipped)
    shown = [f"{key.removeprefix(_METHOD)}={settings[key]}" for key in options if settings[key] not in _UNSET]
    return ",".join(shown)


def _digest(settings: Mapping[str, str]) -> str:
    """Return a hash of all settings of a run, except its seed."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:CHECKSUM_DIGITS]


def _encoded(value: str) -> str:
    return re.sub(r"[%|\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: quote(match[0]), value)
