"""Prototype-based HyperAdapter, PHA (EMNLP 2023, arXiv 2310.11670): adapters that a network makes.

Each task has a prototype, from which one network makes the parallel adapters of all blocks. The
prototypes are shaped by two contrastive losses between them and the examples' embeddings. Nothing of
this needs more than one task, but only several tasks give the contrasts a meaning: with one, adapters
are made and both losses are left out.

The paper's model is T5, with made adapters in the decoder and plain ones in the encoder. Here, with
an encoder alone, every block's adapter is made, and an example's embedding is the mean of the same
pass's last hidden states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.backbones.task_ids import TaskIds, task_ids
from gluelamp.methods.base import Forward, Method, TaskLoss
from gluelamp.methods.changes.change import Change, SharedByRows
from gluelamp.methods.changes.inserted import InsertedModule
from gluelamp.methods.parallel import ParallelModule

_HIDDEN = 128  # inner width of both networks, in the released code


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PHA(Method):
    """Make the adapters ``h + up(ReLU(down(u)))`` beside each feed-forward network from prototypes.

    With embeddings of size s, of T tasks and L blocks, trained are s (T + L) for these,
    256 s + 128 + 129 s + 2 s for what joins them, (s + 1)(2 d b + d + b) for what makes the adapters,
    and, if T > 1, 128 (d + 1) + 129 s for the examples' embeddings.

    Args:
        bottleneck: b, of the adapters.
        embedding_size: s, of prototypes, of the blocks' and of the examples' embeddings.
        contrast_weight: of each contrastive loss beside the task's.
        temperature: of both.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "EMNLP 2023, arXiv 2310.11670"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "The losses, computed one example and one pair at a time (tests/methods/test_pha.py)."
    )
    open_questions: ClassVar[str] = "Transfer to a new task with few examples is not built."

    needs_every_token = True

    bottleneck: int = Field(default=64, ge=1)
    embedding_size: int = Field(default=64, ge=1)
    contrast_weight: float = Field(default=0.1, ge=0)
    temperature: float = Field(default=0.1, gt=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put a made adapter beside each network, and what makes them with the embeddings."""
        tasks, width = task_ids(model), model.config.hidden_size
        network = Hypernetwork(width, self.bottleneck, len(parts.blocks), tasks.count, self.embedding_size)
        return [
            Prototypes(parts.embeddings, model, network, tasks),
            *(
                ParallelModule(block["ffn.input"], block["ffn.branch"], MadeAdapter(network, layer, tasks), 1)
                for layer, block in enumerate(parts.blocks)
            ),
        ]

    def loss(self, changes: Sequence[Change], forward: Forward, task_loss: TaskLoss) -> Tensor:
        """Return the task's loss plus, for several tasks, the weighted contrastive losses."""
        loss = task_loss(forward())
        prototypes, *_ = changes
        if not isinstance(prototypes, Prototypes) or prototypes.tasks.count == 1:
            return loss
        examples, made_of, tasks = prototypes.contrasted()
        contrasts = between_examples(examples, tasks, self.temperature)
        contrasts = contrasts + to_prototypes(examples, made_of, tasks, self.temperature)
        return loss + self.contrast_weight * contrasts


def between_examples(examples: Tensor, tasks: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss: examples of one task are drawn to each other.

    Mean over the examples i that share the batch with others of their task, of the mean over these p of
    ``-log(exp(z_i z_p / t) / sum_(a != i) exp(z_i z_a / t))``, where z is normalised.

    Args:
        examples: embeddings (batch, s).
        tasks: (batch,) of each.
        temperature: t.
    """
    normal = functional.normalize(examples)
    itself = torch.eye(len(tasks), dtype=torch.bool, device=tasks.device)
    scores = (normal @ normal.T / temperature).masked_fill(itself, -1e9)  # finite: an example may be alone
    positive = (tasks[:, None] == tasks) & ~itself
    chances = scores.log_softmax(-1).masked_fill(~positive, 0)
    number = positive.sum(-1)
    return -(chances.sum(-1) / number.clamp(min=1)).sum() / (number > 0).sum().clamp(min=1)


def to_prototypes(examples: Tensor, prototypes: Tensor, tasks: Tensor, temperature: float) -> Tensor:
    """Return the loss that draws examples to their task's prototype, away from the others.

    Mean over the examples of ``-log(exp(z k_own / t) / sum_(k != k_own) exp(z k / t))``, where z and k
    are normalised. As in the released code the sum leaves out the own one; the loss can be negative.

    Args:
        examples: embeddings z (batch, s).
        prototypes: k (tasks, s), at least two.
        tasks: (batch,) of each example.
        temperature: t.
    """
    scores = functional.normalize(examples) @ functional.normalize(prototypes).T / temperature
    own = functional.one_hot(tasks, len(prototypes)).bool()
    others = scores.masked_fill(own, -torch.inf)
    return (others.logsumexp(-1) - scores.gather(1, tasks[:, None]).squeeze(1)).mean()


class Hypernetwork(SharedByRows):
    """Makes the adapter of each task and block; knows the embedding of an example.

    Args:
        width: d, of the hidden states.
        bottleneck: b.
        blocks: L.
        tasks: T.
        size: s.
    """

    def __init__(self, width: int, bottleneck: int, blocks: int, tasks: int, size: int) -> None:
        super().__init__()
        self.prototypes = nn.Embedding(tasks, size)
        self.blocks = nn.Embedding(blocks, size)
        self.join = nn.Sequential(
            nn.Linear(2 * size, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, size), nn.LayerNorm(size, eps=1e-6)
        )
        self.down_weight = _maker(size, (bottleneck, width), fan=width)
        self.down_bias = _maker(size, (bottleneck,), fan=1)
        self.up_weight = _maker(size, (width, bottleneck), fan=bottleneck)
        self.up_bias = _maker(size, (width,), fan=1)
        if tasks > 1:
            self.embed = nn.Sequential(nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, size))

    def adapters(self, block: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return each task's adapter in one block.

        Returns:
            Weight (T, b, d) and bias (T, b) of the down-projection, then (T, d, b) and (T, d) of the up.
        """
        prototypes = self.prototypes.weight
        joined = self.join(torch.cat([prototypes, self.blocks.weight[block].expand_as(prototypes)], -1))
        return (
            self.down_weight(joined),
            self.down_bias(joined),
            self.up_weight(joined),
            self.up_bias(joined),
        )


def _maker(size: int, shape: tuple[int, ...], fan: int) -> nn.Sequential:
    """A linear layer that makes a tensor, drawn so small that the adapters start near zero."""
    linear = nn.Linear(size, math.prod(shape))
    bound = 1e-3 * math.sqrt(3 / (size * fan))
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.Unflatten(-1, shape))


class MadeAdapter(nn.Module):
    """An adapter without values of its own.

    Args:
        network: makes it.
        block: where it stands.
        tasks: which task each example belongs to.
    """

    def __init__(self, network: Hypernetwork, block: int, tasks: TaskIds) -> None:
        super().__init__()
        self.block = block
        self._shared = (network, tasks)  # in a tuple: no submodules of this one

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (batch, length, d); by the first task's if none is told."""
        network, tasks = self._shared
        ids = tasks.current
        if ids is None:
            ids = torch.zeros(1, dtype=torch.long, device=hidden.device)
        down, down_bias, up, up_bias = (made[ids] for made in network.adapters(self.block))
        inner = functional.relu(hidden @ down.mT + down_bias[:, None])
        return inner @ up.mT + up_bias[:, None]


class Prototypes(InsertedModule):
    """The network, with the embeddings, and the examples' embeddings of the pass at hand.

    Args:
        handle: the embeddings.
        model: the whole model; its encoder's last hidden states are read.
        network: what makes the adapters.
        tasks: which task each example belongs to.
    """

    def __init__(self, handle: Handle, model: PreTrainedModel, network: Hypernetwork, tasks: TaskIds) -> None:
        super().__init__(handle, network, lambda *_: None)
        self.network, self.tasks = network, tasks
        self._pooled: list[Tensor] = []
        self._reading = model.base_model.register_forward_hook(self._pool, with_kwargs=True)

    def _pool(self, encoder: nn.Module, _: tuple[()], inputs: Mapping[str, Any], output: Any) -> None:
        if encoder.training and self.tasks.count > 1:
            present = inputs["attention_mask"][..., None].to(output[0])
            self._pooled[:] = [(output[0] * present).sum(1) / present.sum(1)]

    def contrasted(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the contrastive losses compare, of the last training pass.

        Returns:
            Examples' embeddings (batch, s), prototypes (T, s) and the examples' tasks (batch,).

        Raises:
            ValueError: if the pass was not told its tasks.
        """
        if self.tasks.current is None:
            raise ValueError("A model of several tasks is trained with task_ids among its inputs.")
        examples = self.network.embed(self._pooled.pop())
        return examples.float(), self.network.prototypes.weight.float(), self.tasks.current

    def detach(self) -> None:
        """Remove the network and both hooks."""
        super().detach()
        self._reading.remove()
