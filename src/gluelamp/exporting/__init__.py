"""Export of an adapted model: a plain model of ``transformers``, or an adapter of another library.

    export(adaptation, "folder", "peft")

Each format has one module. It reads what the changes do from their forms (`gluelamp.methods.changes.forms`),
and never which method made them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from gluelamp.errors import InputError, unknown
from gluelamp.exporting.adapters import prepare_adapters
from gluelamp.exporting.base import Export, Origin
from gluelamp.exporting.card import Evaluation, write_card
from gluelamp.exporting.merged import prepare_merged
from gluelamp.exporting.peft import prepare_peft
from gluelamp.io import user_path
from gluelamp.methods.adaptation import Adaptation

Format = Literal["merged", "peft", "adapters"]

FORMATS: Mapping[Format, Callable[[Adaptation], Export]] = {
    "merged": prepare_merged,
    "peft": prepare_peft,
    "adapters": prepare_adapters,
}
"""What makes an adaptation ready to be written, by format."""


def export(
    adaptation: Adaptation,
    folder: str | Path,
    format: Format = "merged",
    *,
    origin: Origin | None = None,
    evaluation: Evaluation | None = None,
) -> Path:
    """Write an adapted model with a model card. The adaptation is not changed.

    Args:
        adaptation: a method applied to a model, trained.
        folder: a new or empty folder.
        format: ``merged``: a plain model of ``transformers``. ``peft``: an adapter of Hugging Face ``peft``.
            ``adapters``: an adapter of AdapterHub, for the library ``adapters``.
        origin: what the files say about the model; by default what the model's configuration says.
        evaluation: the score of the model, for the card.

    Returns:
        The folder.

    Raises:
        InputError: if the format cannot hold the method, or the folder is not empty.
    """
    folder, origin = user_path(folder), origin or Origin.from_model(adaptation.model)
    check_empty(folder)
    prepared = prepare(adaptation, format)
    folder.mkdir(parents=True, exist_ok=True)
    prepared.write(folder, origin)
    write_card(folder, format, adaptation, origin, evaluation)
    return folder


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds files.

    Raises:
        InputError: if it does, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds files. Take another destination, or empty it.")


def prepare(adaptation: Adaptation, format: Format) -> Export:
    """Return an adaptation in a format, ready to be written.

    Raises:
        InputError: if the format cannot hold the method, with the formats that can.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    try:
        return FORMATS[format](adaptation)
    except InputError as error:
        others = [other for other in FORMATS if other != format and not refusal(adaptation, other)]
        advice = f"Take format={' or '.join(others)}." if others else "No other format can hold it either."
        raise InputError(f"format={format} is not possible: {error} {advice}") from error


def refusal(adaptation: Adaptation, format: Format) -> str | None:
    """Return why a format cannot hold an adaptation, or None if it can."""
    try:
        FORMATS[format](adaptation)
    except InputError as error:
        return str(error)
    return None
