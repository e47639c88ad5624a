"""What all formats share: where a model comes from, and its head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy, output_layer
from gluelamp.backbones.heads import LinearHead
from gluelamp.errors import InputError
from gluelamp.methods.adaptation import Adaptation


@dataclass(frozen=True)
class Origin:
    """What the exported files say about the model.

    Args:
        base: the pre-trained model: a repository on the hub, or a folder.
        revision: commit on the hub.
        labels: of the classes, in the order of the outputs; empty for a regression.
    """

    base: str
    revision: str | None = None
    labels: tuple[str, ...] = ()

    @staticmethod
    def from_model(model: PreTrainedModel) -> Origin:
        """Return what the configuration of a model says."""
        return Origin(str(model.config.name_or_path))


class HeadKind(NamedTuple):
    """The kind of a model's head.

    Args:
        suffix: of the name of the model's class.
        peft: the task type in ``peft``.
        auto_class: the class of ``transformers`` that loads the model.
        pipeline: the pipeline of ``transformers``.
    """

    suffix: str
    peft: str
    auto_class: str
    pipeline: str


_HEAD_KINDS = (
    HeadKind(
        "ForSequenceClassification", "SEQ_CLS", "AutoModelForSequenceClassification", "text-classification"
    ),
    HeadKind(
        "ForTokenClassification", "TOKEN_CLS", "AutoModelForTokenClassification", "token-classification"
    ),
    HeadKind("ForQuestionAnswering", "QUESTION_ANS", "AutoModelForQuestionAnswering", "question-answering"),
    HeadKind("", "FEATURE_EXTRACTION", "AutoModel", "feature-extraction"),
)


def head_kind(model: PreTrainedModel) -> HeadKind:
    """Return the kind of a model's head; that of a model with another head, or none, is the last."""
    return next(kind for kind in _HEAD_KINDS if type(model).__name__.endswith(kind.suffix))


class Export(Protocol):
    """An adapted model in one format."""

    def write(self, folder: Path, origin: Origin) -> None:
        """Write the files into an existing folder."""


def head_modules(adaptation: Adaptation) -> list[str]:
    """Return the paths of the trained modules of the head, as in ``transformers``.

    Raises:
        InputError: if the head is a linear one that ``transformers`` does not have.
    """
    parts = anatomy(adaptation.model)
    is_linear = parts.classifies_texts and isinstance(output_layer(adaptation.model), LinearHead)
    if is_linear and parts.pooler is None:
        raise InputError(
            f"In transformers the head of {adaptation.model.config.model_type!r} has two layers, and this "
            "head is linear. Export a model with head=two_layer."
        )
    modules = (*parts.head, *([parts.pooler] if parts.pooler else []))
    return [part.path for part in modules if adaptation.head.keys() & set(part.parameter_names())]
