"""The command line answers before anything heavy is loaded, and imports go downwards only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gluelamp.cli.app import CONFIGS

ROOT = CONFIGS.parent
HEAVY = ("torch", "transformers", "datasets", "evaluate", "pandas", "pydantic", "wandb", "peft")
LOADED_AFTER_HELP = f"""
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    sys.stderr.write(" ".join(name for name in {HEAVY} if name in sys.modules))
"""


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_help_loads_nothing_heavy(script: Path, environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED_AFTER_HELP, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "== Configuration groups ==" in done.stdout
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
