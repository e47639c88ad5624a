"""A training pass does not use the CPU once the model is on another device: see `methods.elsewhere`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

TESTS = Path(__file__).parents[1]
DRAW_ON_THE_CPU = {"adamix", "dyt"}  # so that one seed gives one routing everywhere


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot register a device from Python",
)
def test_a_pass_stays_on_its_device() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "methods.elsewhere"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 30
    assert {method_name: error for method_name, error in found.items() if isinstance(error, str)} == {}
    assert {method_name for method_name, operations in found.items() if operations} == DRAW_ON_THE_CPU
