"""The model of a finished run, with the values that the run stored."""

from __future__ import annotations

from typing import Literal

from gluelamp.backbones.load import load_model
from gluelamp.errors import InputError
from gluelamp.experiments.plan import Plan
from gluelamp.methods.base import Adaptation
from gluelamp.methods.storage import load_task_state, provenance, read_selection
from gluelamp.records import read_record

Selection = Literal["best", "last"]


def load_trained(plan: Plan, selection: Selection, attention: str) -> Adaptation:
    """Return a run's method at work on its backbone, in fp32 and in evaluation mode.

    Args:
        plan: of the run, as it was trained.
        selection: which of the run's two states.
        attention: name of the attention implementation.

    Raises:
        InputError: if the run is not complete, or stored no such state.
    """
    record = plan.folder / "record.json"  # written last, and a run writes task states long before its end
    if not record.is_file() or read_record(record).status != "complete":
        raise InputError(f"The run in {plan.folder} is not complete. Train it to its end first.")
    path = plan.folder / f"{selection}.safetensors"
    if not path.is_file():
        raise InputError(
            f"The run in {plan.folder} holds no {path.name}: the file was removed, or each person has values "
            "of their own, in a store of profiles."
        )
    config = plan.config
    model = load_model(plan.checkpoint, plan.task.num_outputs, attention).eval()
    adaptation = config.method.adapt(model, read_selection(path), train_pooler=config.head.train_pooler)
    load_task_state(path, adaptation, provenance(adaptation, plan.checkpoint.checksum))
    return adaptation
