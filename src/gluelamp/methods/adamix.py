"""AdaMix (Wang et al., EMNLP 2022, arXiv 2205.12410): adapters drawn at random, averaged at the end.

Wiring, routing, initialisation and loss follow the authors' code in its GLUE setting. There the
consistency loss works with RoBERTa alone; here it works with every backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.errors import InputError
from gluelamp.methods.base import Forward, Method, TaskKind, TaskLoss
from gluelamp.methods.changes.change import Change, Fp32Module
from gluelamp.methods.changes.inserted import InsertedModule, residual


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class AdaMix(Method):
    """Insert ``h + up_j(GELU(down_i(h)))`` after the feed-forward network, i and j drawn in each pass.

    h is what the network's last linear layer returns, before dropout. Trained, with M experts and a
    shared up-projection: L (M (d b + b) + b d + d). In evaluation the experts are averaged, and that
    average is what a task stores: L (2 d b + b + d), an ordinary adapter. So a stored task can be used
    but its experts cannot be trained further; a checkpoint keeps them all.

    Args:
        experts: M.
        bottleneck: b.
        share_up: whether there is one up-projection instead of M, as in the authors' GLUE runs.
        consistency: the loss between two passes with other routing and dropout: half of the sum of both
            Kullback-Leibler divergences, each without gradient to its target, as in the authors' code;
            the squared error between the outputs, which is our choice where classes are missing; or none,
            and one pass.
        init_std: standard deviation from which all projections are drawn.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "Wang et al., EMNLP 2022, arXiv 2205.12410"
    merges: ClassVar[bool] = False
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
        """Insert one mixture a block."""
        width = model.config.hidden_size
        return [
            AdaMixChange(block["ffn.down"], mixture, residual(mixture))
            for block in parts.blocks
            for mixture in [Mixture(self, width)]
        ]

    def loss(self, changes: Sequence[Change], forward: Forward, task_loss: TaskLoss) -> Tensor:
        """Return the task's loss of one pass and, if asked for, its consistency with a second pass."""
        first = forward()
        if self.consistency == "none":
            return task_loss(first)
        second = forward()
        if self.consistency == "mse":
            return task_loss(first) + nn.functional.mse_loss(first, second)
        return task_loss(first) + (kl_divergence(second, first) + kl_divergence(first, second)) / 2

    def check_task(self, kind: TaskKind) -> None:
        """Refuse the divergence of class probabilities where the outputs are not those of classes."""
        if kind != "classification" and self.consistency == "kl":
            raise no_classes(kind, "method.consistency=kl", "method.consistency=mse or none")


class Experts(Fp32Module):
    """Linear layers of one shape, stacked; a pass uses one of them or, in evaluation, their average.

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
        drawn = torch.randint(len(self.weight), (1,), device="cpu").to(self.weight.device)
        return self.weight.index_select(0, drawn)[0], self.bias.index_select(0, drawn)[0]


def _average(experts: Tensor) -> Tensor:
    """The mean over the first dimension; of equal experts it is their value to the last bit."""
    return experts[0] + (experts - experts[0]).mean(0)


class Mixture(nn.Module):
    """``up_j(GELU(down_i(h)))`` with i and j drawn independently in each training pass.

    Args:
        method: the recipe.
        width: size of h.
    """

    def __init__(self, method: AdaMix, width: int) -> None:
        super().__init__()
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


class AdaMixChange(InsertedModule):
    """An inserted `Mixture`, of which a task stores the average; loading puts it in each expert's place."""

    def state(self) -> dict[str, Tensor]:
        """Return the averaged adapter, without the experts' dimension."""
        return {name: _average(experts.detach()) for name, experts in self.parameters().items()}


def kl_divergence(target: Tensor, outputs: Tensor) -> Tensor:
    """Return KL(target || outputs) between the classes' probabilities, the mean over the batch, in nats.

    Args:
        target: (batch, classes) logits; no gradient reaches them.
        outputs: (batch, classes) logits.
    """
    known, found = (torch.log_softmax(logits, -1) for logits in (target.detach(), outputs))
    return nn.functional.kl_div(found, known, reduction="batchmean", log_target=True)


def no_classes(kind: str, setting: str, instead: str) -> InputError:
    """Return what to raise where a setting needs class probabilities and the task has none."""
    return InputError(
        f"{setting} compares the probabilities of one task's classes, but the outputs of a {kind} are not "
        f"those. Take {instead}."
    )
