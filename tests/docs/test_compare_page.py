"""The commands of docs/compare.md run, and print what the page shows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from gluelamp.cli.compare import main
from gluelamp.package_data import CONFIGS
from gluelamp.reporting.compare import compare

ROOT = CONFIGS.parent
PAGE = ROOT / "docs" / "compare.md"


def blocks(language: str) -> list[str]:
    tokens = MarkdownIt().parse(PAGE.read_text(encoding="utf-8"))
    return [token.content for token in tokens if token.type == "fence" and token.info == language]


def commands() -> list[list[str]]:
    """Return the words of each command, as Bash passes them."""
    words = "gluelamp() { printf '%s\\t' \"$@\"; echo; }\n"
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-ec", words + "".join(blocks("bash"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.rstrip("\t").split("\t") for line in done.stdout.splitlines()]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A folder with the files that the page names."""
    (tmp_path / "results").symlink_to(ROOT / "results")
    classes = np.array(["entailment", "not_entailment"])
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 100)
    pd.DataFrame({"id": range(100), "label": classes[labels]}).to_csv(tmp_path / "gold.csv", index=False)
    for name in ("mine", "theirs", *"abcdef"):
        predicted = classes[np.where(rng.random(100) < 0.2, 1 - labels, labels)]
        frame = pd.DataFrame({"id": range(100), "prediction": predicted})
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        frame.to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
    for name in "ab":
        right = (rng.random(100) < 0.7).astype(float)
        chosen = np.where(right, labels, 1 - labels)
        likelihoods = [[[str(-abs(choice - one)), "False"] for choice in (0, 1)] for one in chosen]
        samples = {
            "doc_id": range(100),
            "target": labels.astype(str),
            "filtered_resps": likelihoods,
            "acc": right,
        }
        pd.DataFrame(samples).to_json(tmp_path / f"samples_{name}.jsonl", orient="records", lines=True)
    return tmp_path


def test_the_commands_of_the_page_run(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(example)
    outputs = []
    for subcommand, *words in commands():
        assert subcommand == "compare"
        monkeypatch.setattr(sys, "argv", ["gluelamp compare", *words])
        assert main() == 0, words
        lines = capsys.readouterr().out.splitlines()
        outputs.append("".join(f"{line.rstrip()}\n" for line in lines))
    assert len(outputs) >= 6
    assert blocks("text")[0] in outputs[3]


def test_csv_files_of_the_committed_runs_have_the_difference_of_the_committed_table(tmp_path: Path) -> None:
    systems = {}
    for method in ("pafi", "lt_sft"):
        files = sorted(
            (ROOT / "results/reference/runs/minilm" / method / "cola").glob("*/predictions.parquet")
        )
        systems[method] = [tmp_path / f"{method}-{number}.csv" for number in range(len(files))]
        for file, copy in zip(files, systems[method], strict=True):
            rows = pd.read_parquet(file).query("selection == 'held_out'").sample(frac=1, random_state=0)
            rows = rows.assign(prediction=(rows["output_1"] > rows["output_0"]).astype(int))
            rows[["idx", "prediction"]].to_csv(copy, index=False)
            rows[["idx", "label"]].to_csv(tmp_path / "gold.csv", index=False)
    found = compare(systems, tmp_path / "gold.csv", metric="matthews_correlation").iloc[1]
    table = pd.read_csv(ROOT / "results/reference/tables/sparse_masks.csv")
    is_row = (table["label"] == "lt_sft") & (table["task"] == "cola") & (table["equal"] == "trained values")
    expected = table[is_row].iloc[0]
    pairs = {"difference": "vs_pafi", "difference_low": "vs_pafi_low", "difference_high": "vs_pafi_high"}
    for column, name in {**pairs, "p": "vs_pafi_p", "score": "mean", "low": "low", "high": "high"}.items():
        assert found[column] == pytest.approx(expected[name], abs=1e-6)  # the table has six decimals
