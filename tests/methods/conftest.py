from __future__ import annotations

from functools import cache

import pytest

from gluelamp.experiments.config import parse_method
from gluelamp.methods.base import Method
from methods.cases import Case, GetMethod, make_case


@pytest.fixture(scope="session")
def method() -> GetMethod:
    """Return a method from its config file and overrides of its options, as the command line does."""
    import hydra

    from gluelamp.cli.app import plain
    from gluelamp.package_data import CONFIGS

    @cache
    def get(config: str, *overrides: str) -> Method:
        # Only the method's own file: a whole run takes far longer to compose.
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            options = [f"method.{override}" for override in overrides]
            raw = hydra.compose(f"method/{config}", ["+seed=0", *options])
        return parse_method(plain(raw)["method"])

    return get


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest, method: GetMethod) -> Case:
    """One cell of the matrix, trained once for all its tests."""
    row, architecture = request.param
    return make_case(row, architecture, method(row.config, *row.overrides))
