"""Test files are written for complete runs and a test server; everything else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from zipfile import ZipFile

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


def test_superglue_s_choices_and_diagnostics_are_written_into_one_zip(
    tiny_run: Callable[..., RunConfig],
) -> None:
    options = ("method=head_only", "trainer.epochs=1")
    copa, rte = (tiny_run(*options, f"task={name}") for name in ("copa", "super_rte"))
    for config, task in ((copa, None), (rte, None), (rte, "axb"), (rte, "axg")):
        execute(config)  # a finished run is skipped
        path = write_test_predictions(config, PredictConfig(task=task))
    with ZipFile(path) as archive:
        assert archive.namelist() == ["COPA.jsonl", "RTE.jsonl", "AX-b.jsonl", "AX-g.jsonl"]
        lines = {
            name: [json.loads(line) for line in archive.read(name).splitlines()]
            for name in archive.namelist()
        }
    # The sample has 64 rows for the server in each task, and those of COPA are the choices of 32 questions.
    assert {name: len(found) for name, found in lines.items()} == {
        "COPA.jsonl": 32,
        **dict.fromkeys(("RTE.jsonl", "AX-b.jsonl", "AX-g.jsonl"), 64),
    }
    assert {line["label"] for line in lines["COPA.jsonl"]} <= {0, 1}
    for name in ("RTE.jsonl", "AX-b.jsonl", "AX-g.jsonl"):
        assert {line["label"] for line in lines[name]} <= {"entailment", "not_entailment"}
