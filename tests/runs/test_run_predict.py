"""Test files are for the GLUE server: what it does not know is refused before anything is predicted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gluelamp.errors import InputError
from gluelamp.runs.config import RunConfig
from gluelamp.runs.predict import PredictConfig, write_test_predictions


@pytest.mark.parametrize(("trained", "asked"), [("lamp2n", None), ("lamp2n", "cola"), ("cola", "lamp2n")])
def test_lamp_has_no_server_file(tiny_run: Callable[..., RunConfig], trained: str, asked: str | None) -> None:
    config = tiny_run("method=head_only", "task=cola", f"task.name={trained}")
    with pytest.raises(InputError, match=r"task 'lamp2n' is of LaMP.*stands in predictions\.parquet"):
        write_test_predictions(config, PredictConfig(task=asked))
