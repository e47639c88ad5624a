"""Task ids: the task of each example in a batch, for a model that is trained on several tasks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

# The name of the input of the model, and of the module that holds it.
KEY = "task_ids"


class TaskIds(nn.Module):
    """Removes ``task_ids`` from the inputs of a model, and holds them for the modules that need them.

    Args:
        count: number of tasks.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.current: Tensor | None = None
        """The ids in the current forward pass, (batch,) int64 from 0; None if the inputs have none."""

    def take(self, _: nn.Module, args: tuple[()], inputs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        """Forward pre-hook: store the ids, which the model's own ``forward`` does not accept."""
        self.current = inputs.get(KEY)
        return args, {key: value for key, value in inputs.items() if key != KEY}


def accept_task_ids(model: PreTrainedModel, count: int) -> None:
    """Make a model accept ``task_ids`` (batch,) in addition to its other inputs.

    Args:
        model: changed in place.
        count: number of tasks.
    """
    # A module of the model, so that copies of the model have their own ids.
    ids = TaskIds(count)
    model.add_module(KEY, ids)
    model.register_forward_pre_hook(ids.take, with_kwargs=True)


def task_ids(model: PreTrainedModel) -> TaskIds:
    """Return the task ids of a model; those of a single task for a model without `accept_task_ids`."""
    return getattr(model, KEY, TaskIds(1))
