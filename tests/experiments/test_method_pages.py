"""The generated pages are written as a whole: no command writes them from some of the methods."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gluelamp.package_data import CONFIGS

ROOT = CONFIGS.parent


def test_the_pages_of_all_methods_are_not_written_from_some_of_them(tmp_path: Path) -> None:
    pages = [ROOT / "docs" / name for name in ("methods.md", "capabilities.md", "export.md")]
    before = [page.read_bytes() for page in pages]
    command = [sys.executable, str(ROOT / "scripts" / "method_pages.py"), "methods=[pafi]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unrecognized arguments: methods=[pafi]" in done.stderr
    assert [page.read_bytes() for page in pages] == before
