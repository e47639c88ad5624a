"""The device of a run: its choice, number format, name, peak memory and speed."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import torch

from gluelamp.errors import InputError

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is a GPU if there is one.

    Raises:
        InputError: if the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] in ("cpu", "cuda"):
        with suppress(RuntimeError, AssertionError):
            device = torch.device(name)
            torch.empty(0, device=device)  # raises if the device does not exist
            return device
    raise InputError(f"device={name!r} is not usable here. Allowed: auto, cpu, cuda, cuda:N.")


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number format of the passes; ``auto`` is bf16 if the processor computes in it, else fp32.

    Args:
        precision: ``auto``, ``fp32`` or ``bf16``.
        device: where the passes run.
    """
    if precision == "auto":
        precision = "bf16" if multiplies_bf16(device) else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions for bf16 matrix products."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # The check of oneDNN is true for any AVX-512 processor, where it may emulate bf16.
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished all work. A CPU has no pending work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe_device(device: torch.device, dtype: torch.dtype) -> dict[str, str | int | None]:
    """Return the device, number format, threads and cores of a computation, for its record.

    Args:
        device: where the passes run.
        dtype: number format of the passes.
    """
    return {
        "type": device.type,
        "name": device_name(device),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def device_name(device: torch.device) -> str:
    """Return the product name of a GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak memory, since one process may train many runs."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text("5")  # Linux sets the peak resident set to the current one


def peak_memory(device: torch.device) -> dict[str, int | str]:
    """Return the peak memory in bytes since the last reset, and what was measured."""
    if device.type == "cuda":
        return {"peak_bytes": torch.cuda.max_memory_allocated(device), "measure": "device allocations"}
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        # The peak resident set in KiB since the last reset.
        return {
            "peak_bytes": int(lines["VmHWM"].split()[0]) * 1024,
            "measure": "resident set of the run",
        }
    # ru_maxrss is in bytes on macOS and in KiB elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"peak_bytes": peak, "measure": "resident set of the process"}


@lru_cache(maxsize=4)
def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the measured rate of a large square matrix product, in floating-point operations per second.

    Args:
        device: where to compute.
        dtype: number format of both factors.
    """
    # Large enough that the product is limited by arithmetic and not by memory.
    size = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    # The best of several products, since other processes may slow some of them down.
    best = float("inf")
    for _ in range(6):
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
