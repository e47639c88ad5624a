"""The command line answers before anything heavy is loaded, and imports go downwards only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gluelamp.cli.main import SUBCOMMANDS
from gluelamp.package_data import CONFIGS

ROOT = CONFIGS.parent
HEAVY = ("torch", "transformers", "datasets", "evaluate", "pandas", "pydantic", "wandb", "peft")
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
PRINT_HEAVY = f"""
sys.stderr.write(" ".join(name for name in {HEAVY} if name in sys.modules))
"""
HELP_OF_SCRIPTS = (
    """
import runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        sys.stderr.write(str(end.code or ""))
"""
    + PRINT_HEAVY
)
HELP_OF_SUBCOMMANDS = (
    """
import sys
from gluelamp.cli.main import main
for name in sys.argv[1:]:
    sys.argv = ["gluelamp", *name.split(), "--help"]
    try:
        main()
    except SystemExit as end:
        sys.stderr.write(str(end.code or ""))
"""
    + PRINT_HEAVY
)


def python(code: str, *arguments: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_the_help_of_a_script_loads_nothing_heavy(environment: dict[str, str], tmp_path: Path) -> None:
    done = python(HELP_OF_SCRIPTS, *map(str, SCRIPTS), folder=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: method_pages.py" in done.stdout  # the one script without a configuration
    assert done.stdout.count("== Configuration groups ==") == len(SCRIPTS) - 1 >= 7
    assert not list(tmp_path.iterdir())


def test_the_help_of_a_subcommand_loads_nothing_heavy(environment: dict[str, str], tmp_path: Path) -> None:
    done = python(HELP_OF_SUBCOMMANDS, "", *SUBCOMMANDS, folder=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    configured = [command for command in SUBCOMMANDS.values() if command.has_config]
    assert done.stdout.count("== Configuration groups ==") == len(configured) >= 7
    assert all(f"  {command.help}\n" in done.stdout for command in SUBCOMMANDS.values())
    assert not list(tmp_path.iterdir())


def test_importing_the_library_loads_nothing_heavy(environment: dict[str, str], tmp_path: Path) -> None:
    imported = "import sys, gluelamp as gl; sys.stdout.write(' '.join(dir(gl)))"
    done = python(imported + PRINT_HEAVY, folder=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PaFi" in done.stdout.split()


def test_the_scores_are_read_without_torch(environment: dict[str, str], tmp_path: Path) -> None:
    read = "import sys, gluelamp as gl; gl.results('empty'); sys.stderr.write(str('torch' in sys.modules))"
    done = python(read, folder=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "False")


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
