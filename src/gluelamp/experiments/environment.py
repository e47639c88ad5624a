"""The software of a run: package versions and the revision of the source."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("gluelamp", "torch", "transformers", "peft", "datasets", "evaluate", "numpy", "scipy")


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that can change a result."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


@lru_cache(maxsize=1)
def git_state() -> dict[str, str | bool | None]:
    """Return the git revision of this package's source tree and whether it has changes; None without git."""
    folder = Path(__file__).parent
    revision = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "dirty": bool(changes) if revision else None}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
