"""How many cases, and how much memory a reader may take.

`make fuzz` sets ``GLUELAMP_FUZZ_CASES``: new random cases in each call. Without it the cases are few, and the
same in each call.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# By default hypothesis writes into the current folder.
os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir()) / "gluelamp-hypothesis")
)

from hypothesis import HealthCheck, Phase, settings

_CASES = os.environ.get("GLUELAMP_FUZZ_CASES")
_EXTRA_MEMORY = 3 * 2**30  # address space; the readers' libraries reserve some of it in advance

settings.register_profile(
    "gluelamp",
    max_examples=int(_CASES or 200),
    derandomize=not _CASES,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    # reading a file is slow, and each case writes its file anew
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=bool(_CASES),
)
settings.load_profile("gluelamp")


@pytest.fixture(autouse=True)
def _memory_limit() -> Iterator[None]:
    """A reader that allocates what a length in a damaged file asks for fails with a MemoryError."""
    resource = pytest.importorskip("resource")
    import pandas as pd  # noqa: F401  - libraries are loaded before the limit is set
    import pyarrow.parquet  # noqa: F401
    import torch  # noqa: F401

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _EXTRA_MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the files that a test writes, one after another."""
    return tmp_path_factory.mktemp("fuzz")
