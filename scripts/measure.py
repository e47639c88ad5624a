#!/usr/bin/env python3
"""Count, time or certify: python scripts/measure.py -m backbone=minilm,roberta_large what=parameters."""

from __future__ import annotations

from typing import Any

from gluelamp.cli.app import RunFailedError, run_app


def run(raw: dict[str, Any]) -> None:
    """Measure the method of a composed configuration on the shape of its backbone."""
    import torch

    from gluelamp.experiments.measure import measure, parse_measure
    from gluelamp.measurement.certificate import CertificateFailedError

    try:
        measure(parse_measure(raw))
    except CertificateFailedError as error:
        raise RunFailedError(str(error)) from error
    except torch.OutOfMemoryError:  # a sweep stores exceptions, and the frames of this one hold the model
        raise RunFailedError(
            "The device has too little free memory for this measurement. Its finished parts are stored. "
            "Lower the largest of its batches or lengths, such as latency.batches=[1]."
        ) from None


if __name__ == "__main__":
    run_app(run, "measure")
