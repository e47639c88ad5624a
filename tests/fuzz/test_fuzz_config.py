"""Configurations: a typed one or one refusal, and a value that is accepted is never converted in silence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Compose
from fuzz.damage import changed, value_or_refusal
from gluelamp.experiments.config import parse_run

METHODS = ("hiwi", "pafi", "xpeft", "lora", "peft", "diff_pruning", "head_only")


@pytest.fixture(scope="session")
def composed(compose: Compose) -> list[dict[str, Any]]:
    return [compose(f"method={method}", "task=cola") for method in METHODS] + [
        compose("task=custom", "task.train=a.csv"),
        compose("task=lamp3", "task.profiles=per_user"),
    ]


@given(data=st.data())
def test_configurations(composed: list[dict[str, Any]], data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from(composed).flatmap(changed))
    config = value_or_refusal(lambda: parse_run(raw))
    if config is not None:
        assert config.trainer.epochs == raw.get("trainer", {}).get("epochs", config.trainer.epochs)
        assert config.seed == raw.get("seed", 0)
