from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the real data, which holds ``glue``, ``glue_data`` and ``lamp``."""
    folder = Path(os.environ.get("GLUELAMP_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "glue").is_dir():
        message = f"no real data in {folder}; set GLUELAMP_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder
