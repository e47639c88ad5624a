"""Training passes that a GPU replays as CUDA graphs.

A pass of a small encoder is some hundred kernels of a few microseconds each, and to launch them takes
longer than to run them. A graph of a whole pass, forward and backward, is launched at once.
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
from gluelamp.training.learner import Learner
from gluelamp.training.passes import Passes, SinglePasses

_MULTIPLE = 16  # tokens: a batch is padded to a multiple, so that few graphs serve all batches
_BEFORE_CAPTURE = 2  # passes of a shape: libraries choose kernels then, and rare shapes need no graph


@dataclass(frozen=True)
class _Captured:
    """A graph, and the tensors that it reads and writes at every replay.

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
        """Put the gradients of another batch of the same shape on the masters; return its loss."""
        for name, held in self.inputs.items():
            held.copy_(inputs[name])
        self.labels.copy_(labels)
        self.graph.replay()
        for master, gradient in zip(masters, self.gradients, strict=True):
            master.grad = gradient
        return self.loss.clone()


class GraphedPasses:
    """Passes of one profile, of which those of a frequent shape are captured once and then replayed.

    The method's forward pass must be free of what a graph cannot hold: a Python branch on a value, or
    numbers drawn on the CPU. Dropout and other draws on the GPU are new in each replay.

    Args:
        eager: the passes, launched one kernel at a time.

    Raises:
        InputError: if they are not of one profile on a GPU.
    """

    def __init__(self, eager: Passes) -> None:
        if not isinstance(eager, SinglePasses):
            raise InputError(
                "trainer.graphs=true is for one profile at a time. Take trainer.profiles_per_pass=1, or "
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
                "Take trainer.graphs=false."
            )

    def backward(self, learners: Sequence[Learner], batches: Sequence[np.ndarray]) -> list[Tensor]:
        """Put the gradients of the one batch on the values; return its loss."""
        rows, examples = learners[0].profile.train, batches[0]
        length = -(-int(rows.lengths[examples].max()) // _MULTIPLE) * _MULTIPLE
        inputs, labels = collate(rows, examples, self.device, min(length, self.eager.config.max_length))
        shape = inputs["input_ids"].shape
        self._seen[shape] += 1
        if self._seen[shape] <= _BEFORE_CAPTURE:
            return [self.eager.gradients(inputs, labels)]
        if shape not in self._captured:
            self._captured[shape] = self._capture(inputs, labels)
        return [self._captured[shape].replay(inputs, labels, self.eager.weights.masters)]

    def publish(self) -> None:
        """Copy the values into the model."""
        self.eager.publish()

    def outputs(self, learners: Sequence[Learner]) -> list[Outputs]:
        """Return the head's outputs for the validation splits."""
        return self.eager.outputs(learners)

    def _capture(self, inputs: Batch, labels: Tensor) -> _Captured:
        """Record a pass on a batch, whose tensors the graph keeps; nothing is computed."""
        inputs, labels = {name: value.clone() for name, value in inputs.items()}, labels.clone()
        # What was made of the values and kept, such as a weight with its delta, belongs into the graph.
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
                "Take trainer.graphs=false."
            ) from error
        self._pool = graph.pool()  # all graphs take turns in one memory
        return _Captured(graph, inputs, labels, loss, [master.grad for master in self.eager.weights.masters])
