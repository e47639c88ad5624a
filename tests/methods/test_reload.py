"""A stored task gives its outputs in a process that did not train it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from gluelamp.methods.phases import adapt_untrained
from gluelamp.methods.storage import provenance, save_task_state
from methods.cases import GetMethod
from methods.reload import BACKBONE, ROWS
from tiny_models import logits, tiny


def test_every_method_is_loaded_in_a_separate_process(method: GetMethod, tmp_path: Path) -> None:
    outputs = {}
    for name, row in ROWS.items():
        adaptation = adapt_untrained(method(row.config, *row.overrides), tiny("bert"))
        with torch.no_grad():
            for value in (adaptation.trainable | adaptation.head).values():
                value.add_(0.1 * torch.randn_like(value))  # in place of training
        outputs[name] = logits(adaptation.model)
        origin = provenance(adaptation, BACKBONE)
        save_task_state(tmp_path / f"{name}.safetensors", adaptation, origin)
    subprocess.run(
        [sys.executable, "-m", "methods.reload", str(tmp_path)],
        check=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    reloaded = load_file(tmp_path / "outputs.safetensors")
    assert {name: torch.equal(reloaded[name], outputs[name]) for name in ROWS} == dict.fromkeys(ROWS, True)
