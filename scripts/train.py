#!/usr/bin/env python3
"""Train one run, or with -m a sweep: python scripts/train.py method=pafi task=cola seed=0."""

from __future__ import annotations

from typing import Any

from gluelamp.cli.app import RunFailedError, run_app


def train(raw: dict[str, Any]) -> None:
    """Train the run of a composed configuration."""
    import torch

    from gluelamp.experiments.config import parse_run
    from gluelamp.experiments.run import execute
    from gluelamp.training.trainer import DivergedError

    try:
        execute(parse_run(raw))
    except DivergedError as error:
        raise RunFailedError(str(error)) from error
    except torch.OutOfMemoryError:  # caught here: a sweep would keep it, and with its frames the model
        raise RunFailedError(
            "The device has too little free memory for this run. Lower trainer.batch_size, "
            "trainer.eval_batch_size or, where persons train together, trainer.pass_tokens."
        ) from None


if __name__ == "__main__":
    run_app(train, "train")
