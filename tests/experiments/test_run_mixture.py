"""A run on several tasks: each task has its loss, outputs and metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from experiments.helpers import run_folder
from gluelamp.errors import InputError
from gluelamp.experiments import plan as plan_module
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.reporting.results import Results, write_tables
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.metrics import compute_metrics
from gluelamp.tasks.mixture import find_task
from gluelamp.tasks.predictions import predictions_from_outputs
from gluelamp.training.evaluation import task_loss

TinyRun = Callable[..., RunConfig]
MEMBERS = ("cola", "stsb", "mrpc")
COLUMNS = (slice(0, 2), slice(2, 3), slice(3, 5))
MIXTURE = ("task=mixture", f"task.members=[{','.join(MEMBERS)}]", "task.max_train_examples=24")


@pytest.mark.parametrize("method", ["pha", "fish"])
def test_the_record_holds_each_members_metrics_and_their_average(
    tiny_run: TinyRun, tmp_path: Path, method: str
) -> None:
    config = tiny_run(f"method={method}", *MIXTURE, "trainer.epochs=1")
    record = execute(config)
    assert record.data.rows["cola.train"] == 24
    predictions = pd.read_parquet(run_folder(config) / "predictions.parquet")
    mains = []
    for name, columns in zip(MEMBERS, COLUMNS, strict=True):
        task = known_task(name)
        rows = predictions.query("selection == 'last' and split == @name + '.validation'")
        outputs = rows.filter(regex="output_").to_numpy()[:, columns]
        found = compute_metrics(task, predictions_from_outputs(task, outputs), rows["label"].to_numpy())
        assert {key: record.metrics["last"][f"{name}.{key}"] for key in found} == pytest.approx(found)
        mains.append(found[task.main_metric])
    assert record.main_metric == "average"
    assert record.metrics["last"]["average"] == pytest.approx(np.mean(mains))
    write_tables(Results(tmp_path / "results", tmp_path / "published"))
    table = pd.read_csv(tmp_path / "results" / "tables" / "glue_accuracy.csv")
    assert {"average", "stsb.pearson"} <= set(table["metric"])


def test_each_example_has_the_loss_of_its_own_task() -> None:
    torch.manual_seed(0)
    outputs, tasks = torch.randn(5, 5), torch.tensor([2, 0, 1, 0, 1])
    labels = torch.tensor([1.0, 0.0, 3.5, 1.0, 2.0])
    losses = [
        functional.cross_entropy(outputs[0, 3:5], torch.tensor(1)),
        functional.cross_entropy(outputs[1, 0:2], torch.tensor(0)),
        (outputs[2, 2] - 3.5) ** 2,
        functional.cross_entropy(outputs[3, 0:2], torch.tensor(1)),
        (outputs[4, 2] - 2.0) ** 2,
    ]
    loss = task_loss(find_task("mixture", MEMBERS), labels, tasks)(outputs)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    alone = task_loss(find_task("mixture", MEMBERS), labels[1:2], tasks[1:2])(outputs[1:2])
    torch.testing.assert_close(alone, losses[1])  # members without an example in the batch add nothing


def test_members_from_different_sources_are_refused(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = plan_module.load_task_data

    def half_local(task: object, data: object) -> object:
        from dataclasses import replace

        found = load(task, data)
        return replace(found, source="local") if task.name == "cola" else found

    monkeypatch.setattr(plan_module, "load_task_data", half_local)
    with pytest.raises(InputError, match="cola from local, stsb from sample"):
        plan_run(tiny_run(*MIXTURE))
