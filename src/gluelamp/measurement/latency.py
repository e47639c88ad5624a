"""The time of one forward pass, beside the bare backbone's.

A difference of one percent drowns in the drift of a machine. So all states of a model take turns,
in an order drawn anew each round, and what is reported is the ratio within a round.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn

from gluelamp.backbones.anatomy import anatomy, readable_tokens
from gluelamp.backbones.device import choose_device, choose_dtype, synchronize
from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.errors import InputError
from gluelamp.measurement.operators import same_operators
from gluelamp.methods.method import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SEED = 0
_WARM_UP = 5  # rounds that are not counted: caches, kernel choice, clocks
_RESAMPLES = 9999


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LatencyConfig:
    """How the forward pass is timed.

    Args:
        batches: examples a pass; each with each of ``lengths``.
        lengths: tokens an example.
        rounds: passes of each state that are counted.
        precision: ``auto`` is bf16 where the processor computes in it.
        threads: of torch on a CPU; its own choice if None.
        device: ``auto`` takes a GPU if there is one.
    """

    batches: tuple[PositiveInt, ...] = Field(default=(1, 32), min_length=1)
    lengths: tuple[PositiveInt, ...] = Field(default=(64,), min_length=1)
    rounds: int = Field(default=30, ge=2)
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    threads: PositiveInt | None = None
    device: str = "auto"


def measure_latency(backbone: BackboneConfig, method: Method, config: LatencyConfig) -> list[dict[str, Any]]:
    """Time a method on a backbone of random weights, in evaluation mode and without gradients.

    Args:
        backbone: its ``shape`` is read.
        method: the recipe.
        config: how to time.

    Returns:
        One row for each batch size, length and state: ``base`` (the bare backbone), ``unmerged``
        and, if the method can be merged, ``merged``. ``median_ms`` is the median time of a pass;
        ``ratio_to_base`` the median over rounds of the ratio to the base's pass of the same round,
        with its 95 % bootstrap interval from ``ratio_low`` to ``ratio_high``; ``same_operators``
        whether the pass runs exactly the operators of the base's.

    Raises:
        InputError: if the method cannot serve this architecture, the device is not there, or a
            length is more than the backbone can read.
    """
    device = choose_device(config.device)
    dtype = choose_dtype(config.precision, device)
    states = build_states(backbone, method)
    _check_lengths(states["base"], config.lengths)
    for model in states.values():
        model.to(device, dtype).eval()  # type: ignore[arg-type]  # the decorated method loses its signature
    with _threads(config.threads):
        setting = {
            "device": device.type,
            "dtype": str(dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }
        return [
            {**setting, "batch": batch, "length": length, **row}
            for batch, length in product(config.batches, config.lengths)
            for row in _compare(states, batch, length, config.rounds, device)
        ]


def _compare(
    states: Mapping[str, PreTrainedModel], batch: int, length: int, rounds: int, device: torch.device
) -> list[dict[str, Any]]:
    base = states["base"]
    inputs = _inputs(base.config.vocab_size, batch, length, device)
    times = time_in_turns(states, inputs, rounds, device)
    return [
        {
            "state": state,
            "median_ms": float(np.median(times[state])),
            **ratio_to_base(times[state], times["base"]),
            "same_operators": same_operators(base, model, inputs),
        }
        for state, model in states.items()
    ]


def build_states(backbone: BackboneConfig, method: Method) -> dict[str, PreTrainedModel]:
    """Return a bare backbone and copies of it with the method at work and, if it can be, merged.

    Args:
        backbone: its ``shape`` is read.
        method: the recipe.

    Returns:
        ``base``, ``unmerged`` and perhaps ``merged``: models of equal random weights.

    Raises:
        InputError: if the method cannot serve this architecture or size.
    """
    torch.manual_seed(_SEED)
    base = build_from_shape(backbone, num_outputs=2, attention=ATTENTION)
    states = {"base": base, "unmerged": method.adapt(deepcopy(base)).model}
    candidate = method.adapt(deepcopy(base))
    with suppress(InputError):  # the method says itself that it cannot be merged
        states["merged"] = candidate.merge()
    return states


@torch.no_grad()
def time_in_turns(
    models: Mapping[str, nn.Module], inputs: Mapping[str, Tensor], rounds: int, device: torch.device
) -> dict[str, np.ndarray]:
    """Return the milliseconds of each model's forward passes without gradients, after a warm-up.

    Args:
        models: by name; in each round all of them run once, in an order drawn anew.
        inputs: keyword arguments of every pass.
        rounds: how many are counted.
        device: where models and inputs are.

    Returns:
        By name, (rounds,).
    """
    order = random.Random(_SEED)
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(_WARM_UP + rounds):
        for name in order.sample(list(models), len(models)):
            times[name].append(_milliseconds(models[name], inputs, device))
    return {name: np.array(all_times[_WARM_UP:]) for name, all_times in times.items()}


def _milliseconds(model: nn.Module, inputs: Mapping[str, Tensor], device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    model(**inputs)
    synchronize(device)
    return 1000 * (time.perf_counter() - start)


def ratio_to_base(times: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Return the median of paired ratios and its 95 % interval, by the percentile bootstrap.

    Args:
        times: (rounds,) of a state.
        base: (rounds,) of the bare backbone in the same rounds.

    Returns:
        ``ratio_to_base``, ``ratio_low`` and ``ratio_high``.
    """
    from scipy.stats import bootstrap  # slow to import

    ratios = times / base
    interval = bootstrap(
        (ratios,),
        np.median,
        n_resamples=_RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return {
        "ratio_to_base": float(np.median(ratios)),
        "ratio_low": float(interval.low),
        "ratio_high": float(interval.high),
    }


def _inputs(vocabulary: int, batch: int, length: int, device: torch.device) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(_SEED)
    tokens = torch.randint(vocabulary, (batch, length), generator=generator).to(device)
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def _check_lengths(model: PreTrainedModel, lengths: tuple[int, ...]) -> None:
    limit = readable_tokens(anatomy(model).embeddings.module)
    if limit is not None and max(lengths) > limit:
        raise InputError(
            f"latency.lengths={list(lengths)}: the backbone reads at most {limit} tokens. "
            f"Allowed: 1 to {limit}."
        )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
