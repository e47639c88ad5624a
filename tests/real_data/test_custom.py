"""A real file of a user: customer reviews with two classes, read as the command line reads them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from gluelamp.cli.app import plain
from gluelamp.experiments.config import parse_run
from gluelamp.experiments.run import execute
from gluelamp.package_data import CONFIGS

pytestmark = [pytest.mark.real_data, pytest.mark.embedded]


def test_reviews_are_learnt_better_than_the_majority_class(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "custom" / "customer_reviews"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    files = [f"task.train={folder}/train.tsv", f"task.validation={folder}/dev.tsv", "task.text=[sentence]"]
    options = ["method=bitfit", "trainer.epochs=1", "trainer.max_length=48", f"results.root={tmp_path}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = parse_run(plain(compose("train", overrides=["task=custom", *files, *options])))
    record = execute(config)
    assert (record.config.task.name, record.data.source) == ("customer_reviews", "custom")
    assert record.data.rows == {"train": 1597, "validation": 178}
    labels = pd.read_csv(folder / "dev.tsv", sep="\t", quoting=3)["label"]
    assert record.metrics["last"]["accuracy"] > labels.value_counts(normalize=True).max() + 0.02
