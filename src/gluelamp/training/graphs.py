"""Training passes that a GPU replays as CUDA graphs.

A pass of a small encoder has some hundred kernels of a few microseconds each, and launching them takes longer
than running them. A CUDA graph holds a whole pass, forward and backward, and is launched at once.

A replay repeats the same kernels on the same addresses. This is why

- a graph has its own input tensors: a batch is copied into them before each replay;
- each shape of a batch needs its own graph. Batches are padded to a multiple of tokens, so that there are
  few shapes;
- whatever is computed from the trained values must be computed inside the graph. A value that the model
  cached before, such as a weight with its sparse delta, would stay as it was at capture. So caches are
  invalidated before a capture;
- a pass must not branch in Python on a value, wait for the device, or sample random numbers on the CPU.
  Dropout on the GPU is new in each replay, because PyTorch advances its random state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.training.batches import Batch, collate
from gluelamp.training.evaluation import Outputs
from gluelamp.training.passes import Passes, SinglePasses
from gluelamp.training.profile_state import ProfileState

_MULTIPLE = 16  # tokens: a batch is padded to a multiple, so that few graphs serve all batches
_EAGER_PASSES = (
    2  # of each shape before its capture: libraries choose kernels in them; rare shapes need no graph
)


@dataclass(frozen=True)
class _Captured:
    """A graph, and the tensors that each replay reads and writes.

    Args:
        graph: of a pass.
        inputs: of the model.
        labels: of the batch.
        loss: a scalar.
        gradients: of each master; None where the pass gives none.
    """

    graph: torch.cuda.CUDAGraph
    inputs: Batch
    labels: Tensor
    loss: Tensor
    gradients: list[Tensor | None]

    def replay(self, inputs: Batch, labels: Tensor, masters: Sequence[Tensor]) -> Tensor:
        """Set the masters' gradients from another batch of the same shape; return its loss."""
        for name, tensor in self.inputs.items():
            tensor.copy_(inputs[name])
        self.labels.copy_(labels)
        self.graph.replay()
        # The optimiser's zero_grad removed the gradients from the masters, but not from the graph's memory.
        for master, gradient in zip(masters, self.gradients, strict=True):
            master.grad = gradient
        return self.loss.clone()  # the next replay overwrites it


class GraphedPasses:
    """Passes of one profile. Those of a frequent shape are captured once and then replayed.

    Args:
        eager: the passes, launched one kernel at a time.

    Raises:
        InputError: if there are several profiles, or no GPU.
    """

    def __init__(self, eager: Passes) -> None:
        if not isinstance(eager, SinglePasses):
            raise InputError(
                "trainer.graphs=true allows one profile in a pass. Set trainer.profiles_per_pass=1 or "
                "trainer.graphs=false."
            )
        self.eager, self.device = eager, eager.model.device
        self._check()
        self._seen: Counter[torch.Size] = Counter()
        self._captured: dict[torch.Size, _Captured] = {}
        self._pool: Any = None  # torch has no public type for it

    def _check(self) -> None:
        if self.device.type != "cuda":
            raise InputError(
                f"trainer.graphs=true needs a GPU, and this run is on {self.device}. "
                "Set trainer.graphs=false."
            )

    def backward(self, states: Sequence[ProfileState], batches: Sequence[np.ndarray]) -> list[Tensor]:
        """Set the gradients of the values from the one batch; return its loss."""
        # Padded to a multiple of tokens, but not beyond the positions that the run allows.
        rows, examples = states[0].profile.train, batches[0]
        length = -(-int(rows.lengths[examples].max()) // _MULTIPLE) * _MULTIPLE
        inputs, labels = collate(rows, examples, self.device, min(length, self.eager.config.max_length))
        shape = inputs["input_ids"].shape
        self._seen[shape] += 1
        if self._seen[shape] <= _EAGER_PASSES:
            return [self.eager.gradients(inputs, labels)]
        if shape not in self._captured:
            self._captured[shape] = self._capture(inputs, labels)
        return [self._captured[shape].replay(inputs, labels, self.eager.weights.masters)]

    def sync_weights(self) -> None:
        """Copy the values into the model."""
        self.eager.sync_weights()

    def outputs(self, states: Sequence[ProfileState]) -> list[Outputs]:
        """Return the head's outputs for the validation splits."""
        return self.eager.outputs(states)

    def _capture(self, inputs: Batch, labels: Tensor) -> _Captured:
        """Record a pass on copies of a batch; nothing is computed."""
        # The graph reads these tensors in each replay, so they must not be the batch's own.
        inputs, labels = {name: value.clone() for name, value in inputs.items()}, labels.clone()
        self.eager.adaptation.invalidate()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                loss = self.eager.gradients(inputs, labels)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise InputError(
                f"This method's training pass cannot be captured in a CUDA graph: {error}. "
                "Set trainer.graphs=false."
            ) from error
        self._pool = graph.pool()  # graphs never run at the same time, so all use one memory pool
        return _Captured(graph, inputs, labels, loss, [master.grad for master in self.eager.weights.masters])
