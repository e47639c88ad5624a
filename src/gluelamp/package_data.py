"""The folders that the package reads: Hydra's configs, the papers' numbers, and the project's own results.

A wheel contains the first two inside the package. In a clone they are folders of the repository. Other
packages that add methods have a config folder, too.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from gluelamp.errors import InputError

METHOD_GROUP = "gluelamp.methods"
"""The group of entry points by which a package adds methods: ``name = "package.module:Class"``."""

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


def installed_methods() -> dict[str, str]:
    """Return the methods that other installed packages add: ``package.module.Class`` by name."""
    return {entry.name: entry.value.replace(":", ".") for entry in entry_points(group=METHOD_GROUP)}


def config_folders() -> list[Path]:
    """Return `CONFIGS`, and the folder ``configs`` of each installed package that adds methods."""
    # Only the top-level package is searched for: to find a module below it, Python would import the package.
    packages = {target.partition(".")[0] for target in installed_methods().values()}
    found = [find_spec(package) for package in sorted(packages)]
    places = [place for spec in found if spec for place in spec.submodule_search_locations or ()]
    return [CONFIGS, *(folder for place in places if (folder := Path(place) / "configs").is_dir())]


def find_config(group: str, name: str) -> Path | None:
    """Return the file of a config, such as ``method/lora.yaml``, or None if no config folder has it."""
    files = (folder / group / f"{name}.yaml" for folder in config_folders())
    return next((file for file in files if file.is_file()), None)
