#!/usr/bin/env python3
"""Write the GLUE server's files of a finished run: python scripts/predict.py method=pafi task=cola."""

from __future__ import annotations

from typing import Any

from gluelamp.cli.app import run_app


def predict(raw: dict[str, Any]) -> None:
    """Predict the test splits of a composed configuration."""
    from gluelamp.experiments.config import parse, parse_run
    from gluelamp.experiments.predict import PredictConfig, write_test_predictions

    choice = parse(PredictConfig, raw.pop("predict"), "predict")
    write_test_predictions(parse_run(raw), choice)


if __name__ == "__main__":
    run_app(predict, "predict")
