"""Steps replayed as CUDA graphs train as those launched one kernel at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gluelamp.errors import InputError
from gluelamp.experiments.config import parse_method
from gluelamp.training.batches import Batch
from gluelamp.training.graphs import GraphedPasses, _Captured
from solo_trainer import SoloTrainer

METHODS = ("full", "bitfit", "lora", "pafi", "hiwi", "ether_plus", "xpeft_soft", "houlsby", "prefix")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_a_run_without_a_gpu_refuses_graphs(make_trainer: Callable[..., SoloTrainer]) -> None:
    with pytest.raises(InputError, match=r"trainer\.graphs=true needs a GPU, and this run is on cpu"):
        make_trainer(graphs=True)


class Recording:
    """A graph for a CPU: each replay computes the recorded pass again, into the same tensors."""

    def __init__(self, record: Callable[[], list[torch.Tensor | None]]) -> None:
        self.record, self.written = record, record()

    def replay(self) -> None:
        for stored, new in zip(self.written, self.record(), strict=True):
            if stored is not None and new is not None:
                stored.copy_(new)


@pytest.mark.parametrize("name", ["full", "pafi", "xpeft"])
def test_a_replay_takes_the_batch_and_gives_its_loss_and_gradients(
    name: str,
    make_trainer: Callable[..., SoloTrainer],
    compose: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = parse_method(compose(f"method={name}")["method"])
    options = {"method": method, "dropout": 0.0, "epochs": 3, "eval_steps": 99, "bucket_batches": 1}
    expected = make_trainer("eager", **options).run().progress.losses

    def capture(self: GraphedPasses, inputs: Batch, labels: torch.Tensor) -> _Captured:
        inputs, labels = {name: value.clone() for name, value in inputs.items()}, labels.clone()
        masters = self.eager.weights.masters

        def record() -> list[torch.Tensor | None]:
            for master in masters:
                master.grad = None
            loss = self.eager.gradients(inputs, labels)
            return [loss, *(master.grad for master in masters)]

        graph = Recording(record)
        loss, *gradients = graph.written
        return _Captured(graph, inputs, labels, loss, gradients)  # type: ignore[arg-type]

    monkeypatch.setattr(GraphedPasses, "_capture", capture)
    monkeypatch.setattr(GraphedPasses, "_check", lambda _: None)
    trainer = make_trainer("graphs", **options, graphs=True)
    assert trainer.run().progress.losses == pytest.approx(expected, rel=1e-5)
    assert trainer.passes._captured  # type: ignore[attr-defined]


@needs_gpu
@pytest.mark.parametrize("name", METHODS)
def test_replayed_steps_have_the_losses_of_launched_ones(
    name: str, make_trainer: Callable[..., SoloTrainer], compose: Callable[..., dict[str, Any]]
) -> None:
    method = parse_method(compose(f"method={name}")["method"])

    def losses(graphs: bool) -> list[float]:
        trainer = make_trainer(
            str(graphs), method=method, device="cuda", graphs=graphs, epochs=6, dropout=0.0, bucket_batches=1
        )
        losses = trainer.run().progress.losses
        assert not graphs or trainer.passes._captured  # type: ignore[attr-defined]
        return losses

    # other padding, and so another order of summation
    assert losses(True) == pytest.approx(losses(False), rel=1e-3)


@needs_gpu
def test_each_replay_has_its_own_dropout_masks(make_trainer: Callable[..., SoloTrainer]) -> None:
    trainer = make_trainer(device="cuda", graphs=True, dropout=0.5)
    batch = [trainer.state.next_batch()]
    trainer.model.train()
    losses = {float(trainer.passes.backward([trainer.state], batch)[0]) for _ in range(12)}
    assert len(losses) == 12


@needs_gpu
def test_random_numbers_on_the_cpu_cannot_be_captured(
    make_trainer: Callable[..., SoloTrainer], compose: Callable[..., dict[str, Any]]
) -> None:
    method = parse_method(compose("method=adamix")["method"])
    with pytest.raises(InputError, match=r"cannot be captured in a CUDA graph"):
        make_trainer(method=method, device="cuda", graphs=True, epochs=6).run()
