"""Hydra with the config folders of this package and of the installed packages that add methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from gluelamp.package_data import CONFIGS, METHOD_GROUP, config_folders


class MethodPackages(SearchPathPlugin):
    """Append the config folders of the packages that add methods to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append them: of two configs with one name Hydra takes the first, that of this package."""
        for folder in config_folders()[1:]:
            search_path.append(METHOD_GROUP, f"file://{folder}")


def register_method_packages() -> None:
    """Make Hydra read the config folders of the packages that add methods, in this process."""
    # Not a module of hydra_plugins: Hydra would load it in every program of the environment.
    Plugins.instance().register(MethodPackages)


@contextmanager
def initialized_hydra() -> Iterator[None]:
    """Let Hydra compose from all config folders, even inside of a program that uses Hydra itself."""
    register_method_packages()
    # Hydra has one global state, and inside a command it is in use
    state = GlobalHydra.instance().hydra
    GlobalHydra.instance().hydra = None
    try:
        with initialize_config_dir(str(CONFIGS.resolve()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = state
