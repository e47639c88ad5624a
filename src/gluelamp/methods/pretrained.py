"""``save_pretrained`` of an adapted model, which must not lose the trained values in silence.

In an adapted model the tensors have other names than ``from_pretrained`` expects: it would load the rest, and
initialise what it does not find at random, with a warning alone.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gluelamp.errors import InputError
from gluelamp.io import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gluelamp.methods.adaptation import Adaptation

_CHECKPOINT = re.compile(r"checkpoint-\d+")
"""The name of a folder of ``transformers.Trainer`` from which a training resumes."""
_NOT_FOR_FROM_PRETRAINED = {
    "transformers_weights": "none, because this is a checkpoint of an adapted model. Resume from it with "
    "Trainer, or call save_pretrained() of the adapted model with another folder"
}
"""``from_pretrained`` reads the weights from a file of this name, and its error about it has this text."""


def refuse_adapted(model: PreTrainedModel) -> None:
    """Refuse a model that is adapted already.

    Raises:
        InputError: with what to call first.
    """
    if "save_pretrained" in vars(model):
        raise InputError(
            "The model is adapted already. Call detach() of that adaptation, which restores the backbone, or "
            "merge(), which writes the method into it. To swap tasks of one method, call load()."
        )


def guard(adaptation: Adaptation) -> None:
    """Replace ``save_pretrained`` of an adapted model by `save_pretrained`."""
    # In the instance's dictionary, so that the model's class and all other models stay as they are.
    vars(adaptation.model)["save_pretrained"] = adaptation.save_pretrained


def unguard(model: PreTrainedModel) -> None:
    """Give a model its own ``save_pretrained`` again."""
    del vars(model)["save_pretrained"]


def save_pretrained(adaptation: Adaptation, folder: Path, **options: Any) -> None:
    """Write an adapted model as an ordinary one, merged; or as a checkpoint from which a training resumes.

    Args:
        adaptation: not changed.
        folder: with a name such as ``checkpoint-500``, that of a checkpoint of ``transformers.Trainer``, it
            gets all tensors of the adapted model: ``Trainer`` resumes from it, and ``from_pretrained``
            refuses it.
        options: of ``save_pretrained``.

    Raises:
        InputError: if the method cannot be merged.
    """
    if _CHECKPOINT.fullmatch(folder.name):
        _save_checkpoint(adaptation.model, folder)
        return
    try:
        merged = _merged_copy(adaptation)
    except InputError as error:
        raise InputError(
            f"save_pretrained() writes the merged model, and {type(adaptation.method).__name__} cannot be "
            "merged here. Call adapted.save(PATH) for the values of the task, "
            "gluelamp.export(adapted, FOLDER, FORMAT) for other libraries, or detach() first, to write the "
            "backbone alone."
        ) from error
    options.pop("state_dict", None)  # the caller's is that of the adapted model
    merged.save_pretrained(folder, **options)


def _merged_copy(adaptation: Adaptation) -> PreTrainedModel:
    if not adaptation.method.merges:
        raise InputError("The method cannot be merged.")
    return copy.deepcopy(adaptation).merge()


def _save_checkpoint(model: PreTrainedModel, folder: Path) -> None:
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    # Of tensors with several names it writes one.
    save_model(model, str(folder / "model.safetensors"), metadata={"format": "pt"})
    write_json(folder / "config.json", {"model_type": model.config.model_type, **_NOT_FOR_FROM_PRETRAINED})
