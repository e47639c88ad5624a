"""HiWi (Liao, Meng, Monz, ACL 2023, arXiv 2305.16742): an adapter on weights or biases.

The adapter's input is a feed-forward parameter itself instead of hidden states. On biases a task stores the
adapted bias, whatever the bottleneck; the adapter is not needed after training. Only parts of the paper's
text were available. The form of the update, activation, initial values and scale are our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.errors import InputError
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change, Fp32Buffer
from gluelamp.methods.changes.forms import Form, LowRank, NewTensor
from gluelamp.methods.changes.tensors import Parametrization, TensorChange

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "relu": nn.functional.relu,
    "tanh": torch.tanh,
    "identity": nn.Identity(),
}


class ParameterAdapter(Parametrization):
    """``p + scale * f(p A) B``. ``A`` is random and ``B`` zero at the start, so that it starts at ``p``.

    Args:
        original: the parameter p, (n,) or (m, n); the adapter acts on the last dimension.
        bottleneck: r, the width of A (n, r) and B (r, n).
        activation: name of f, one of `ACTIVATIONS`.
        scale: factor on the update.
        init_std: standard deviation of A.
    """

    def __init__(
        self, original: Tensor, bottleneck: int, activation: str, scale: float, init_std: float
    ) -> None:
        super().__init__()
        width = original.shape[-1]
        self.down = nn.Parameter(torch.empty(width, bottleneck).normal_(0, init_std))
        self.up = nn.Parameter(torch.zeros(bottleneck, width))
        self.activation = ACTIVATIONS[activation]
        self.scale = scale

    def forward(self, original: Tensor) -> Tensor:
        """Return the adapted parameter."""
        # In a bf16 pass the original may be fp32, as `BiasAdapter.start` is.
        original = original.to(self.up.dtype)
        return original + self.scale * self.activation(original @ self.down) @ self.up

    def form(self, name: str, original: Tensor) -> Form:
        """Return the update ``f(p A) B`` of a weight, whose rank is at most the bottleneck."""
        return LowRank(
            name.removesuffix(".weight"), a=self.up, b=self.scale * self.activation(original @ self.down)
        )


class BiasAdapter(ParameterAdapter):
    """A `ParameterAdapter` of which only the adapted bias is stored.

    The stored bias is computed from the checkpoint's fp32 bias, also if passes read that in bf16. A loaded
    bias replaces the adapter: nothing is left to train.
    """

    adapted: Fp32Buffer | None

    def __init__(
        self, original: Tensor, bottleneck: int, activation: str, scale: float, init_std: float
    ) -> None:
        super().__init__(original, bottleneck, activation, scale, init_std)
        self.adapted = None
        # The original bias in fp32: a bf16 cast of the model rounds the parameter itself.
        self.start = Fp32Buffer(original)

    def forward(self, original: Tensor) -> Tensor:
        """Return the adapted bias."""
        return super().forward(original) if self.adapted is None else self.adapted.values.to(original)

    def form(self, name: str, original: Tensor) -> Form:
        """Return the adapted bias."""
        return NewTensor(name, self(self.start.values), self.start.values)

    def stored(self, original: Tensor) -> dict[str, Tensor]:
        """Return the adapted bias, of the same size for every bottleneck."""
        return {"adapted": self(self.start.values)}

    def load_stored(self, stored: Mapping[str, Tensor]) -> None:
        """Replace the adapter by a stored bias."""
        self.adapted = Fp32Buffer(stored["adapted"].to(self.start.values))


class HiWi(Method):
    """Adapt the biases or weights of the feed-forward layers.

    Trained: 2 r (d + f) per layer for both; stored with target ``bias``: d + f per layer.

    Args:
        target: adapt the biases (the paper's 0.03 % stored) or the weights.
        layers: the up projection, the down projection, or both.
        bottleneck: r. On biases the effective step grows with r: lower the learning rate accordingly.
        activation: f. A bias is one constant input, so a ReLU unit may be dead for the whole run. GELU
            always has a gradient.
        scale: factor on the update.
        init_std: standard deviation of A at the start.
    """

    family: ClassVar[str] = "reparametrization"
    reference: ClassVar[str] = "Liao, Meng, Monz, ACL 2023, arXiv 2305.16742"
    checked_against: ClassVar[str] = "The formula written out (tests/methods/test_hiwi.py)."
    open_questions: ClassVar[str] = (
        "Activation, initial values, biases, scale, and one or both biases: 0.03 % fits both. The "
        "paper's text is not available."
    )

    target: Literal["bias", "weight"] = "bias"
    layers: Literal["up", "down", "both"] = "both"
    bottleneck: int = Field(default=4, ge=1)
    activation: Literal["gelu", "relu", "tanh", "identity"] = "gelu"
    scale: float = Field(default=1.0, gt=0)
    init_std: float = Field(default=0.02, gt=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put an adapter on each selected parameter.

        Raises:
            InputError: if ``target`` is ``bias`` and a layer has none.
        """
        adapter_class = BiasAdapter if self.target == "bias" else ParameterAdapter
        layers = ("up", "down") if self.layers == "both" else (self.layers,)
        linears = [block[f"ffn.{layer}"] for block in parts.blocks for layer in layers]
        for linear in linears:
            # Some encoders, such as ModernBERT, have linear layers without biases.
            if getattr(linear.module, self.target) is None:
                raise InputError(
                    f"The linear layer {linear.path!r} has no bias, which method.target=bias adapts. Take "
                    "method.target=weight, or another backbone."
                )
        names = [f"{linear.path}.{self.target}" for linear in linears]
        return [
            TensorChange(
                model,
                name,
                adapter_class(
                    model.get_parameter(name),
                    self.bottleneck,
                    self.activation,
                    self.scale,
                    self.init_std,
                ),
            )
            for name in names
        ]
