"""The tables in the repository are those of the records in it, byte for byte; one's own runs play no part."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gluelamp.reporting.tables import write_tables
from gluelamp.runs.app import CONFIGS

ROOT = CONFIGS.parent


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def test_the_committed_tables_come_out_of_the_committed_records(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout: which records are committed cannot be told")
    for name in git("ls-files", "results").decode().split():
        if not name.startswith(("results/tables", "results/figures", "results/report.html")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    written = write_tables(tmp_path / "results")
    assert {path.name for path in written} >= {"claims.md", "glue_accuracy.csv", "storage.tex"}
    for path in written:
        assert path.read_bytes() == git("show", f":results/tables/{path.name}"), path.name
