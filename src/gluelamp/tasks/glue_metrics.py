"""The metrics of the GLUE benchmark as a metric of the ``evaluate`` library.

The file can also be loaded by its path, like any metric of that library:
``evaluate.load(".../glue_metrics.py", "classification")``.
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


def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    # zero_division avoids a warning where class 1 is in neither labels nor predictions.
    return f1_score(labels, predictions, zero_division=0.0)


def _correlation(function: Callable) -> Callable[[np.ndarray, np.ndarray], float]:
    def correlation(labels: np.ndarray, predictions: np.ndarray) -> float:
        # The correlation with a constant is undefined; such predictions carry no information.
        if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
            return 0.0
        return function(labels, predictions).statistic

    return correlation


_METRICS: dict[str, dict[str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "classification": {
        "accuracy": accuracy_score,
        "f1": _f1,
        "matthews_correlation": matthews_corrcoef,
    },
    "regression": {"pearson": _correlation(pearsonr), "spearman": _correlation(spearmanr)},
}


class GlueMetrics(evaluate.Metric):
    """Accuracy, F1 and Matthews correlation, or Pearson and Spearman correlation.

    The configuration is ``"classification"`` or ``"regression"``. A correlation with a constant is 0.0.
    F1 is that of class 1, and 0.0 where class 1 is in neither predictions nor references.
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
        functions = _METRICS[self.config_name]
        for name in metrics:
            if name not in functions:
                raise unknown(f"{self.config_name} metric", name, functions)
        labels, predicted = np.concatenate(references), np.concatenate(predictions)
        return {name: float(functions[name](labels, predicted)) for name in metrics}
