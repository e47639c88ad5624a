"""Which task each example of a batch belongs to, for a model of several tasks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

KEY = "task_ids"


class TaskIds(nn.Module):
    """Takes ``task_ids`` out of a model's inputs, for the parts that ask.

    Args:
        count: number of tasks.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.current: Tensor | None = None
        """Of the pass at hand, (batch,) int64 from 0; None if the inputs had none."""

    def take(self, _: nn.Module, args: tuple[()], inputs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        """Before a forward pass: keep what the architecture itself does not know."""
        self.current = inputs.get(KEY)
        return args, {key: value for key, value in inputs.items() if key != KEY}


def accept_task_ids(model: PreTrainedModel, count: int) -> None:
    """Let a model take ``task_ids`` (batch,) beside its other inputs.

    Args:
        model: changed in place.
        count: number of tasks.
    """
    ids = TaskIds(count)
    model.add_module(KEY, ids)
    model.register_forward_pre_hook(ids.take, with_kwargs=True)


def task_ids(model: PreTrainedModel) -> TaskIds:
    """Return what knows a model's tasks; one task if the model was not told otherwise."""
    return getattr(model, KEY, TaskIds(1))
