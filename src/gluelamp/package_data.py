"""The folders that the package reads: Hydra's configs, the papers' numbers, and the project's own results.

A wheel contains the first two inside the package. In a clone they are folders of the repository.
"""

from __future__ import annotations

from pathlib import Path

from gluelamp.errors import InputError

_PACKAGE = Path(__file__).parent
_IN_WHEEL = (_PACKAGE / "configs").is_dir()
_REPOSITORY = _PACKAGE.parents[1]

CONFIGS = _PACKAGE / "configs" if _IN_WHEEL else _REPOSITORY / "configs"
PUBLISHED = _PACKAGE / "published" if _IN_WHEEL else _REPOSITORY / "results" / "published"
REFERENCE = _REPOSITORY / "results" / "reference"
"""The project's committed results. Only a clone has this folder."""


def refuse_reference(root: Path | str) -> None:
    """Refuse to write into the project's committed results.

    Args:
        root: the results folder of a command.

    Raises:
        InputError: if it is the reference folder, or inside it.
    """
    if Path(root).resolve().is_relative_to(REFERENCE.resolve()):
        raise InputError(
            f"results.root={root} is not allowed: it holds the committed results of the project, which no "
            "command changes. Take another folder, such as results.root=results. Maintainers regenerate its "
            "tables and page with `make reference`."
        )
