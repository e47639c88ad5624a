"""A config folder of the user's own, defaults of one's own machine, and the short runs for debugging."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.conftest import Ended
from gluelamp.records import find_runs

FILES = {
    "method/mine.yaml": "# @package _global_\ndefaults: [hiwi]\nmethod: {name: mine, bottleneck: 2}\n",
    "experiment/both.yaml": "# @package _global_\nhydra: {sweeper: {params: {method: 'mine,lora'}}}\n",
    "local/default.yaml": "# @package _global_\ntrainer: {epochs: 1}\n",
}


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A config folder with a method, a sweep and defaults."""
    for name, content in FILES.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(content, encoding="utf-8")
    return str(tmp_path / "own")


def test_a_sweep_of_configs_from_a_folder_of_the_users_own(
    train_here: Callable[..., Ended], small: tuple[str, ...], own: str, tmp_path: Path
) -> None:
    code, _, err = train_here("-m", "--config-dir", own, "experiment=both", *small)
    assert (code, err) == (0, "")
    records = {record.config.method.name: record for _, record in find_runs(tmp_path / "results")}
    assert records.keys() == {"mine", "lora"}
    assert {record.config.trainer.epochs for record in records.values()} == {1}
    words = records["mine"].overrides
    assert "method.bottleneck=2" in words
    assert "trainer.epochs=1" in words  # other machines do not have the file local/default.yaml


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("method=mime", "method 'mime' is unknown; did you mean 'mine'? Known: "),
        (
            "method=mine method.botleneck=3",
            "key 'method.botleneck' is unknown; did you mean 'method.bottleneck'?",
        ),
        ("-m experiment=both seed=0,-1", "seed=-1 is not allowed"),
    ],
)
def test_bad_input_with_a_folder_of_the_users_own_is_one_sentence(
    train_here: Callable[..., Ended],
    small: tuple[str, ...],
    own: str,
    tmp_path: Path,
    words: str,
    sentence: str,
) -> None:
    code, _, err = train_here("--config-dir", own, *words.split(), *small)
    assert err.startswith(f"error: {sentence}")
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("debug", ["fast_dev", "overfit"])
def test_a_run_for_debugging_writes_only_where_no_report_looks(
    train_here: Callable[..., Ended], tiny_backbone: Path, tmp_path: Path, debug: str
) -> None:
    tiny = (
        "backbone=tiny",
        f"backbone.path={tiny_backbone}",
        "data=sample",
        "method=full",
        "trainer.learning_rate=3e-3",
    )
    code, _, err = train_here(f"debug={debug}", *tiny)
    assert (code, err) == (0, "")
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["debug"]
    assert not find_runs(tmp_path / "results")
    ((_, record),) = find_runs(tmp_path / "results" / "debug")
    assert record.data.rows["train"] == 32
    if debug == "overfit":
        assert record.history[-1]["train_loss"] < 0.1
