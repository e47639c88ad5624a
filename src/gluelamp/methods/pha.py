"""Prototype-based HyperAdapter, PHA (EMNLP 2023, arXiv 2310.11670): adapters that a network generates.

Each task has a prototype, from which one hypernetwork generates the parallel adapters of all blocks. Two
contrastive losses compare prototypes and embeddings of examples. They need several tasks: with a single
task, adapters are generated and both losses are left out.

The paper's model is T5, with generated adapters in the decoder and plain ones in the encoder. Here, with an
encoder alone, every block's adapter is generated, and an example's embedding is computed from the mean of
the last hidden states of the same pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.backbones.task_ids import TaskIds, task_ids
from gluelamp.methods.base import Forward, Method, TaskLoss
from gluelamp.methods.changes.change import Change, SharedByRows
from gluelamp.methods.changes.inserted import InsertedModule
from gluelamp.methods.parallel import ParallelModule

# Inner width of both networks, in the released code.
_HIDDEN = 128


class PHA(Method):
    """Generate adapters ``h + up(ReLU(down(u)))`` parallel to each feed-forward network from prototypes.

    Trained, with T tasks, L blocks and embeddings of size s: s (T + L) for the embeddings,
    256 s + 128 + 129 s + 2 s for the network that joins them, (s + 1)(2 d b + d + b) for the generators of
    the adapters and, if T > 1, 128 (d + 1) + 129 s for the examples' embeddings.

    Args:
        bottleneck: b, of the adapters.
        embedding_size: s, of prototypes, of the blocks' and of the examples' embeddings.
        contrast_weight: factor on each contrastive loss; the task's loss has 1.
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
        """Put a generated adapter parallel to each network, and the hypernetwork below the embeddings."""
        tasks, width = task_ids(model), model.config.hidden_size
        network = Hypernetwork(width, self.bottleneck, len(parts.blocks), tasks.count, self.embedding_size)
        # All adapters share one hypernetwork, which is counted and stored once.
        return [
            Prototypes(parts.embeddings, model, network, tasks),
            *(
                ParallelModule(
                    block["ffn.input"], block["ffn.branch"], GeneratedAdapter(network, layer, tasks), 1
                )
                for layer, block in enumerate(parts.blocks)
            ),
        ]

    def loss(self, changes: Sequence[Change], forward: Forward, task_loss: TaskLoss) -> Tensor:
        """Return the task's loss plus, for several tasks, the weighted contrastive losses."""
        loss = task_loss(forward())
        prototypes, *_ = changes
        if not isinstance(prototypes, Prototypes) or prototypes.tasks.count == 1:
            return loss
        examples, vectors, tasks = prototypes.contrasted()
        contrasts = between_examples(examples, tasks, self.temperature)
        contrasts = contrasts + to_prototypes(examples, vectors, tasks, self.temperature)
        return loss + self.contrast_weight * contrasts


def between_examples(examples: Tensor, tasks: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss, which pulls examples of one task together.

    Mean over the examples i with others of their task in the batch, of the mean over these p of
    ``-log(exp(z_i z_p / t) / sum_(a != i) exp(z_i z_a / t))``, where z is normalised.

    Args:
        examples: embeddings (batch, s).
        tasks: (batch,) of each.
        temperature: t.
    """
    normal = functional.normalize(examples)
    itself = torch.eye(len(tasks), dtype=torch.bool, device=tasks.device)
    # Not -inf: an example that is alone in the batch would have no finite score, and a gradient of nan.
    scores = (normal @ normal.T / temperature).masked_fill(itself, -1e9)
    positive = (tasks[:, None] == tasks) & ~itself
    log_probabilities = scores.log_softmax(-1).masked_fill(~positive, 0)
    number = positive.sum(-1)
    return -(log_probabilities.sum(-1) / number.clamp(min=1)).sum() / (number > 0).sum().clamp(min=1)


def to_prototypes(examples: Tensor, prototypes: Tensor, tasks: Tensor, temperature: float) -> Tensor:
    """Return the loss that pulls examples to their task's prototype and away from the others.

    Mean over the examples of ``-log(exp(z k_own / t) / sum_(k != k_own) exp(z k / t))``, where z and k
    are normalised. As in the released code the sum excludes k_own; the loss can be negative.

    Args:
        examples: embeddings z (batch, s).
        prototypes: k (tasks, s), at least two.
        tasks: (batch,) of each example.
        temperature: t.
    """
    scores = functional.normalize(examples) @ functional.normalize(prototypes).T / temperature
    # The sum in the denominator excludes the own prototype: a score of -inf adds nothing.
    own = functional.one_hot(tasks, len(prototypes)).bool()
    others = scores.masked_fill(own, -torch.inf)
    return (others.logsumexp(-1) - scores.gather(1, tasks[:, None]).squeeze(1)).mean()


class Hypernetwork(SharedByRows):
    """Generates the adapter of each task and block, and computes embeddings of examples.

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
        self.down_weight = _generator(size, (bottleneck, width), fan=width)
        self.down_bias = _generator(size, (bottleneck,), fan=1)
        self.up_weight = _generator(size, (width, bottleneck), fan=bottleneck)
        self.up_bias = _generator(size, (width,), fan=1)
        if tasks > 1:
            self.embed = nn.Sequential(nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, size))

    def adapters(self, block: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return each task's adapter in one block.

        Returns:
            Weight (T, b, d) and bias (T, b) of the down-projection, then (T, d, b) and (T, d) of the up.
        """
        prototypes = self.prototypes.weight
        # Prototype and block embedding, joined, are the input of every generator.
        joined = self.join(torch.cat([prototypes, self.blocks.weight[block].expand_as(prototypes)], -1))
        return (
            self.down_weight(joined),
            self.down_bias(joined),
            self.up_weight(joined),
            self.up_bias(joined),
        )


def _generator(size: int, shape: tuple[int, ...], fan: int) -> nn.Sequential:
    """Return a layer that generates a tensor, so small at the start that adapters are near zero."""
    linear = nn.Linear(size, math.prod(shape))
    # Uniform within a bound has variance bound^2 / 3. The generated values have a standard deviation of
    # 1e-3 / sqrt(fan), whatever the embedding size.
    bound = 1e-3 * math.sqrt(3 / (size * fan))
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.Unflatten(-1, shape))


class GeneratedAdapter(nn.Module):
    """An adapter whose values a hypernetwork generates in each pass.

    Args:
        network: the hypernetwork.
        block: number of the adapter's block.
        tasks: which task each example belongs to.
    """

    def __init__(self, network: Hypernetwork, block: int, tasks: TaskIds) -> None:
        super().__init__()
        self.block = block
        # In a tuple, so that the network is not registered as a submodule of every adapter.
        self._shared = (network, tasks)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (batch, length, d), by the first task's adapter without ids."""
        network, tasks = self._shared
        ids = tasks.current
        if ids is None:
            ids = torch.zeros(1, dtype=torch.long, device=hidden.device)
        # (tasks, ...) -> (batch, ...): each example gets its task's adapter.
        down, down_bias, up, up_bias = (values[ids] for values in network.adapters(self.block))
        inner = functional.relu(hidden @ down.mT + down_bias[:, None])
        return inner @ up.mT + up_bias[:, None]


class Prototypes(InsertedModule):
    """The hypernetwork as a submodule of the embeddings, and the examples' embeddings of the current pass.

    Args:
        handle: the embeddings.
        model: the whole model; its encoder's last hidden states are read.
        network: the hypernetwork.
        tasks: which task each example belongs to.
    """

    def __init__(self, handle: Handle, model: PreTrainedModel, network: Hypernetwork, tasks: TaskIds) -> None:
        # The hypernetwork acts through the adapters, so its own hook does nothing.
        super().__init__(handle, network, lambda *_: None)
        self.network, self.tasks = network, tasks
        self._pooled: list[Tensor] = []
        self._reading = model.base_model.register_forward_hook(self._pool, with_kwargs=True)

    def _pool(self, encoder: nn.Module, _: tuple[()], inputs: Mapping[str, Any], output: Any) -> None:
        if encoder.training and self.tasks.count > 1:
            # Mean over the tokens without padding. Stored for the loss, which runs after the pass.
            present = inputs["attention_mask"][..., None].to(output[0])
            self._pooled[:] = [(output[0] * present).sum(1) / present.sum(1)]

    def contrasted(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the contrastive losses compare, of the last training pass.

        Returns:
            Examples' embeddings (batch, s), prototypes (T, s) and the examples' tasks (batch,).

        Raises:
            ValueError: if the pass had no task ids.
        """
        if self.tasks.current is None:
            raise ValueError("A model of several tasks needs task_ids among its inputs.")
        examples = self.network.embed(self._pooled.pop())
        return examples.float(), self.network.prototypes.weight.float(), self.tasks.current

    def detach(self) -> None:
        """Remove the network and both hooks."""
        super().detach()
        self._reading.remove()
