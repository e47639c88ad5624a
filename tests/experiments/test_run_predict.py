"""Test files are written for complete runs and a test server; everything else is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gluelamp.errors import InputError
from gluelamp.experiments import finished
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.finished import PredictConfig, write_test_predictions
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.io import read_json, write_json
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.data import load_task_data


@pytest.mark.parametrize(("trained", "asked"), [("lamp2n", None), ("lamp2n", "cola"), ("cola", "lamp2n")])
def test_lamp_has_no_server_file(tiny_run: Callable[..., RunConfig], trained: str, asked: str | None) -> None:
    config = tiny_run("method=head_only", "task=cola", f"task.name={trained}")
    with pytest.raises(InputError, match=r"task 'lamp2n' has no test server.*predictions\.parquet"):
        write_test_predictions(config, PredictConfig(task=asked))


def test_a_run_that_is_not_complete_predicts_nothing(tiny_run: Callable[..., RunConfig]) -> None:
    """A run that was killed, or that failed later, may have task states already."""
    config = tiny_run("method=head_only", "task=cola", "trainer.epochs=1")
    record = plan_run(config).folder / "record.json"
    execute(config)
    write_test_predictions(config, PredictConfig())
    write_json(record, read_json(record) | {"status": "failed"})
    with pytest.raises(InputError, match=r"The run in .* is not complete\. Train it"):
        write_test_predictions(config, PredictConfig())
    record.unlink()
    with pytest.raises(InputError, match=r"The run in .* is not complete\. Train it"):
        write_test_predictions(config, PredictConfig())


def test_rows_of_another_source_than_the_run_s_are_not_predicted(
    tiny_run: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run("method=head_only", "task=mnli")
    elsewhere = replace(load_task_data(known_task("ax"), config.data), source="hub")
    monkeypatch.setattr(finished, "load_task_data", lambda *_: elsewhere)
    with pytest.raises(InputError, match="on sample data, and the rows of 'ax' would be hub ones"):
        write_test_predictions(config, PredictConfig(task="ax"))
