"""A stored task gives its outputs in a process that has seen nothing of its training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from gluelamp.methods.storage import provenance, save_task_state
from methods.cases import GetMethod, make_case
from methods.reload import BACKBONE, cells


def test_every_method_is_loaded_in_a_fresh_process(method: GetMethod, tmp_path: Path) -> None:
    trained = {}
    for row, architecture, name in cells():
        case = make_case(row, architecture, method(row.leaf, *row.overrides))
        save_task_state(tmp_path / name, case.adaptation, provenance(case.adaptation, BACKBONE))
        trained[name] = (row, case.outputs)
    subprocess.run(
        [sys.executable, "-m", "methods.reload", str(tmp_path)],
        check=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    given = load_file(tmp_path / "outputs.safetensors")
    for name, (row, outputs) in trained.items():
        assert torch.equal(given[name], outputs), row
