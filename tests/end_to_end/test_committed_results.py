"""The tables in the repository are those of its records, byte for byte, without runs that are not in git."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from statistics import mean

import pytest
from hydra import compose, initialize_config_dir

from gluelamp.cli.app import plain
from gluelamp.experiments.config import parse_run
from gluelamp.experiments.identity import identity
from gluelamp.package_data import CONFIGS
from gluelamp.records import find_runs
from gluelamp.reporting.labels import flatten
from gluelamp.reporting.results import Results, write_tables
from gluelamp.reporting.tables.search import BUDGETS, SCOPE, best_options, trial_rows
from gluelamp.training.profile_state import Rates

ROOT = CONFIGS.parent
REFERENCE = "results/reference"


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the reference folder with the files in git only, without tables and figures."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the committed records are unknown")
    folder = tmp_path_factory.mktemp("committed")
    for name in git("ls-files", REFERENCE).decode().split():
        if not name.startswith(tuple(f"{REFERENCE}/{part}" for part in ("tables", "figures", "report.html"))):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder / REFERENCE


def test_the_tables_are_made_from_the_records(committed: Path) -> None:
    written = write_tables(Results(committed, ROOT / "results" / "published"))
    assert {path.name for path in written} >= {"claims.md", "glue_accuracy.csv", "storage.tex"}
    for path in written:
        assert path.read_bytes() == git("show", f":{REFERENCE}/tables/{path.name}"), path.name


def test_a_run_has_the_name_that_its_record_gives(committed: Path) -> None:
    found = [run for part in ("", "rates", "search") for run in find_runs(committed / part)]
    assert found
    for folder, record in found:
        assert folder.name == record.identity == identity(record.config_dict()), folder


def config_options(method: str) -> dict[str, str]:
    """The options of a method's config as text, with the rate that a head without its own rate has."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = parse_run(plain(compose("train", overrides=[f"method={method}"])))
    rates = Rates.from_config(config.trainer)
    trainer = {"dropout": config.trainer.dropout, "learning_rate": rates.method}
    method_options = json.loads(json.dumps(asdict(config.method)))
    return flatten({"method": method_options, "trainer": {**trainer, "head_learning_rate": rates.head}})


def test_the_config_of_a_searched_method_has_the_options_of_its_best_trial(committed: Path) -> None:
    trials = trial_rows(find_runs(committed / "search"))
    searched = [group for _, group in trials.groupby([*SCOPE, "method"]) if len(group) >= max(BUDGETS)]
    if not searched:
        pytest.skip("no method has all of its trials yet")
    for group in searched:
        best, method = best_options(group), group["method"].iloc[0]
        options = config_options(method)
        assert {key: options[key] for key in best} == best, method


def test_the_method_configs_have_the_rates_that_the_search_selected(committed: Path) -> None:
    scores: dict[str, dict[str, dict[tuple[float, float | None], list[float]]]] = {}
    trials = trial_rows(find_runs(committed / "search")).groupby([*SCOPE, "method"])
    searched = {group["method"].iloc[0] for _, group in trials if len(group) >= max(BUDGETS)}
    for _, record in find_runs(committed / "rates"):
        if record.config.method.name in searched:
            continue  # its config has the options of the newer search
        if record.config_dict()["method"].get("inner_layer_norm"):
            continue  # not a part of the search
        method, task = (record.config.method.name, record.config.task.name)
        config = record.config_dict()
        setting = (config["trainer"]["learning_rate"], config["method"].get("bank_gain"))
        by_setting = scores.setdefault(method, {"cola": {}, "stsb": {}})[task]
        by_setting.setdefault(setting, []).append(record.metrics["last"][record.main_metric])
    for method, by_task in scores.items():
        cola, stsb = ({at: mean(seeds) for at, seeds in by_task[task].items()} for task in ("cola", "stsb"))
        if not stsb:
            continue  # a part of a search
        learns = {at: score for at, score in stsb.items() if cola.get(at, 0) > 0} or stsb
        near = [at for at, score in learns.items() if score > max(learns.values()) - 0.01]
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config_file = compose("train", overrides=[f"method={method}"])
        chosen = max(near, key=lambda at: (cola.get(at, 0), stsb[at]))
        assert (config_file.trainer.learning_rate, config_file.method.get("bank_gain")) == chosen, method
        untried = stsb.keys() - cola.keys() - learns.keys()
        assert all(stsb[at] <= max(learns.values()) - 0.01 for at in untried), method
