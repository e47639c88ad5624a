"""The metrics of the GLUE benchmark as a local module of the ``evaluate`` library.

An ordinary Python module of this package, which like any module of that library can be loaded by
its path too: ``evaluate.load(".../glue_metrics", "classification")``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import datasets
import evaluate
import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from gluelamp.errors import unknown

_DESCRIPTION = "Accuracy, F1, Matthews, Pearson and Spearman correlation by the rules of GLUE."
_CITATION = "Wang et al.: GLUE, ICLR 2019, arXiv 1804.07461, section 3"
_INPUTS = """
Args:
    predictions: batches of class ids (classification) or numbers (regression).
    references: batches of gold labels, of the same lengths.
    metrics: names of the metrics to return.
"""


def _is_constant(values: np.ndarray) -> bool:
    return values.min() == values.max()


def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    return f1_score(labels, predictions, zero_division=0.0)


def _pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    if _is_constant(labels) or _is_constant(predictions):
        return 0.0
    return pearsonr(labels, predictions).statistic


def _spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    if _is_constant(labels) or _is_constant(predictions):
        return 0.0
    return spearmanr(labels, predictions).statistic


_METRICS: dict[str, dict[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "classification": {
        "accuracy": accuracy_score,
        "f1": _f1,
        "matthews_correlation": matthews_corrcoef,
    },
    "regression": {"pearson": _pearson, "spearman": _spearman},
}


class GlueMetrics(evaluate.Metric):
    """Accuracy, F1 and Matthews correlation, or Pearson and Spearman correlation.

    The configuration is ``"classification"`` or ``"regression"``. Where a correlation is undefined
    because one side is constant, it is 0.0: such predictions carry no information. F1 is that of
    class 1, and 0.0 where class 1 occurs on neither side.
    """

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in _METRICS:
            raise unknown("configuration of glue_metrics", self.config_name, _METRICS)
        dtype = "float64" if self.config_name == "regression" else "int64"
        # A whole batch is one list: as single values, 40,000 QQP pairs would take 0.07 s to encode.
        values = datasets.List(datasets.Value(dtype))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": values, "references": values}),
        )

    def _compute(
        self,
        *,
        predictions: Sequence[Sequence[float]],
        references: Sequence[Sequence[float]],
        metrics: Sequence[str],
    ) -> dict[str, float]:
        known = _METRICS[self.config_name]
        for name in metrics:
            if name not in known:
                raise unknown(f"{self.config_name} metric", name, known)
        labels, predicted = np.concatenate(references), np.concatenate(predictions)
        return {name: float(known[name](labels, predicted)) for name in metrics}
