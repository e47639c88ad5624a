from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from gluelamp.experiments.config import parse_method
from gluelamp.methods.base import Method
from methods.cases import Case, GetMethod, make_case


@pytest.fixture(scope="session")
def method(compose: Callable[..., dict[str, Any]]) -> GetMethod:
    """Return a method from its config file and overrides of its options, as the command line does."""

    @cache
    def get(config: str, *overrides: str) -> Method:
        fields = (f"method.{override}" for override in overrides)
        return parse_method(compose(f"method={config}", *fields)["method"])

    return get


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest, method: GetMethod) -> Case:
    """One cell of the matrix, trained once for all its tests."""
    row, architecture = request.param
    return make_case(row, architecture, method(row.config, *row.overrides))
