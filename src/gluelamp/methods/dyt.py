"""DyT, dynamic tuning (Zhao et al., NeurIPS 2024, arXiv 2403.11808): tokens skip feed-forward networks.

This is the paper's MLP dispatch. The paper is about vision transformers, where dispatcher and adapter
read the residual stream before its LayerNorm. Here they read what the feed-forward network reads, after
it; that, and what is done with padding, is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Block
from gluelamp.methods.adamix import kl_divergence, no_classes
from gluelamp.methods.base import Forward, Method, TaskKind, TaskLoss
from gluelamp.methods.changes.change import Change, Fp32Module
from gluelamp.methods.changes.inserted import Bottleneck, InsertedModule


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DyT(Method):
    """Put ``M m(u) + s adapter(u)`` in the place of ``m(u)``, the feed-forward network at its input u.

    M is 1 for the active tokens and 0 for the others. A linear dispatcher gives each token a logit. In
    training M is drawn and the network computes every token; in evaluation the tokens of positive logit
    are active, and the network computes no other. The first token is always active, padding never.

    The loss is ``task(y) + c task(y*) + k KL(y* || y) + a (rate - r)^2``. y* are the outputs of a second
    pass in which every token is active; the divergence sends them no gradient. The rate is the share of
    the active among the real tokens but the first, over all layers.

    Trained: L (2 d b + b + d) for the adapters and L (d + 1) for the dispatchers.

    Args:
        bottleneck: b.
        scale: s. The authors' scripts differ in it; this is the one for full image data sets.
        dropout: between the adapter's projections.
        tau: temperature of the drawn mask; it changes the gradient of M, not its chances.
        target_rate: r.
        complete_weight: c.
        distillation: the divergence, as in the paper, or in its place the squared error between the
            outputs, which is our choice where classes are missing.
        distillation_weight: k.
        rate_weight: a.
        dispatcher_std: standard deviation of the dispatcher's first weights; its bias starts at zero, so
            that about half of the tokens are active.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "Zhao et al., NeurIPS 2024, arXiv 2403.11808"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "Masks in float64, gathered against masked computation, and both losses "
        "(tests/methods/test_dyt.py, test_dyt_loss.py)."
    )
    open_questions: ClassVar[str] = (
        "The method was made for images. The first token of a text, which the head reads, is always "
        "active here."
    )

    needs_every_token = True

    bottleneck: int = Field(default=64, ge=1)
    scale: float = Field(default=0.1, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    tau: float = Field(default=5.0, gt=0)
    target_rate: float = Field(default=0.5, ge=0, le=1)
    complete_weight: float = Field(default=1.0, ge=0)
    distillation: Literal["kl", "mse"] = "kl"
    distillation_weight: float = Field(default=1.0, ge=0)
    rate_weight: float = Field(default=2.0, ge=0)
    dispatcher_std: float = Field(default=0.02, gt=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Dispatch the tokens of every block."""
        width = model.config.hidden_size
        return [DispatchChange(model, block, DispatchedNetwork(self, width)) for block in parts.blocks]

    def loss(self, changes: Sequence[Change], forward: Forward, task_loss: TaskLoss) -> Tensor:
        """Return the loss of a pass with drawn masks and of one with every token active."""
        networks = [change.network for change in changes if isinstance(change, DispatchChange)]
        outputs = forward()
        rate = torch.stack([network.rate for network in networks if network.rate is not None]).mean()
        for network in networks:
            network.rate = None  # with it the graph of the pass goes
        loss = task_loss(outputs) + self.rate_weight * (rate - self.target_rate) ** 2
        if self.complete_weight == self.distillation_weight == 0:
            return loss
        complete = _complete_pass(networks, forward)
        loss = loss + self.complete_weight * task_loss(complete)
        distance = kl_divergence if self.distillation == "kl" else nn.functional.mse_loss
        return loss + self.distillation_weight * distance(complete.detach(), outputs)

    def check_task(self, kind: TaskKind) -> None:
        """Refuse the divergence of class probabilities where the outputs are not those of classes."""
        if kind != "classification" and self.distillation == "kl" and self.distillation_weight:
            raise no_classes(
                kind, "method.distillation=kl", "method.distillation=mse or distillation_weight=0"
            )


def _complete_pass(networks: Sequence[DispatchedNetwork], forward: Forward) -> Tensor:
    for network in networks:
        network.complete = True
    try:
        return forward()
    finally:
        for network in networks:
            network.complete = False


class Dispatcher(Fp32Module):
    """The mask M over tokens.

    Args:
        method: the recipe.
        width: d.
    """

    def __init__(self, method: DyT, width: int) -> None:
        super().__init__()
        self.tau = method.tau
        self.score = nn.Linear(width, 1)
        nn.init.normal_(self.score.weight, std=method.dispatcher_std)
        nn.init.zeros_(self.score.bias)

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Return M (batch, tokens), 0 or 1, in training with the gradient of the sigmoid behind it.

        Args:
            hidden: u (batch, tokens, d).
            real: (batch, tokens), 0 for padding.
        """
        logits = self.score(hidden).squeeze(-1)
        if self.training:
            logits = (logits + _logistic_noise(logits)) / self.tau
        soft = torch.sigmoid(logits)
        drawn = (soft > 0.5).to(soft.dtype) + (soft - soft.detach())
        return torch.cat([torch.ones_like(drawn[:, :1]), drawn[:, 1:]], dim=1) * real


def _logistic_noise(like: Tensor) -> Tensor:
    """The difference of two Gumbel variables for each element."""
    uniform = torch.rand(like.shape, device="cpu")
    return torch.logit(uniform, eps=torch.finfo(uniform.dtype).tiny).to(like)


class DispatchedNetwork(nn.Module):
    """What stands around a feed-forward network: before it the dispatcher, beside it the adapter.

    Its methods are hooks, called in each pass in the order of their definition. What one of them leaves
    for another is gone after the pass, but for the rate.

    Args:
        method: the recipe.
        width: d.
    """

    rate: Tensor | None = None
    """Share of active tokens among real ones but the first, if the last pass drew them."""

    def __init__(self, method: DyT, width: int) -> None:
        super().__init__()
        self.scale = method.scale
        self.complete = False
        self.dispatcher = Dispatcher(method, width)
        inner = nn.Sequential(nn.ReLU(), nn.Dropout(method.dropout))
        init = partial(nn.init.kaiming_uniform_, a=math.sqrt(5))
        self.adapter = Bottleneck(width, method.bottleneck, inner, init)
        nn.init.zeros_(self.adapter.up.weight)
        self._real: Tensor | None = None
        self._entered: list[tuple[Tensor, Tensor]] = []

    def start(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Before the model: note which tokens are real."""
        self._real = args[1] if len(args) > 1 else kwargs.get("attention_mask")

    def enter(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """Before the network: choose the active tokens; in evaluation let no other pass."""
        (hidden,) = inputs
        real, self._real = self._real, None
        if real is None:
            real = torch.ones(hidden.shape[:2], device=hidden.device)
        active = real if self.complete else self.dispatcher(hidden, real)
        drawn = self.training and not self.complete
        self.rate = active[:, 1:].sum() / real[:, 1:].sum().clamp_min(1) if drawn else None
        if self.training:
            self._entered[:] = [(hidden, active)]
            return None
        places = active.flatten().nonzero().squeeze(1)
        self._entered[:] = [(hidden, places)]
        return hidden.flatten(0, 1).index_select(0, places)

    def leave(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """After the network: put the active tokens in their places and add the adapter's update."""
        hidden, chosen = self._entered.pop()
        update = self.scale * self.adapter(hidden)
        if self.training:
            return update + output * chosen.unsqueeze(-1).to(output.dtype)
        return update.flatten(0, 1).index_add(0, chosen, output).view_as(hidden)


class DispatchChange(InsertedModule):
    """A block's feed-forward network with a `DispatchedNetwork` around it.

    Args:
        model: is asked for the attention mask of each pass.
        block: of the model.
        network: the new modules.
    """

    def __init__(self, model: PreTrainedModel, block: Block, network: DispatchedNetwork) -> None:
        super().__init__(block["ffn.branch"], network, network.leave)
        self.network = network
        self._before = (
            model.register_forward_pre_hook(network.start, with_kwargs=True),
            block["ffn.input"].module.register_forward_pre_hook(network.enter),
        )

    def detach(self) -> None:
        """Remove the modules and every hook."""
        super().detach()
        for hook in self._before:
            hook.remove()
