"""The folders that the package reads: Hydra's configs, and the numbers that the papers print.

A wheel contains them inside the package. In a clone they are folders of the repository.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_IN_WHEEL = (_PACKAGE / "configs").is_dir()
_REPOSITORY = _PACKAGE.parents[1]

CONFIGS = _PACKAGE / "configs" if _IN_WHEEL else _REPOSITORY / "configs"
PUBLISHED = _PACKAGE / "published" if _IN_WHEEL else _REPOSITORY / "results" / "published"
