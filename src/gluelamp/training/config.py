"""The trainer's knobs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

_DecayRate = Annotated[float, Field(ge=0, lt=1)]


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainerConfig:
    """How a run is trained. Everything here but the last group is part of a run's identity.

    Args:
        epochs: passes over the training data.
        batch_size: examples a step.
        learning_rate: peak learning rate of the method's values.
        head_learning_rate: peak learning rate of the task head; ``learning_rate`` if None.
        weight_decay: AdamW's, on all trained values.
        betas: AdamW's.
        eps: AdamW's.
        schedule: of the learning rate, after the warm-up.
        warmup_ratio: share of the steps over which the rate rises.
        max_grad_norm: clips the gradient of all trained values together; None does not.
        max_length: tokens an example, special tokens included.
        bucket_batches: batches over which examples are sorted by length, so that little is padded;
            1 sorts within a batch only, which is plain shuffling.
        dropout: probability for the whole backbone; its own configuration's if None.
        precision: ``bf16`` holds the backbone and runs the passes in bf16, and keeps trained values
            and optimiser in fp32; ``auto`` takes it where the processor has it.
        eval_steps: steps between evaluations; once an epoch if None.
        patience: evaluations without a better main metric before training stops; None never stops. All
            validation rows then decide which epochs there are, in held-out scores, too.
        profiles_per_pass: profiles that are trained in one pass, where each user has a profile.
        pass_tokens: tokens of one such pass, padding counted: more fill a GPU, fewer stay in a cache.
        eval_batch_size: examples a step in evaluation.
        checkpoint_steps: steps between checkpoints; one is also written at each evaluation, or of several
            profiles together where all that still train are evaluated.
        device: ``auto`` takes a GPU if there is one.
        graphs: on a GPU, whether steps are replayed as CUDA graphs; see `gluelamp.training.graphs`.
    """

    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    head_learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[_DecayRate, _DecayRate] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    warmup_ratio: float = Field(default=0.06, ge=0, le=1)
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    max_length: int = Field(default=128, ge=8)
    bucket_batches: int = Field(default=50, ge=1)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    eval_steps: int | None = Field(default=None, ge=1)
    patience: int | None = Field(default=None, ge=1)
    profiles_per_pass: int = Field(default=1, ge=1)
    pass_tokens: int = Field(default=4096, ge=1)

    eval_batch_size: int = Field(default=128, ge=1)
    checkpoint_steps: int = Field(default=500, ge=1)
    device: str = "auto"
    graphs: bool = False
