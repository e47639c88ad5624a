"""A random two-layer encoder of every architecture, and batches for it."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from gluelamp.backbones.heads import HeadType

VOCABULARY, SPECIAL_TOKENS, POSITIONS = 100, 5, 48
HIDDEN, LAYERS, HEADS, FFN, OUTPUTS = 32, 2, 4, 64, 3

_COMMON = {"vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "pad_token_id": 0}
_BERT = _COMMON | {
    **{"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS},
    **{"intermediate_size": FFN, "type_vocab_size": 2},
}
_ROBERTA = _BERT | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
SHAPES: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": _BERT | {"embedding_size": 16},  # narrower than the blocks, as in ELECTRA small
    "deberta-v2": _BERT  # as DeBERTa-v3: the query projection also reads the relative positions
    | {
        **{"type_vocab_size": 0, "relative_attention": True, "position_buckets": 8},
        **{"norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"]},
        **{"position_biased_input": False, "pooler_hidden_size": HIDDEN},
    },
    "distilbert": _COMMON | {"dim": HIDDEN, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": FFN},
    "mpnet": _BERT | {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    "modernbert": _COMMON
    | {
        **{"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS},
        **{"intermediate_size": FFN, "global_attn_every_n_layers": 2, "local_attention": 8},
        **{"attention_dropout": 0.1, "mlp_dropout": 0.1, "embedding_dropout": 0.1},
        **{"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
    },
}


def tiny(architecture: str, head: HeadType = "two_layer") -> PreTrainedModel:
    """Return a fresh copy of the architecture's encoder, in fp32 and evaluation mode."""
    return copy.deepcopy(_prototype(architecture, head))


@lru_cache
def _prototype(architecture: str, head: HeadType) -> PreTrainedModel:
    import torch

    from gluelamp.backbones.dropout import ATTENTION
    from gluelamp.backbones.load import build_from_shape

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_from_shape(backbone(architecture), OUTPUTS, ATTENTION, head)
        for name, parameter in model.named_parameters():
            # No zeros and no ones: they would hide a part that is not trained, stored or loaded.
            mean = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            torch.nn.init.normal_(parameter, mean, std=0.2)
    return model.eval()


def backbone(architecture: str) -> Any:
    """Return the backbone's configuration: its shape alone."""
    from gluelamp.backbones.load import BackboneConfig

    shape = {"model_type": architecture, **SHAPES[architecture]}
    return BackboneConfig(name=f"tiny-{architecture}", shape=shape)


def batch(seed: int = 0, rows: int = 8, length: int = 9) -> dict[str, Tensor]:
    """Return rows of random words, none of them a special token, without padding."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(SPECIAL_TOKENS, VOCABULARY, (rows, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def logits(model: torch.nn.Module, inputs: dict[str, Tensor] | None = None) -> Tensor:
    """Return the model's outputs in evaluation mode, by default for ``batch()``."""
    import torch

    model.eval()
    with torch.no_grad():
        return model(**(inputs or batch())).logits


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal bit for bit: unlike ``torch.equal``, 0.0 is not -0.0."""
    import torch

    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    raw = (value.detach().contiguous().view(-1).view(torch.uint8) for value in (first, second))
    return torch.equal(*raw)
