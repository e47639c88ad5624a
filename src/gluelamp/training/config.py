"""The options of the trainer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

_DecayRate = Annotated[float, Field(ge=0, lt=1)]


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TrainerConfig:
    """How a run is trained. All options except the last group are part of a run's identity.

    Args:
        epochs: passes over the training data.
        batch_size: examples in a step.
        learning_rate: peak learning rate of the method's values.
        head_learning_rate: peak learning rate of the task head; ``learning_rate`` if None.
        weight_decay: of AdamW, on all trained values.
        betas: of AdamW.
        eps: of AdamW.
        schedule: of the learning rate after the warm-up.
        warmup_ratio: fraction of the steps in which the rate rises from zero to its peak.
        max_grad_norm: limit of the gradient norm over all trained values; no clipping if None.
        max_length: tokens of an example, special tokens included. Longer texts are cut.
        bucket_batches: batches in a window within which examples are sorted by length. More batches need
            less padding; 1 is plain shuffling.
        dropout: probability for the whole backbone; the value of its own configuration if None.
        precision: with ``bf16`` the backbone and the passes are in bf16, and trained values and optimiser
            in fp32. ``auto`` is ``bf16`` if the processor has instructions for it.
        eval_steps: steps between evaluations; once per epoch if None.
        patience: evaluations without a better main metric before training stops; never if None. All
            validation rows decide when training stops, also for held-out scores.
        profiles_per_pass: profiles that are trained in one pass, if each user has a profile.
        pass_tokens: tokens in such a pass, padding included. More tokens use a GPU better; fewer tokens
            stay in a CPU's cache.
        eval_batch_size: examples in an evaluation step.
        checkpoint_steps: steps between checkpoints. A checkpoint is also written after each evaluation; with
            several profiles, if all that are still training were evaluated.
        device: ``auto`` is a GPU if there is one.
        graphs: on a GPU, replay steps as CUDA graphs; see `gluelamp.training.graphs`.
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

    # Without an effect on the result.
    eval_batch_size: int = Field(default=128, ge=1)
    checkpoint_steps: int = Field(default=500, ge=1)
    device: str = "auto"
    graphs: bool = False
