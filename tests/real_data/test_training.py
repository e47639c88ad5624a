"""Real weights on real rows: methods learn, and a finished run predicts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from gluelamp.cli.app import plain
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.finished import PredictConfig, write_test_predictions
from gluelamp.experiments.run import execute
from gluelamp.package_data import CONFIGS

pytestmark = [pytest.mark.real_data, pytest.mark.embedded]


def run_config(data_folder: Path, root: Path, *overrides: str) -> RunConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        given = [f"data.root={data_folder / 'glue'}", f"results.root={root}", *overrides]
        return parse_run(plain(compose("train", overrides=["data=local", *given])))


def test_a_finished_run_writes_the_servers_file(data_folder: Path, tmp_path: Path) -> None:
    options = ("method=pafi", "task=rte", "task.max_train_examples=32", "trainer.epochs=1")
    config = run_config(data_folder, tmp_path, *options, "trainer.max_length=16")
    execute(config)
    write_test_predictions(config, PredictConfig())
    written = pd.read_csv(tmp_path / "submissions/glue/minilm/two_layer/pafi/seed0/RTE.tsv", sep="\t")
    assert len(written) == 3000
    assert set(written["prediction"]) <= {"entailment", "not_entailment"}
