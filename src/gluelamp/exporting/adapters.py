"""An adapter of AdapterHub, in the files of ``save_adapter`` in the library ``adapters``.

    adapter_config.json, pytorch_adapter.bin      the adapters
    head_config.json, pytorch_model_head.bin      the task head
    backbone/                                     a plain model, if the method trains other values, too

The library needs another release of ``transformers`` than this package. So the files are written without it,
and tests/exporting/library_adapters.py loads them in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy, architecture_of, output_layer
from gluelamp.backbones.heads import LinearHead
from gluelamp.errors import InputError
from gluelamp.exporting.base import Origin, head_kind
from gluelamp.io import write_json
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.changes.forms import Form, InsertedAdapter, Kronecker, NewTensor

NAME = "gluelamp"
"""Name of the adapter and of its head in the library."""

BACKBONE = "backbone"
"""Folder of a backbone of which other values were trained."""

_VERSION = "adapters.1.3.0"  # of the format; without it the library takes "gelu" for an approximation


@dataclass(frozen=True)
class _Names:
    """How the library and ``transformers`` name the parts of an architecture.

    Args:
        model_class: the library's model with exchangeable heads.
        attention: path of the adapter after the attention, in a block.
        ffn: path of the adapter after the feed-forward network, in a block.
        dense: the first linear layer of the head, in ``transformers``.
        activation: after the first layer.
        outputs: the last linear layer of the head.
    """

    model_class: str
    attention: str = "attention.output"
    ffn: str = "output"
    dense: str = "classifier.dense"
    activation: str = "tanh"
    outputs: str = "classifier.out_proj"


_ARCHITECTURES = {
    "bert": _Names("BertAdapterModel", dense="bert.pooler.dense", outputs="classifier"),
    "roberta": _Names("RobertaAdapterModel"),
    "xlm-roberta": _Names("XLMRobertaAdapterModel"),
    "electra": _Names("ElectraAdapterModel", activation="gelu"),
    "deberta-v2": _Names(
        "DebertaV2AdapterModel", dense="pooler.dense", activation="gelu", outputs="classifier"
    ),
    "distilbert": _Names(
        "DistilBertAdapterModel",
        attention="attention_adapters",
        ffn="output_adapters",
        dense="pre_classifier",
        activation="relu",
        outputs="classifier",
    ),
}

_PLACES = {
    "attention.output": "attention",
    "attention.branch": "attention",
    "ffn.down": "ffn",
    "ffn.branch": "ffn",
    "ffn.norm": "ffn",
}
"""The place of the library's adapter, by handle. Between two handles of one place is only a dropout."""


@dataclass(frozen=True)
class HubAdapter:
    """Adapters and a head, in the names of the library.

    Args:
        model: what the files say about the model: ``model_type``, ``model_class``, ``hidden_size``.
        config: of the adapters.
        tensors: of the adapters.
        head_config: of the head.
        head: the tensors of the head.
        backbone: the model without the adapters, if other values of it were trained, such as LayerNorms.
    """

    model: Mapping[str, Any]
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    head_config: Mapping[str, Any]
    head: Mapping[str, Tensor]
    backbone: PreTrainedModel | None = None

    def write(self, folder: Path, origin: Origin) -> None:
        """Write the four files, and the backbone into a folder of its own if it was trained, too."""
        if self.backbone is not None:
            self.backbone.save_pretrained(folder / BACKBONE)
        model = {**self.model, "model_name": origin.base, "name": NAME, "version": _VERSION}
        write_json(folder / "adapter_config.json", {**model, "config": self.config})
        labels = {label: number for number, label in enumerate(origin.labels)} or None
        write_json(folder / "head_config.json", {**model, "config": {**self.head_config, "label2id": labels}})
        for name, tensors in (("pytorch_adapter.bin", self.tensors), ("pytorch_model_head.bin", self.head)):
            # The library reads safetensors only where it is asked to.
            torch.save({key: value.detach().cpu().clone() for key, value in tensors.items()}, folder / name)


def prepare_adapters(adaptation: Adaptation) -> HubAdapter:
    """Return an adaptation as an adapter of AdapterHub.

    Raises:
        InputError: if the method inserts no bottleneck adapters or changes other parts of a pass, or if the
            library lacks the architecture.
    """
    model = adaptation.model
    if head_kind(model).peft != "SEQ_CLS":
        raise InputError(
            "For AdapterHub, heads of text classification are exported, and this model has none."
        )
    forms = [change.form() for change in adaptation.changes]
    adapters = [form for form in forms if isinstance(form, InsertedAdapter)]
    if not adapters:
        raise InputError("AdapterHub holds bottleneck adapters, and this method inserts none.")
    if any(not isinstance(form, InsertedAdapter | NewTensor) for form in forms):
        raise InputError("AdapterHub holds bottleneck adapters, and this method has other parts, too.")
    kind = model.config.model_type
    if kind not in _ARCHITECTURES:
        raise InputError(
            f"The adapters library has no adapters for {kind!r}. It has: {', '.join(_ARCHITECTURES)}."
        )
    places = [_place(model, adapter.path) for adapter in adapters]
    tensors: dict[str, Tensor] = {}
    for adapter, (block, place) in zip(adapters, places, strict=True):
        path = f"{block}.{getattr(_ARCHITECTURES[kind], place)}.adapters.{NAME}"
        projections = adapter.projections
        tensors |= _values(f"{path}.adapter_down.0", projections.down, projections.down_bias)
        tensors |= _values(f"{path}.adapter_up", projections.up, projections.up_bias)
        if isinstance(projections.down, Kronecker):
            tensors[f"{model.base_model_prefix}.shared_parameters.{NAME}.phm_rule"] = projections.down.rule
    used = {place for _, place in places}
    config = _config(adapters, model.config.hidden_size)
    return HubAdapter(
        {
            "model_type": kind,
            "model_class": _ARCHITECTURES[kind].model_class,
            "hidden_size": model.config.hidden_size,
        },
        {**config, "mh_adapter": "attention" in used, "output_adapter": "ffn" in used},
        tensors,
        *_head(model),
        backbone=None if len(adapters) == len(forms) else _with_new_tensors(adaptation, forms),
    )


def _with_new_tensors(adaptation: Adaptation, forms: Sequence[Form | None]) -> PreTrainedModel:
    """Return a copy of the model with the trained tensors of the backbone, without the adapters."""
    twin = deepcopy(adaptation)
    adapters = []
    for change, form in zip(twin.changes, forms, strict=True):
        if isinstance(form, InsertedAdapter):
            adapters.append(change)
        else:
            change.merge()
    twin.changes = tuple(adapters)
    return twin.detach()


def _place(model: PreTrainedModel, path: str) -> tuple[str, str]:
    """Return the path of the block that holds a module, and the place in it: ``attention`` or ``ffn``."""
    layers = f"{model.base_model_prefix}.{architecture_of(model).layers}"
    for number, block in enumerate(anatomy(model).blocks):
        for handle, place in _PLACES.items():
            if handle in block.handles and block[handle].path == path:
                return f"{layers}.{number}", place
    raise InputError(f"The adapters library has no adapter at {path!r}, where this method inserts one.")


def _values(path: str, weight: Tensor | Kronecker, bias: Tensor) -> dict[str, Tensor]:
    """Return a projection in the names of the library's linear or PHM layer."""
    if isinstance(weight, Tensor):
        return {f"{path}.weight": weight, f"{path}.bias": bias}
    # The library's factors have the rank as a dimension of their own, which is one.
    return {
        f"{path}.W_left": weight.left[..., None],
        f"{path}.W_right": weight.right[:, None],
        f"{path}.b": bias,
    }


def _config(adapters: Sequence[InsertedAdapter], width: int) -> dict[str, Any]:
    """Return the options that are equal in all adapters, as fields of the library's ``BnConfig``."""
    first = adapters[0]
    down = first.projections.down
    bottleneck = len(first.projections.down_bias)
    # The library rounds width / factor down.
    factor = width / bottleneck if width % bottleneck == 0 else width / (bottleneck + 0.5)
    return {
        "reduction_factor": factor,
        "non_linearity": first.projections.activation,
        "scaling": float(first.scale),
        "is_parallel": first.wiring == "parallel",
        "original_ln_before": first.wiring == "between_norms",
        "original_ln_after": True,
        "residual_before_ln": True,
        "adapter_residual_before_ln": False,
        "phm_layer": isinstance(down, Kronecker),
        "phm_dim": len(down.rule) if isinstance(down, Kronecker) else 4,
    }


def _head(model: PreTrainedModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the configuration of the head, and its tensors."""
    names = _ARCHITECTURES[model.config.model_type]
    is_linear = isinstance(output_layer(model), LinearHead)
    config = {
        "head_type": "classification",
        "num_labels": model.config.num_labels,
        "layers": 1 if is_linear else 2,
        "activation_function": names.activation,
        # A trained pooler is the first layer of the head. A frozen one is part of the backbone.
        "use_pooler": is_linear and architecture_of(model).pooler is not None,
        "bias": True,
        "dropout_prob": None,
    }
    # The library's head is a list of modules: dropout, linear, activation, dropout, linear.
    layers = {1: names.outputs} if is_linear else {1: names.dense, 4: names.outputs}
    return config, {
        f"heads.{NAME}.{number}.{name}": value
        for number, path in layers.items()
        for name, value in model.get_submodule(path).named_parameters()
    }
