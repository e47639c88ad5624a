"""X-PEFT (Kwak, Kim, 2024, arXiv 2401.16137): small masks that select among many given adapters.

A new profile (or task) trains two mask vectors per block: one over the down-projections of N frozen
adapters, one over their up-projections. The masks do not depend on the input, so the selected adapters are
summed once per step, and after training the sum is one ordinary adapter. Only the paper's abstract was
available; what it does not settle is an option here.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field, model_validator
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.errors import InputError
from gluelamp.methods.base import Adaptation, Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.inserted import reduced_width
from gluelamp.methods.xpeft_bank import Bank, bank_checksum, random_banks, trained_banks
from gluelamp.methods.xpeft_modules import Mask, SelectedAdapter, SelectedAdapterChange
from gluelamp.records.files import PathOption


class XPeft(Method):
    """Train masks over a bank of frozen adapters at the position of the Pfeiffer adapter.

    Trained: 2 N per block. Stored: 8 N bytes per block for soft masks, 2 ceil(N / 8) for hard ones. An
    ``inner_layer_norm`` adds 2 b values, in fp32. The bank in memory: N (2 d b) per block, half of it with
    ``banks: shared``; a trained bank also has biases, N (b + d). On disk, once for all tasks: a trained
    bank, or the seed specification of a random one.

    Args:
        mask: ``soft`` weights by softmax; ``hard`` selects the ``top_k``, with a straight-through
            gradient, and stores bits.
        num_adapters: N; None takes the number of a trained ``bank``.
        top_k: k, of hard masks.
        normalise_hard: whether the sum over the k selected adapters is divided by k.
        gumbel_tau: temperature of Gumbel noise on the logits of hard masks in training; 0 is none.
        reduction_factor: hidden size over the adapters' bottleneck.
        banks: ``separate``: each adapter has its own down- and up-projection. ``shared``: one pool of N
            matrices (b, d) is used for both, transposed for the up-projection; for random banks only.
        bank: a profile store whose Pfeiffer adapters are the bank (warm start); random adapters if None.
        bank_biases: whether the biases of trained adapters are summed with the mask weights of
            their projections, or dropped. Random adapters have none.
        bank_seed: seed of a random bank; the same for all tasks, so the bank is shared. The config sets it to
            the seed of the run, so that runs with several seeds have several banks.
        bank_gain: size of the update of a random bank's adapter at the start, relative to the hidden states
            that it reads; see `bank_std`.
        init_std: standard deviation of the logits at the start. With zero a hard mask would select the
            first k adapters.
        inner_layer_norm: whether a trained LayerNorm of the bottleneck's size is applied before the ReLU.
    """

    family: ClassVar[str] = "selected adapter"
    reference: ClassVar[str] = "Kwak, Kim, 2024, arXiv 2401.16137"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "Sums over all adapters written out, gradients of the softmax, and bits "
        "(tests/methods/test_xpeft*.py)."
    )
    open_questions: ClassVar[str] = (
        "k, the division by k, the scale of the random adapters, Gumbel noise, the initial logits, and "
        "the LayerNorm in the adapter: the paper's text is not available."
    )

    seed_options: ClassVar[tuple[str, ...]] = ("bank_seed",)

    mask: Literal["soft", "hard"] = "hard"
    num_adapters: int | None = Field(default=100, ge=1)
    top_k: int = Field(default=50, ge=1)
    normalise_hard: Literal["none", "k"] = "k"
    gumbel_tau: float = Field(default=0.0, ge=0)
    reduction_factor: int = Field(default=16, ge=1)
    banks: Literal["separate", "shared"] = "separate"
    bank: PathOption | None = None
    bank_biases: Literal["same_weights", "drop"] = "same_weights"
    bank_seed: int = Field(default=0, ge=0, lt=2**63)
    bank_gain: float = Field(default=0.3, gt=0)
    init_std: float = Field(default=0.01, ge=0)
    inner_layer_norm: bool = False

    @model_validator(mode="after")
    def _fields_fit(self) -> XPeft:
        if self.mask == "soft" and self.gumbel_tau > 0:
            raise ValueError(
                f"method.gumbel_tau={self.gumbel_tau} is noise on hard masks, and method.mask='soft' has "
                "none. Take method.gumbel_tau=0 or method.mask=hard"
            )
        if self.num_adapters is None and self.bank is None:
            raise ValueError(
                "method.num_adapters=null needs a trained method.bank, which has a number of adapters; "
                "set method.num_adapters for a random bank"
            )
        if self.bank is not None and self.banks == "shared":
            raise ValueError(
                "method.banks='shared' is for random banks: the adapters of method.bank have separate "
                "down- and up-projections. Take method.banks=separate"
            )
        if self.num_adapters is not None and (problem := self._excess(self.num_adapters)):
            raise ValueError(problem)
        return self

    def _excess(self, size: int) -> str:
        if self.mask == "soft" or self.top_k <= size:
            return ""
        return (
            f"method.top_k={self.top_k} is larger than method.num_adapters={size}; "
            "a hard mask cannot select more adapters than exist"
        )

    def resolve(self, backbone: str) -> dict[str, str]:
        """Refuse a bank of another backbone, and return the checksum that replaces the bank's path."""
        return {} if self.bank is None else {"bank": bank_checksum(self.bank, backbone)}

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Insert one selecting adapter per block."""
        handles = [block["ffn.norm"] for block in parts.blocks]
        width = model.config.hidden_size
        bottleneck = reduced_width(width, self.reduction_factor)
        banks = self._banks(handles, bottleneck, width, next(model.parameters()).device)
        return [
            SelectedAdapterChange(handle, self.adapter_over(bank), bank.seed_specification)
            for handle, bank in zip(handles, banks, strict=True)
        ]

    def bank_std(self, bottleneck: int, width: int) -> float:
        """Return the standard deviation of a random bank's entries, sigma.

        A and B are sums over independent entries with weights w, so theirs is ``sigma |w|``, and B relu(A h)
        is ``sigma^2 |w|^2 sqrt(d b / 2)`` times as large as h (root mean squares): this is the gain.

        Args:
            bottleneck: b.
            width: d.
        """
        # The factor 1/2 under the root: relu sets half of the inner values to zero, on average.
        if self.mask == "soft":
            # |w|^2 of equal weights, as at the start.
            squares = 1 / cast("int", self.num_adapters)
        else:
            squares = 1 / self.top_k if self.normalise_hard == "k" else self.top_k
        return math.sqrt(self.bank_gain / (squares * math.sqrt(width * bottleneck / 2)))

    def adapter_over(self, bank: Bank) -> SelectedAdapter:
        """Return the selecting adapter of one block, with new masks."""

        # Two independent masks with equal options: for the down- and the up-projections.
        def mask() -> Mask:
            return Mask(
                len(bank.down),
                self.top_k if self.mask == "hard" else None,
                divides=self.normalise_hard == "k",
                gumbel_tau=self.gumbel_tau,
                init_std=self.init_std,
            )

        return SelectedAdapter(mask(), mask(), bank, self.inner_layer_norm)

    def _banks(self, handles: list[Handle], bottleneck: int, width: int, device: torch.device) -> list[Bank]:
        # A random bank is generated again from its seed; a trained one is read from its store.
        if self.bank is None:
            shape = (cast("int", self.num_adapters), bottleneck, width)
            shared = self.banks == "shared"
            std = self.bank_std(bottleneck, width)
            return random_banks(self.bank_seed, std, shape, len(handles), shared, device)
        places = [handle.path for handle in handles]
        biases = self.bank_biases == "same_weights"
        banks = trained_banks(self.bank, places, bottleneck, width, biases, device)
        self._check_size(len(banks[0].down))
        return banks

    def _check_size(self, size: int) -> None:
        if self.num_adapters not in (None, size):
            raise InputError(
                f"method.bank={self.bank!r} holds {size} profiles, but method.num_adapters="
                f"{self.num_adapters}. Allowed: null, which takes all, or {size}."
            )
        if problem := self._excess(size):
            raise InputError(f"{problem}.")


def selected_adapters(adaptation: Adaptation) -> list[SelectedAdapterChange]:
    """Return the selecting adapters of an X-PEFT adaptation, block by block.

    Raises:
        InputError: if it is another method's.
    """
    changes = [change for change in adaptation.changes if isinstance(change, SelectedAdapterChange)]
    if not changes or len(changes) < len(adaptation.changes):
        raise InputError("This is not an X-PEFT adaptation; apply method=xpeft to the model.")
    return changes


def bank_bytes(adaptation: Adaptation) -> int:
    """Return the bytes of the bank in memory, whether it is stored or generated from its seed.

    Raises:
        InputError: if it is not an X-PEFT adaptation.
    """
    banks = [value for change in selected_adapters(adaptation) for value in change.adapter.buffers()]
    return sum(value.numel() * value.element_size() for value in banks)
