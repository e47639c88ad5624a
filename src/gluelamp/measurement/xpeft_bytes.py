"""Bytes that one more X-PEFT profile costs, compared with an adapter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import get_args

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.heads import HeadType
from gluelamp.backbones.load import build_from_shape
from gluelamp.errors import InputError
from gluelamp.measurement.base import MeasuredModel, MeasurementKind, Part, Row
from gluelamp.methods.base import Adaptation, Method
from gluelamp.methods.pfeiffer import Pfeiffer
from gluelamp.methods.storage import count_bytes, count_parameters
from gluelamp.methods.xpeft import XPeft, bank_bytes, selected_adapters

HEAD_SIZES = (2, 15)
"""Outputs of the counted heads: two classes, as in most of GLUE, and LaMP-2N's 15."""


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class XPeftBytes(MeasurementKind):
    """Count the bytes of masks; see `count_profile_bytes`."""

    def refusal(self, model: MeasuredModel) -> str | None:
        """Refuse methods without masks."""
        if isinstance(model.method, XPeft):
            return None
        return "it has no masks. Take method=xpeft or method=xpeft_soft, or what=parameters for any method."

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Count the bytes for each head: its bytes are a large part of a profile's."""
        yield [
            count_profile_bytes(replace(model, head=head), outputs)
            for head in get_args(HeadType)
            for outputs in HEAD_SIZES
        ]

    def summarise(self, row: Row) -> str:
        """Return the bytes of the masks in relation to an adapter's."""
        return (
            f"stores {row['mask_bytes']:,} bytes of masks over {row['num_adapters']} adapters: 1/"
            f"{row['factor']:,.0f} of an adapter, and 1/{row['factor_with_head']:,.1f} with the head ("
            f"{row['head']}, {row['outputs']} outputs)"
        )


def count_profile_bytes(model: MeasuredModel, outputs: int) -> Row:
    """Return the bytes of one profile's masks, and of the adapter that they replace.

    The bytes are counted on task states of the real architecture, on the meta device.

    Args:
        model: the model under measurement; its method is an `XPeft`.
        outputs: number of outputs of the head.

    Returns:
        ``num_adapters``; type (``head``) and ``outputs`` of the head; ``trained`` values; ``mask_bytes``, all
        that a profile stores except its head; ``formula_bytes``, the expected value: 2 L ceil(N / 8) for hard
        masks or 8 N L for soft masks, plus 8 b L for inner LayerNorms; ``head_bytes``; the bank's bytes on
        disk, once for all profiles, and in memory; the bytes of one fp32 Pfeiffer adapter of the same
        bottleneck, without biases (``adapter_weight_bytes``) and with them (``adapter_bytes``); ``factor``,
        the adapter's weights over the masks; and ``factor_with_head``, the same ratio with the head added on
        both sides.

    Raises:
        InputError: if the method is not X-PEFT, or does not fit the backbone.
    """
    method = model.method
    if not isinstance(method, XPeft):
        raise InputError(f"{type(method).__name__} is not X-PEFT, so it has no masks to count.")

    # Only sizes are counted, so the tensors need no values.
    def adapt(each: Method) -> Adaptation:
        with torch.device("meta"):
            network = build_from_shape(model.backbone, outputs, ATTENTION, model.head)
            return each.adapt(network)

    pfeiffer = Pfeiffer(reduction_factor=method.reduction_factor)
    masks, adapter = adapt(method), adapt(pfeiffer)
    profile = count_bytes(masks)
    # A random bank has no biases, so the comparison does not count those of the adapter either.
    matrices = [value for value in adapter.method_state().values() if value.dim() == 2]
    weights = sum(value.numel() * value.element_size() for value in matrices)
    (size, bottleneck, _), blocks = selected_adapters(masks)[0].adapter.bank_down.shape, len(masks.changes)
    # Two masks per block, one for each projection: one bit per adapter if hard, one fp32 value if soft. An
    # inner LayerNorm adds a scale and a shift per block, each of `bottleneck` fp32 values.
    per_block = 8 * size if method.mask == "soft" else 2 * math.ceil(size / 8)
    return {
        "num_adapters": size,
        "head": model.head,
        "outputs": outputs,
        "trained": count_parameters(masks)["trained"],
        "mask_bytes": profile["method"],
        "formula_bytes": blocks * (per_block + 8 * bottleneck * method.inner_layer_norm),
        "head_bytes": profile["head"],
        "bank_stored_bytes": profile["shared"],
        "bank_memory_bytes": bank_bytes(masks),
        "adapter_weight_bytes": weights,
        "adapter_bytes": count_bytes(adapter)["method"],
        "factor": weights / profile["method"],
        "factor_with_head": (weights + profile["head"]) / (profile["method"] + profile["head"]),
    }
