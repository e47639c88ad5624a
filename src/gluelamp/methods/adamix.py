"""AdaMix (Wang et al., EMNLP 2022, arXiv 2205.12410): adapters sampled in training, then averaged.

Wiring, routing, initialisation and loss follow the authors' code in its GLUE setting. There the
consistency loss is available for RoBERTa alone, here for every backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.errors import InputError
from gluelamp.methods.base import Forward, Method, TaskKind, TaskLoss
from gluelamp.methods.changes.change import Change, Fp32Module
from gluelamp.methods.changes.forms import Projections
from gluelamp.methods.changes.inserted import Adapter, InsertedModule, residual


class AdaMix(Method):
    """Insert ``h + up_j(GELU(down_i(h)))`` after the feed-forward network, with random i and j in each pass.

    h is the output of the network's last linear layer, before dropout. Trained, with M experts and a
    shared up-projection: L (M (d b + b) + b d + d). In evaluation the experts are averaged, and a
    task stores that average: L (2 d b + b + d), an ordinary adapter. A stored task can therefore be used, but
    its experts cannot be trained further. A training checkpoint contains all of them.

    Args:
        experts: M.
        bottleneck: b.
        share_up: whether there is one up-projection instead of M, as in the authors' GLUE runs.
        consistency: the loss between two passes with different routing and dropout. ``kl`` is half of the
            sum of both Kullback-Leibler divergences, each without gradient to its target, as in the
            authors' code. ``mse`` is the squared error between the outputs, our choice for tasks without
            classes. ``none`` needs one pass only.
        init_std: standard deviation of all projections at the start.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "Wang et al., EMNLP 2022, arXiv 2205.12410"
    merges: ClassVar[bool] = False
    needs_classifier: ClassVar[bool] = True
    checked_against: ClassVar[str] = (
        "Routing, average and divergence in float64 (tests/methods/test_adamix.py)."
    )
    open_questions: ClassVar[str] = "A consistency loss for regression is not defined in the paper."

    experts: int = Field(default=4, ge=1)
    bottleneck: int = Field(default=48, ge=1)
    share_up: bool = True
    consistency: Literal["kl", "mse", "none"] = "kl"
    init_std: float = Field(default=0.02, gt=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Insert one mixture per block."""
        width = model.config.hidden_size
        return [
            AdaMixChange(block["ffn.down"], mixture, residual(mixture))
            for block in parts.blocks
            for mixture in [Mixture(self, width)]
        ]

    def loss(self, changes: Sequence[Change], forward: Forward, task_loss: TaskLoss) -> Tensor:
        """Return the task's loss of one pass and, unless ``none``, its consistency with a second pass."""
        # Two passes differ in their routing and dropout.
        first = forward()
        if self.consistency == "none":
            return task_loss(first)
        second = forward()
        if self.consistency == "mse":
            return task_loss(first) + nn.functional.mse_loss(first, second)
        return task_loss(first) + (kl_divergence(second, first) + kl_divergence(first, second)) / 2

    def check_task(self, kind: TaskKind) -> None:
        """Refuse the divergence of class probabilities for a task without classes."""
        if kind != "classification" and self.consistency == "kl":
            raise no_classes(kind, "method.consistency=kl", "method.consistency=mse or none")


class Experts(Fp32Module):
    """Linear layers of one shape, stacked. A training pass uses one of them, an evaluation their average.

    It computes in fp32, so that the average is the same before and after rounding to bf16.

    Args:
        count: how many.
        inputs: of each.
        outputs: of each.
        init_std: of the weights; the biases are zero.
    """

    def __init__(self, count: int, inputs: int, outputs: int, init_std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, outputs, inputs).normal_(0, init_std))
        self.bias = nn.Parameter(torch.zeros(count, outputs))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return the weight (outputs, inputs) and bias (outputs,) for this pass."""
        if not self.training:
            return _average(self.weight), _average(self.bias)
        # On the CPU, so that the routing does not depend on the device.
        expert = torch.randint(len(self.weight), (1,), device="cpu").to(self.weight.device)
        return self.weight.index_select(0, expert)[0], self.bias.index_select(0, expert)[0]


def _average(experts: Tensor) -> Tensor:
    """Return the mean over the first dimension."""
    # Relative to the first expert, so that the mean of equal experts is their value to the last bit.
    return experts[0] + (experts - experts[0]).mean(0)


class Mixture(Adapter):
    """``up_j(GELU(down_i(h)))`` with independent random i and j in each training pass.

    Args:
        method: the hyper-parameters.
        width: size of h.
    """

    def __init__(self, method: AdaMix, width: int) -> None:
        super().__init__()
        # One expert is an ordinary linear layer: its index is always 0.
        ups = 1 if method.share_up else method.experts
        self.down = Experts(method.experts, width, method.bottleneck, method.init_std)
        self.up = Experts(ups, method.bottleneck, width, method.init_std)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (..., width)."""
        (down, down_bias), (up, up_bias) = (
            (value.to(hidden.dtype) for value in experts()) for experts in (self.down, self.up)
        )
        inner = nn.functional.gelu(nn.functional.linear(hidden, down, down_bias))
        return nn.functional.linear(inner, up, up_bias)

    def projections(self) -> Projections:
        """Return the average of the experts."""
        down, up = ((_average(experts.weight), _average(experts.bias)) for experts in (self.down, self.up))
        return Projections(*down, *up, "gelu")


class AdaMixChange(InsertedModule):
    """An inserted `Mixture`, of which a task stores the average. Loading sets every expert to it."""

    def state(self) -> dict[str, Tensor]:
        """Return the averaged adapter, without the experts' dimension."""
        # Loading copies by broadcast: the average without the experts' dimension fills every expert.
        return {name: _average(experts.detach()) for name, experts in self.parameters().items()}


def kl_divergence(target: Tensor, outputs: Tensor) -> Tensor:
    """Return KL(target || outputs) between the classes' probabilities, the mean over the batch, in nats.

    Args:
        target: (batch, classes) logits; they receive no gradient.
        outputs: (batch, classes) logits.
    """
    expected, given = (torch.log_softmax(logits, -1) for logits in (target.detach(), outputs))
    return nn.functional.kl_div(given, expected, reduction="batchmean", log_target=True)


def no_classes(kind: str, setting: str, instead: str) -> InputError:
    """Return the error for a setting that needs class probabilities, on a task without them."""
    return InputError(
        f"{setting} compares the probabilities of one task's classes, but a {kind} has no "
        f"such outputs. Take {instead}."
    )
