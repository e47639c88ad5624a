"""Each format of each method: the other library loads the files and computes the same outputs.

The other library gets the files and, for an adapter, a fresh backbone with another head.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from gluelamp.errors import InputError
from gluelamp.exporting import Format, export, prepare
from methods.cases import Case, GetMethod
from methods.rows import ONE_OF_EACH, ROWS, Row
from tiny_models import logits, tiny

TOLERANCE = 2e-6  # of logits of size one: fp32 rounds another order of operations differently

ON = ("bert", "distilbert")
WITHOUT = "exclude='embeddings|bias'"
MORE = (  # variants that a format holds, unlike the first row of the method
    Row("pafi", None, ("density=0.1", WITHOUT)),
    Row("pafi", None, ("density=0.005", "exclude='embeddings|weight'")),
    Row("sparse_random", None, ("density=0.1", WITHOUT)),
    Row("fish", None, ("density=0.1", "examples=8", WITHOUT)),
    Row("lt_sft", None, ("density=0.1", WITHOUT)),
    Row("diff_pruning", None, ("density=0.1", "gate_learning_rate=1e-4", WITHOUT)),
    Row("hiwi_weight", None, ("layers=down", "activation=tanh", "scale=2.0")),
)
CELLS = [
    *((row, "bert") for row in ROWS if row.config == "peft" and "bert" in row.on),
    *((row, architecture) for (_, architecture), row in ONE_OF_EACH.items() if architecture in ON),
    *((row, architecture) for row in MORE for architecture in ON),
]
EXACT = ("lora", "ia3", "peft", "layer_norm")  # the same modules compute in the same order

# Of the methods with the options of their first row, and of the variants.
HELD: Mapping[Format, set[str]] = {
    "peft": {
        *("bitfit", "ffn_bias", "hiwi", "hiwi_weight", "ia3", "layer_norm", "lora", "loretta_rep", "peft"),
        "spt_lora",  # without vectors and entries, as in its first row
    },
}


def holds(format: Format, row: Row) -> bool:
    if format == "merged":
        return row.merges
    return row.config in HELD[format] or row in MORE


def with_peft(folder: Path, bare: PreTrainedModel) -> PreTrainedModel:
    for name, value in bare.named_parameters():
        if "classifier" in name:
            value.data.zero_()
    return PeftModel.from_pretrained(bare, folder)


def with_transformers(folder: Path, bare: PreTrainedModel) -> PreTrainedModel:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert type(model) is type(bare)
    return model


LOADERS: Mapping[Format, Callable[[Path, PreTrainedModel], PreTrainedModel]] = {
    "merged": with_transformers,
    "peft": with_peft,
}


@pytest.mark.parametrize("format", LOADERS)
@pytest.mark.parametrize(
    "case", [pytest.param(cell, id=f"{cell[0]}-{cell[1]}") for cell in CELLS], indirect=True
)
def test_the_other_library_computes_the_same_outputs(case: Case, format: Format, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    if not holds(format, case.row):
        with pytest.raises(InputError, match=f"format={format} is not possible: "):
            export(case.adaptation, folder, format)
        assert not folder.exists()
        return
    export(case.adaptation, folder, format)
    loaded = LOADERS[format](folder, copy.deepcopy(case.bare))
    difference = (logits(loaded) - case.outputs).abs().max().item()
    assert difference <= (0 if format == "peft" and case.row.config in EXACT else TOLERANCE)


def test_a_refusal_names_a_format_that_holds_the_method(method: GetMethod) -> None:
    adaptation = method("pafi", "density=0.3").adapt(tiny("bert"))
    with pytest.raises(InputError) as refused:
        prepare(adaptation, "peft")
    assert str(refused.value) == (
        "format=peft is not possible: peft's tuner of single entries (SUPERTUNING) holds weights of linear "
        "layers, and this mask also has entries in other tensors, such as 'bert.embeddings."
        "position_embeddings.weight'. A mask without them can be exported: "
        "method.exclude='embeddings|bias'. Take format=merged."
    )


@pytest.mark.parametrize("format", LOADERS)
def test_a_linear_head_on_a_frozen_pooler_is_exported(
    method: GetMethod, tmp_path: Path, format: Format
) -> None:
    adaptation = method("bitfit").adapt(tiny("bert", "linear"))
    for value in adaptation.parameters():
        value.data += 0.1
    export(adaptation, tmp_path / "exported", format)
    loaded = LOADERS[format](tmp_path / "exported", tiny("bert"))
    assert (logits(loaded) - logits(adaptation.model)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("format", LOADERS)
def test_a_linear_head_that_transformers_lacks_is_refused(method: GetMethod, format: Format) -> None:
    with pytest.raises(InputError, match=r"head of 'roberta' has two layers.*head=two_layer"):
        prepare(method("lora").adapt(tiny("roberta", "linear")), format)


def test_a_mask_is_filled_up_to_one_fraction_in_every_layer(method: GetMethod, tmp_path: Path) -> None:
    adaptation = method("pafi", "density=0.1", WITHOUT).adapt(tiny("bert"))
    deltas = {name: value for name, value in adaptation.trainable.items() if "LayerNorm" not in name}
    export(adaptation, tmp_path / "exported", "peft")
    tensors = load_file(tmp_path / "exported" / "adapter_model.safetensors")
    filled, trained = [], []
    for name, delta in deltas.items():
        start = f"base_model.model.{name.removesuffix('.weight.delta')}.supertuning"
        values, positions = tensors[f"{start}_values"], tensors[f"{start}_indices"]
        assert positions.dtype == torch.int32
        assert len(values) == len(positions) >= len(delta)
        assert not values[len(delta) :].any()
        size = tiny("bert").get_parameter(name.removesuffix(".delta")).numel()
        filled.append(len(values) / size)
        trained.append(len(delta) / size)
    assert filled == pytest.approx([max(trained)] * len(trained), abs=1e-3)
