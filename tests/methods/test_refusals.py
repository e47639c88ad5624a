"""A method or a mask that does not fit the backbone is refused with a reason, and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gluelamp.backbones.load import build_from_shape
from gluelamp.errors import InputError
from gluelamp.methods.phases import adapt_untrained
from gluelamp.methods.storage import provenance, read_selection, save_task_state
from methods.cases import GetMethod, outline
from tiny_models import FFN, HIDDEN, LAYERS, OUTPUTS, VOCABULARY, backbone, logits, tiny

LINEARS = "targets=[query,key,value,attention_output,up,down]"
UNSUITABLE: dict[str, tuple[str, tuple[str, ...], str]] = {
    # blocks of 17,088 values and embeddings of 4,864
    "more than may be trained": (
        "pafi",
        ("density=1.0", "exclude=embeddings"),
        r"method\.density=1\.0 asks for 21,952 of the encoder's 21,952 parameters; the candidates have "
        r"17,088\. Allowed: 1 to that many\. Change method\.density or method\.exclude\.",
    ),
    "less than one value": ("sparse_random", ("density=1e-5",), r"method\.density=1e-05 asks for 0 of "),
    "nothing to train": ("lt_sft", ("exclude=.",), r"asks for 110 of .*; the candidates have 0\."),
    "a rank above the weight's": (
        "lora",
        ("rank=33",),
        r"method\.rank=33 is larger than 32, the rank of the smallest weight .* Allowed: 1 to 32\.",
    ),
    "a rank above the smallest weight's": ("lora", ("rank=33", LINEARS), r"method\.rank=33 is larger"),
    "a rank of trains above the weight's": ("loretta_rep", ("rank=64",), r"method\.rank=64 is larger"),
    "blocks that cut a vector": ("ether_plus", ("blocks=5",), r"method\.blocks=5 does not divide 32"),
    "summands that cut a bottleneck": ("compacter", (), r"method\.summands=4 must divide .* here 1 "),
    "no bottleneck left": (
        "xpeft",
        ("reduction_factor=64",),
        r"method\.reduction_factor=64 is larger than the hidden size 32.* Allowed: 1 to 32\.",
    ),
    "a layer that is not there": ("hadamard", ("layers=[0,2]",), r"method\.layers=\[0, 2\] does not name"),
}


@pytest.mark.parametrize(("method_name", "overrides", "sentence"), UNSUITABLE.values(), ids=UNSUITABLE)
def test_a_method_that_does_not_fit_is_refused(
    method: GetMethod, method_name: str, overrides: tuple[str, ...], sentence: str
) -> None:
    model, bare = tiny("bert"), tiny("bert")
    with pytest.raises(InputError, match=sentence):
        adapt_untrained(method(method_name, *overrides), model)
    assert outline(model) == outline(bare)
    assert torch.equal(logits(model), logits(bare))


@pytest.mark.parametrize("method_name", ["lora", "loretta_rep"])
def test_a_rank_as_high_as_the_weights_is_taken(method: GetMethod, method_name: str) -> None:
    up_and_down = f"rank={min(HIDDEN, FFN)}", "targets=[up,down]"
    assert method(method_name, *up_and_down).adapt(tiny("bert")).trainable


@pytest.mark.parametrize(
    ("method_name", "shape"),
    [
        ("fish", {"num_hidden_layers": LAYERS + 1}),
        ("lt_sft", {"vocab_size": 2 * VOCABULARY}),
        ("diff_pruning", {"intermediate_size": 2 * FFN}),
    ],
    ids=["more layers", "more words", "wider"],
)
def test_a_mask_of_another_backbone_is_refused(
    method: GetMethod, tmp_path: Path, method_name: str, shape: dict[str, int]
) -> None:
    config = backbone("bert")
    larger = build_from_shape(replace(config, shape={**config.shape, **shape}), OUTPUTS, "eager")
    spec, path = method(method_name, "density=1.0"), tmp_path / "task.safetensors"
    trained = adapt_untrained(spec, larger)
    save_task_state(path, trained, provenance(trained, "a" * 64))
    with pytest.raises(
        InputError, match=r"The mask has positions in '.*' that are not candidates of this backbone"
    ):
        spec.adapt(tiny("bert"), selection=read_selection(path))
