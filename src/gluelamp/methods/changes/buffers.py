"""A value that passes in bf16 leave as it is."""

from __future__ import annotations

from torch import Tensor, nn


class Kept(nn.Module):
    """A copy of a tensor that passes in bf16 leave as it is.

    Args:
        values: are copied.
    """

    computes_in_fp32 = True
    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values.detach().clone(), persistent=False)
