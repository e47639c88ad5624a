"""The command line answers before anything heavy is loaded, and imports go downwards only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gluelamp.cli.app import CONFIGS

ROOT = CONFIGS.parent
HEAVY = ("torch", "transformers", "datasets", "evaluate", "pandas", "pydantic", "wandb", "peft")
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
HELP_OF_EACH = f"""
import runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        sys.stderr.write(str(end.code or ""))
    sys.stderr.write(" ".join(name for name in {HEAVY} if name in sys.modules))
"""


def test_help_loads_nothing_heavy(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_EACH, *map(str, SCRIPTS)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: method_pages.py" in done.stdout  # the one script without a configuration
    assert done.stdout.count("== Configuration groups ==") == len(SCRIPTS) - 1 >= 7
    assert not list(tmp_path.iterdir())


def test_a_package_imports_only_from_the_packages_below_it(environment: dict[str, str]) -> None:
    pytest.importorskip("importlinter")
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout
