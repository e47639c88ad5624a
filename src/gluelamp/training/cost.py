"""What training costs: operations, the machine's own rate, memory."""

from __future__ import annotations

import resource
import sys
import time
from functools import lru_cache
from pathlib import Path

import torch

from gluelamp.backbones.device import synchronize

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@lru_cache(maxsize=4)
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second of a large square product, measured once.

    Args:
        device: where.
        dtype: of both factors.
    """
    size = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def reset_peak_memory(device: torch.device) -> None:
    """Start counting the peak memory anew: many runs may share one process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        _CLEAR.write_text("5")


def peak_memory(device: torch.device) -> dict[str, int | str]:
    """Return the peak memory in bytes since the last reset, and what was measured."""
    if device.type == "cuda":
        return {"peak_bytes": torch.cuda.max_memory_allocated(device), "of": "device allocations"}
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return {
            "peak_bytes": int(lines["VmHWM"].split()[0]) * 1024,
            "of": "resident set of the run",
        }
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"peak_bytes": peak, "of": "resident set of the process"}
