"""BitFit (Ben Zaken, Goldberg, Ravfogel, ACL 2022, arXiv 2106.10199): train the biases alone."""

from __future__ import annotations

from typing import ClassVar

from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.errors import UnsupportedError
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.tensors import replace_tensors


class BitFit(Method):
    """Train every bias of the encoder, including those of the LayerNorms.

    On a BERT-style encoder of L layers, width d and feed-forward width f these are L(7d + f) + d
    values.

    Args:
        pooler: whether the bias of a pooler that the head does not train (``head=linear`` on BERT) is
            trained, as in the released code: d values more. With ``head=two_layer`` the whole pooler is
            trained with the head, and the option has no effect.
    """

    family: ClassVar[str] = "bias"
    reference: ClassVar[str] = "Ben Zaken, Goldberg, Ravfogel, ACL 2022, arXiv 2106.10199"
    checked_against: ClassVar[str] = "Names and closed counts (tests/methods/test_counts.py)."
    open_questions: ClassVar[str] = (
        "The paper's reduced set of biases is not built. As released, the bias of a frozen pooler "
        "(head=linear) is trained; with a two-layer head the pooler is trained with the head."
    )

    pooler: bool = True

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Replace each bias by a trained one."""
        # By name, so that the biases of LayerNorms are included on every architecture.
        pooler = parts.pooler.parameter_names() if parts.pooler and self.pooler else []
        biases = [name for name in (*parts.encoder_parameters, *pooler) if name.endswith(".bias")]
        if not biases:
            raise UnsupportedError("BitFit trains biases, and this encoder has none. Take another method.")
        return [*replace_tensors(model, biases)]
