from __future__ import annotations

from methods.conftest import case, method  # noqa: F401 - fixtures
