"""One uniform view of the parts of an encoder, for every architecture.

Methods refer to parts by the handles that are named here. A new architecture is one entry in
`ARCHITECTURES`. A part that an architecture lacks is missing in its entry, and a method that needs it raises
an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from gluelamp.backbones.heads import LinearHead, freeze_pooler, remove_dense, remove_pooler
from gluelamp.errors import InputError, UnsupportedError, unknown

# `branch` is the last module before the sum with the residual stream: a dropout where the architecture has
# one there, otherwise a projection.
HANDLES = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.output",
    "attention.function",  # calls the attention function of transformers with query, key and value
    "attention.branch",  # its output is what attention adds to the residual stream
    "attention.norm",  # the LayerNorm over that sum (post-LN encoders)
    "ffn.input",  # its input is the input of the feed-forward network
    "ffn.up",
    "ffn.down",
    "ffn.branch",  # its output is what the feed-forward network adds to the residual stream
    "ffn.norm",
)


@dataclass(frozen=True)
class Architecture:
    """The paths of the parts of one architecture.

    Args:
        layers: path of the list of blocks, relative to the base model.
        embeddings: path of the embeddings, relative to the base model.
        handles: path of each handle, relative to a block.
        head: paths of the new modules of the head, relative to the model.
        pooler: path of the pre-trained dense layer before them, relative to the model.
        make_linear: makes the head of a model linear; None if the architecture has two layers in any case.
    """

    layers: str
    embeddings: str
    handles: Mapping[str, str]
    head: tuple[str, ...]
    pooler: str | None = None
    make_linear: Callable[[PreTrainedModel], None] | None = None


_BERT_HANDLES = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention.branch": "attention.output.dropout",
    "attention.norm": "attention.output.LayerNorm",
    "ffn.input": "intermediate.dense",
    "ffn.up": "intermediate.dense",
    "ffn.down": "output.dense",
    "ffn.branch": "output.dropout",
    "ffn.norm": "output.LayerNorm",
}
# DeBERTa and MPNet add relative positions to the attention scores. They do not call the attention function
# of transformers, so they have no handle for it.
_FUNCTION = {"attention.function": "attention.self"}
_ROBERTA = Architecture(
    "encoder.layer",
    "embeddings",
    _BERT_HANDLES | _FUNCTION,
    head=("classifier",),
    make_linear=remove_dense,
)

ARCHITECTURES = {
    "bert": Architecture(
        "encoder.layer",
        "embeddings",
        _BERT_HANDLES | _FUNCTION,
        head=("classifier",),
        pooler="bert.pooler",
        make_linear=freeze_pooler,
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": _ROBERTA,
    "deberta-v2": Architecture(
        "encoder.layer",
        "embeddings",
        _BERT_HANDLES
        | {
            "attention.query": "attention.self.query_proj",
            "attention.key": "attention.self.key_proj",
            "attention.value": "attention.self.value_proj",
        },
        head=("pooler", "classifier"),  # the published checkpoints have no pooler
        make_linear=remove_pooler,
    ),
    "distilbert": Architecture(
        "transformer.layer",
        "embeddings",
        {
            "attention.query": "attention.q_lin",
            "attention.key": "attention.k_lin",
            "attention.value": "attention.v_lin",
            "attention.output": "attention.out_lin",
            "attention.function": "attention",
            "attention.branch": "attention.out_lin",
            "attention.norm": "sa_layer_norm",
            "ffn.input": "ffn.lin1",
            "ffn.up": "ffn.lin1",
            "ffn.down": "ffn.lin2",
            "ffn.branch": "ffn.dropout",
            "ffn.norm": "output_layer_norm",
        },
        head=("pre_classifier", "classifier"),
    ),
    "mpnet": Architecture(
        "encoder.layer",
        "embeddings",
        _BERT_HANDLES
        | {
            "attention.query": "attention.attn.q",
            "attention.key": "attention.attn.k",
            "attention.value": "attention.attn.v",
            "attention.output": "attention.attn.o",
            "attention.branch": "attention.dropout",
            "attention.norm": "attention.LayerNorm",
        },
        head=("classifier",),
        make_linear=remove_dense,
    ),
    # Pre-LN, with one fused projection for query, key and value, and one for the gate and value of the
    # feed-forward network.
    "modernbert": Architecture(
        "layers",
        "embeddings",
        {
            "attention.output": "attn.Wo",
            "attention.function": "attn",
            "attention.branch": "attn.out_drop",
            "ffn.input": "mlp.Wi",
            "ffn.down": "mlp.Wo",
            "ffn.branch": "mlp.Wo",
        },
        head=("classifier",),
        pooler="head",  # a dense layer and a norm
        make_linear=freeze_pooler,
    ),
}


@dataclass(frozen=True)
class Handle:
    """A named part of a model.

    Args:
        path: the module's full name in the model, as in ``named_modules()``.
        module: the module.
    """

    path: str
    module: nn.Module

    def parameter_names(self) -> list[str]:
        """Return the full names of the part's parameters in the model."""
        return [f"{self.path}.{name}" for name, _ in self.module.named_parameters()]


@dataclass(frozen=True)
class Block:
    """The handles of one transformer block.

    Args:
        model_type: the architecture, for the error about a missing handle.
        handles: by name; see `HANDLES`.
    """

    model_type: str
    handles: Mapping[str, Handle]

    def __getitem__(self, name: str) -> Handle:
        """Return one handle.

        Raises:
            UnsupportedError: if the architecture has no such part.
        """
        if name not in self.handles:
            raise UnsupportedError(
                f"The architecture {self.model_type!r} has no separate {name!r}, which this method "
                f"changes. It has: {', '.join(self.handles)}. Take another backbone or method."
            )
        return self.handles[name]


@dataclass(frozen=True)
class Anatomy:
    """The parts of an encoder and of the head on it.

    Args:
        blocks: the transformer blocks, first to last.
        embeddings: the embeddings.
        head: the modules that each task trains and stores in full, a pre-trained pooler included if the head
            has two layers. Empty for a bare encoder.
        pooler: the pre-trained pooler before a linear head or of a bare encoder, which is frozen; None if
            there is none.
        encoder_parameters: full names of all parameters except those of head and pooler, sorted.
        classifies_texts: whether the head is that of a sequence classifier.
    """

    blocks: tuple[Block, ...]
    embeddings: Handle
    head: tuple[Handle, ...]
    pooler: Handle | None
    encoder_parameters: tuple[str, ...]
    classifies_texts: bool


def readable_tokens(embeddings: nn.Module) -> int | None:
    """Return the largest number of tokens that an encoder can read, or None if there is no limit.

    Args:
        embeddings: the module of `Anatomy.embeddings`.
    """
    absolute = getattr(embeddings, "position_embeddings", None)
    if not isinstance(absolute, nn.Embedding):
        return None  # relative positions have no limit
    # RoBERTa counts positions from the index of the padding token plus one, so it has fewer than rows.
    return absolute.num_embeddings - (0 if absolute.padding_idx is None else absolute.padding_idx + 1)


def architecture_of(model: PreTrainedModel) -> Architecture:
    """Return the paths of the parts of a model.

    Raises:
        InputError: if the model is not one of ``transformers``, or its architecture is unknown.
    """
    if not isinstance(model, PreTrainedModel):
        raise InputError(
            f"{type(model).__name__} is not a model of transformers, such as that of "
            "AutoModelForSequenceClassification.from_pretrained(NAME). Give that model itself, not a wrapper."
        )
    if model.config.model_type not in ARCHITECTURES:
        raise unknown("architecture", model.config.model_type, ARCHITECTURES)
    return ARCHITECTURES[model.config.model_type]


def new_head(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the modules of the head that have no pre-trained values, by path.

    Raises:
        InputError: if the architecture is unknown.
    """
    return {path: model.get_submodule(path) for path in architecture_of(model).head}


def output_layer(model: PreTrainedModel) -> nn.Linear:
    """Return the last linear layer of the head, which computes the outputs.

    Raises:
        InputError: if the architecture is unknown.
    """
    # The modules are in the order of their registration, and every supported head registers its outputs last.
    inside = (module for part in new_head(model).values() for module in part.modules())
    return [module for module in inside if isinstance(module, nn.Linear)][-1]


def use_linear_head(model: PreTrainedModel) -> None:
    """Make the head of a sequence classifier linear, in place; see `gluelamp.backbones.heads`.

    Raises:
        InputError: if the architecture is unknown, or if its head always has two layers.
    """
    make_linear = architecture_of(model).make_linear
    if make_linear is None:
        raise UnsupportedError(
            f"head=linear is not available for the architecture {model.config.model_type!r}, whose "
            "classifier always has two layers. Take head=two_layer or another backbone."
        )
    make_linear(model)


def classifies_texts(model: PreTrainedModel) -> bool:
    """Return whether a model is a sequence classifier of ``transformers``, which classifies a whole text."""
    return any(cls.__name__.endswith("ForSequenceClassification") for cls in type(model).__mro__)


def anatomy(model: PreTrainedModel) -> Anatomy:
    """Return the parts of a model from ``transformers``.

    Args:
        model: an ``AutoModelForSequenceClassification``, an ``AutoModelForTokenClassification``, an
            ``AutoModelForQuestionAnswering`` or a bare ``AutoModel`` of one of `ARCHITECTURES`, on any
            device. In a model with another head, every module outside of the encoder is part of the head.

    Raises:
        InputError: if the architecture is unknown, the model has no such encoder, or its head has the
            encoder's own parameters.
    """
    architecture, model_type = architecture_of(model), model.config.model_type
    # The name of the encoder in a model with a head, such as "bert." or "roberta."; a bare one has none.
    base = "" if model.base_model is model else f"{model.base_model_prefix}."

    def handle(path: str) -> Handle:
        return Handle(path, model.get_submodule(path))

    layers = f"{base}{architecture.layers}"
    try:
        count = len(list(model.get_submodule(layers).children()))
    except AttributeError as error:
        raise InputError(
            f"{type(model).__name__} has no {layers!r}, so it is not a supported model. Take one of "
            "AutoModelForSequenceClassification, AutoModelForTokenClassification, "
            "AutoModelForQuestionAnswering or AutoModel."
        ) from error
    blocks = tuple(
        Block(
            model_type,
            {name: handle(f"{layers}.{index}.{path}") for name, path in architecture.handles.items()},
        )
        for index in range(count)
    )
    # The head and the pooler are not part of the encoder: percentages of trained values refer to the encoder.
    head, pooler = _outside_encoder(model, architecture)
    outside = tuple(f"{path}." for path in (*head, *([pooler] if pooler else [])))
    return Anatomy(
        blocks=blocks,
        embeddings=handle(f"{base}{architecture.embeddings}"),
        head=tuple(map(handle, head)),
        pooler=handle(pooler) if pooler else None,
        encoder_parameters=tuple(
            sorted(name for name, _ in model.named_parameters() if not name.startswith(outside))
        ),
        classifies_texts=classifies_texts(model),
    )


def _outside_encoder(
    model: PreTrainedModel, architecture: Architecture
) -> tuple[tuple[str, ...], str | None]:
    """Return the paths of the head, and that of a pooler that is not part of it."""
    if classifies_texts(model):
        if isinstance(output_layer(model), LinearHead):
            return architecture.head, architecture.pooler
        return (*architecture.head, *([architecture.pooler] if architecture.pooler else [])), None
    encoder = model.base_model
    inside = {id(value) for value in encoder.parameters()}
    parts = [] if encoder is model else model.named_children()
    head = {name: list(part.parameters()) for name, part in parts if part is not encoder}
    tied = [name for name, values in head.items() if any(id(value) in inside for value in values)]
    if tied:
        raise InputError(
            f"{type(model).__name__} is not supported: its {tied[0]!r} has parameters of the encoder, and "
            "training it would change the backbone. Take a model whose head has parameters of its own."
        )
    pooler = "pooler" if encoder is model else f"{model.base_model_prefix}.pooler"
    has_pooler = getattr(encoder, "pooler", None) is not None
    return tuple(name for name, values in head.items() if values), pooler if has_pooler else None
