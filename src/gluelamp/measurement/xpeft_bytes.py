"""What one more profile of X-PEFT costs to store, beside an adapter of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.errors import InputError
from gluelamp.measurement.kind import Cell, Kind, Row, Subject
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.base import Method
from gluelamp.methods.pfeiffer import Pfeiffer
from gluelamp.methods.storage import count_bytes, count_parameters
from gluelamp.methods.xpeft import XPeft, bank_bytes, selected_adapters

OUTPUTS = (2, 15)
"""Outputs of the heads that are counted beside the masks: GLUE's two classes, and LaMP-2N's 15."""


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class XPeftBytes(Kind):
    """Counts the bytes of masks; see `measure_xpeft_bytes`."""

    def setting(self, subject: Subject) -> dict[str, Any]:
        """Return how the head is counted."""
        return {"train_pooler": subject.train_pooler}

    def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        """Count."""
        yield measure_xpeft_bytes(subject.backbone, subject.method, subject.train_pooler)

    def line(self, row: Row) -> str:
        """Return the masks' bytes beside an adapter's."""
        return (
            f"stores {row['mask_bytes']:,} bytes of masks over {row['num_adapters']} adapters: 1/"
            f"{row['factor']:,.0f} of an adapter, and with heads of {row['outputs']} outputs 1/"
            f"{row['factor_with_head']:,.1f}"
        )


def measure_xpeft_bytes(backbone: BackboneConfig, method: Method, train_pooler: bool = False) -> list[Row]:
    """Return the bytes of one profile's masks, and of the adapter that they replace.

    Counted on task states of the real architecture, on the meta device.

    Args:
        backbone: its ``shape`` is read.
        method: an `XPeft`.
        train_pooler: whether the pre-trained pooler is trained, and counted, with the head.

    Returns:
        One row for each head of `OUTPUTS`: ``num_adapters``; ``trained`` values; ``mask_bytes``, all
        that a profile stores but its head; ``formula_bytes``, what they should be: 2 L ceil(N / 8) or
        8 N L, and 8 b L for inner LayerNorms; ``head_bytes``; the bank's bytes on disk, once for all
        profiles, and in memory; the bytes of one fp32 Pfeiffer adapter of the same bottleneck, without
        biases (``adapter_weight_bytes``) and with them (``adapter_bytes``); ``factor``, the adapter's
        weights over the masks; and ``factor_with_head``, the same with the head on both sides.

    Raises:
        InputError: if the method is not X-PEFT, or does not fit the backbone.
    """
    if not isinstance(method, XPeft):
        raise InputError(
            f"what=xpeft_bytes counts the masks of X-PEFT, and method={method.name} has none. "
            "Take method=xpeft or method=xpeft_soft, or what=parameters for any method."
        )
    return [_row(backbone, method, train_pooler, outputs) for outputs in OUTPUTS]


def _row(backbone: BackboneConfig, method: XPeft, train_pooler: bool, outputs: int) -> Row:
    adapter = Pfeiffer(name="pfeiffer", learning_rate=1, reduction_factor=method.reduction_factor)
    masks, single = (_adapted(backbone, one, train_pooler, outputs) for one in (method, adapter))
    profile, weights = count_bytes(masks), _weight_bytes(single)
    (size, bottleneck, _), blocks = selected_adapters(masks)[0].adapter.bank_down.shape, len(masks.changes)
    return {
        "num_adapters": size,
        "outputs": outputs,
        "trained": count_parameters(masks)["trained"],
        "mask_bytes": profile["method"],
        "formula_bytes": blocks * (_mask_formula(method, size) + 8 * bottleneck * method.inner_layer_norm),
        "head_bytes": profile["head"],
        "bank_stored_bytes": profile["shared"],
        "bank_memory_bytes": bank_bytes(masks),
        "adapter_weight_bytes": weights,
        "adapter_bytes": count_bytes(single)["method"],
        "factor": weights / profile["method"],
        "factor_with_head": (weights + profile["head"]) / (profile["method"] + profile["head"]),
    }


def _mask_formula(method: XPeft, size: int) -> int:
    return 8 * size if method.mask == "soft" else 2 * math.ceil(size / 8)


def _adapted(backbone: BackboneConfig, method: Method, train_pooler: bool, outputs: int) -> Adaptation:
    with torch.device("meta"):
        return method.adapt(build_from_shape(backbone, outputs, ATTENTION), train_pooler)


def _weight_bytes(adaptation: Adaptation) -> int:
    matrices = [value for value in adaptation.method_state().values() if value.dim() == 2]
    return sum(value.numel() * value.element_size() for value in matrices)
