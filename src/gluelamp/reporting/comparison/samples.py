"""Samples that lm-evaluation-harness logged (``--log_samples``): answers or scores of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.reporting.comparison.files import PredictionFile, Reading, require_texts
from gluelamp.reporting.statistics.metrics import MEAN

SAMPLE_COLUMNS = {"doc_id", "target", "filtered_resps"}
"""Of the samples of lm-evaluation-harness."""
# The other keys of a sample are its scores.
_NO_SCORES = {"doc", "arguments", "resps", "filter", "metrics", "doc_hash", "prompt_hash", "target_hash"}
_PAIR_METRICS = {"f1": "f1", "mcc": "matthews_correlation"}
"""The metrics of lm-eval whose value of a row is a label and a prediction."""


def sample_file(path: Path, frame: pd.DataFrame, reading: Reading, sha256: str) -> PredictionFile:
    """Return the predictions or the scores of samples.

    A metric that the file lists is taken from it, as a score of each row or as a pair of label and
    prediction. Any other metric is computed from the answers (``filtered_resps``) and the targets or, if
    there is a file of labels, the labels.

    Args:
        path: the file.
        frame: its content.
        reading: how files are read.
        sha256: of the file.
    """
    frame = _one_filter(path, frame, reading.filter)
    rows = pd.DataFrame({"id": frame["doc_id"].map(str), "label": frame["target"]})
    # Samples of releases before 2025 do not list their scores.
    listed = frame["metrics"].iloc[0] if "metrics" in frame else list(frame)
    if not (isinstance(listed, list) and all(isinstance(name, str) for name in listed)):
        raise InputError(f"{path}: 'metrics' is {listed!r}, which is not a list of names.")
    own = [name for name in listed if name in frame and name not in SAMPLE_COLUMNS | _NO_SCORES]
    own = [] if reading.has_gold else own
    metric = reading.metric or next(iter(own), "accuracy")
    stated = {"metric": metric}
    if metric not in own:
        answers = [_answer(path, responses) for responses in frame["filtered_resps"]]
        return PredictionFile(str(path), rows.assign(prediction=answers), sha256, metric, stated)
    values = frame[metric].tolist()
    if metric in _PAIR_METRICS and all(isinstance(value, list) and len(value) == 2 for value in values):
        rows["label"], rows["prediction"] = zip(*values, strict=True)
        return PredictionFile(str(path), rows, sha256, _PAIR_METRICS[metric], stated)
    if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in values):
        raise InputError(
            f"{path}: the values of {metric!r} are not scores between 0 and 1. Other scores of the file: "
            f"{', '.join(name for name in own if name != metric) or 'none'}."
        )
    return PredictionFile(str(path), rows.assign(prediction=values), sha256, MEAN, stated)


def _one_filter(path: Path, frame: pd.DataFrame, wanted: str | None) -> pd.DataFrame:
    """Return the rows of one filter; a file has all rows once for each of its filters."""
    if "filter" in frame:
        require_texts(str(path), frame, "filter")
    filters = frame["filter"].unique().tolist() if "filter" in frame else []
    if wanted is None and len(filters) < 2:
        return frame
    if wanted is None:
        raise InputError(
            f"{path} has several answers for each id; give filter={' or filter='.join(filters)}."
        )
    if wanted not in filters:
        raise InputError(f"{path}: {unknown('filter', wanted, filters)}")
    return frame[frame["filter"] == wanted]


def _answer(path: Path, responses: Any) -> object:
    """Return the answer of one sample: the place of the most probable choice, or the text."""
    if not isinstance(responses, list) or not responses:
        return responses
    # One [log-likelihood, is greedy] for each choice of a question, all of them as text.
    if all(isinstance(one, list) and len(one) == 2 for one in responses):
        likelihoods = pd.to_numeric(pd.Series([one for one, _ in responses], dtype=object), errors="coerce")
        if likelihoods.isna().any():
            raise InputError(f"{path}: 'filtered_resps' has {responses!r}, which are no log-likelihoods.")
        return int(np.argmax(likelihoods))
    first = responses[0]
    return first[0] if isinstance(first, list) and first else first
