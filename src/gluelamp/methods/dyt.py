"""DyT, dynamic tuning (Zhao et al., NeurIPS 2024, arXiv 2403.11808): tokens skip feed-forward networks.

This is the paper's MLP dispatch. The paper is about vision transformers, whose dispatcher and adapter read
the residual stream before its LayerNorm. Here they read the feed-forward network's own input. That, and the
treatment of padding, is our choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Block
from gluelamp.methods.adamix import kl_divergence, no_classes
from gluelamp.methods.base import Forward, Method, TaskKind, TaskLoss
from gluelamp.methods.changes.change import Change, Fp32Module
from gluelamp.methods.changes.inserted import Bottleneck, InsertedModule


class DyT(Method):
    """Replace ``m(u)``, the output of the feed-forward network for its input u, by ``M m(u) + s adapter(u)``.

    M is 1 for the active tokens and 0 for the others. A linear dispatcher computes a logit for each token. In
    training M is sampled and the network computes every token. In evaluation the tokens with a positive
    logit are active, and the network computes no others. The first token is always active, padding never.

    The loss is ``task(y) + c task(y*) + k KL(y* || y) + a (rate - r)^2``. y* are the outputs of a second
    pass in which every token is active; they receive no gradient from the divergence. The rate is the
    fraction of active tokens over all layers, without padding and first tokens.

    Trained: L (2 d b + b + d) for the adapters and L (d + 1) for the dispatchers.

    Args:
        bottleneck: b.
        scale: s. The authors' scripts use several values; this is that of full image data sets.
        dropout: between the adapter's projections.
        tau: temperature of the sampled mask. It changes the gradient of M, not its probabilities.
        target_rate: r.
        complete_weight: c.
        distillation: ``kl`` as in the paper, or ``mse``, the squared error between the outputs, our choice
            for tasks without classes.
        distillation_weight: k.
        rate_weight: a.
        dispatcher_std: standard deviation of the dispatcher's weights at the start. Its bias is zero, so
            about half of the tokens are active.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "Zhao et al., NeurIPS 2024, arXiv 2403.11808"
    merges: ClassVar[bool] = False
    needs_classifier: ClassVar[bool] = True
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
        """Return the loss of a pass with sampled masks and of one with every token active."""
        networks = [change.network for change in changes if isinstance(change, DispatchChange)]
        # First pass: sampled masks, whose mean activity is pulled towards the target rate.
        outputs = forward()
        rate = torch.stack([network.rate for network in networks if network.rate is not None]).mean()
        for network in networks:
            # Releases the autograd graph of the pass.
            network.rate = None
        loss = task_loss(outputs) + self.rate_weight * (rate - self.target_rate) ** 2
        if self.complete_weight == self.distillation_weight == 0:
            return loss
        # Second pass: every token is active. It trains the full network and is the target of the divergence.
        complete = _complete_pass(networks, forward)
        loss = loss + self.complete_weight * task_loss(complete)
        distance = kl_divergence if self.distillation == "kl" else nn.functional.mse_loss
        return loss + self.distillation_weight * distance(complete.detach(), outputs)

    def check_task(self, kind: TaskKind) -> None:
        """Refuse the divergence of class probabilities for a task without classes."""
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
        method: the hyper-parameters.
        width: d.
    """

    def __init__(self, method: DyT, width: int) -> None:
        super().__init__()
        self.tau = method.tau
        self.score = nn.Linear(width, 1)
        nn.init.normal_(self.score.weight, std=method.dispatcher_std)
        nn.init.zeros_(self.score.bias)

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Return M (batch, tokens), 0 or 1; in training with the gradient of the sigmoid.

        Args:
            hidden: u (batch, tokens, d).
            real: (batch, tokens), 0 for padding.
        """
        logits = self.score(hidden).squeeze(-1)
        if self.training:
            logits = (logits + _logistic_noise(logits)) / self.tau
        soft = torch.sigmoid(logits)
        # Straight-through estimator: the value is 0 or 1, the gradient that of the sigmoid.
        mask = (soft > 0.5).to(soft.dtype) + (soft - soft.detach())
        # The head reads the first token, so that one is always active.
        return torch.cat([torch.ones_like(mask[:, :1]), mask[:, 1:]], dim=1) * real


def _logistic_noise(like: Tensor) -> Tensor:
    """Return logistic noise, the difference of two Gumbel variables, for each element."""
    # On the CPU, so that the noise does not depend on the device.
    uniform = torch.rand(like.shape, device="cpu")
    return torch.logit(uniform, eps=torch.finfo(uniform.dtype).tiny).to(like)


class DispatchedNetwork(nn.Module):
    """The dispatcher before a feed-forward network and the adapter parallel to it.

    Its methods are hooks, called in each pass in the order of their definition: `start` stores the attention
    mask, `enter` chooses the active tokens, `leave` scatters the network's outputs back and adds the
    adapter's. Nothing that they store outlives the pass, except the rate.

    Args:
        method: the hyper-parameters.
        width: d.
    """

    rate: Tensor | None = None
    """Fraction of active tokens, without padding and first tokens, if the last pass sampled them."""

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
        self._inputs: list[tuple[Tensor, Tensor]] = []

    def start(self, _: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Store which tokens are not padding: a forward pre-hook of the model."""
        # The inputs of the feed-forward network do not contain the attention mask, so it is read here.
        self._real = args[1] if len(args) > 1 else kwargs.get("attention_mask")

    def enter(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """Choose the active tokens, and in evaluation pass on these alone: a pre-hook of the network."""
        (hidden,) = inputs
        real, self._real = self._real, None
        if real is None:
            real = torch.ones(hidden.shape[:2], device=hidden.device)
        active = real if self.complete else self.dispatcher(hidden, real)
        sampled = self.training and not self.complete
        self.rate = active[:, 1:].sum() / real[:, 1:].sum().clamp_min(1) if sampled else None
        if self.training:
            self._inputs[:] = [(hidden, active)]
            return None
        # Evaluation: only the active tokens of the whole batch go through the network, as one long list.
        positions = active.flatten().nonzero().squeeze(1)
        self._inputs[:] = [(hidden, positions)]
        return hidden.flatten(0, 1).index_select(0, positions)

    def leave(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Put the active tokens back in their positions and add the adapter's update: a forward hook."""
        hidden, active = self._inputs.pop()
        update = self.scale * self.adapter(hidden)
        # Training multiplies by the mask, so that its gradient reaches the dispatcher.
        if self.training:
            return update + output * active.unsqueeze(-1).to(output.dtype)
        return update.flatten(0, 1).index_add(0, active, output).view_as(hidden)


class DispatchChange(InsertedModule):
    """The hooks of a `DispatchedNetwork` on a block's feed-forward network.

    Args:
        model: its inputs contain the attention mask of each pass.
        block: of the model.
        network: the new modules.
    """

    def __init__(self, model: PreTrainedModel, block: Block, network: DispatchedNetwork) -> None:
        # Three hooks: on the model, before the feed-forward network, and after it.
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
