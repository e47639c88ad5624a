"""Steps replayed as CUDA graphs train as those launched one kernel at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gluelamp.errors import InputError
from gluelamp.runs.config import parse_method
from solo_trainer import SoloTrainer

METHODS = ("full", "bitfit", "lora", "pafi", "hiwi", "ether_plus", "xpeft_soft", "houlsby", "prefix")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_a_run_without_a_gpu_refuses_graphs(make_trainer: Callable[..., SoloTrainer]) -> None:
    with pytest.raises(InputError, match=r"trainer\.graphs=true needs a GPU, and this run is on cpu"):
        make_trainer(graphs=True)


@needs_gpu
@pytest.mark.parametrize("leaf", METHODS)
def test_replayed_steps_have_the_losses_of_launched_ones(
    leaf: str, make_trainer: Callable[..., SoloTrainer], compose: Callable[..., dict[str, Any]]
) -> None:
    method = parse_method(compose(f"method={leaf}")["method"])

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
def test_each_replay_draws_its_own_dropout(make_trainer: Callable[..., SoloTrainer]) -> None:
    trainer = make_trainer(device="cuda", graphs=True, dropout=0.5)
    batch = [trainer.learner.next_batch()]
    trainer.model.train()
    losses = {float(trainer.passes.backward([trainer.learner], batch)[0]) for _ in range(12)}
    assert len(losses) == 12


@needs_gpu
def test_what_draws_on_the_cpu_cannot_be_captured(
    make_trainer: Callable[..., SoloTrainer], compose: Callable[..., dict[str, Any]]
) -> None:
    method = parse_method(compose("method=adamix")["method"])
    with pytest.raises(InputError, match=r"cannot be captured in a CUDA graph"):
        make_trainer(method=method, device="cuda", graphs=True, epochs=6).run()
