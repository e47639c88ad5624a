"""Prompt tuning against explicit input embeddings, and against ``peft``."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy
from gluelamp.backbones.first_token import first_token_only
from gluelamp.errors import InputError
from gluelamp.methods.base import Adaptation
from gluelamp.methods.prompt import Prompt
from gluelamp.training.precision import MasterWeights
from methods.cases import adapt
from methods.dispatched import padded
from methods.rows import ARCHITECTURES
from tiny_models import POSITIONS, batch, logits, tiny

LENGTH = 3


def prompt(**fields: object) -> Prompt:
    return Prompt(**{"length": LENGTH, **fields})


def adapted(architecture: str, **fields: object) -> tuple[Adaptation, Tensor]:
    """Return an adaptation in float64 with its prompt, random with another seed than the backbone's."""
    adaptation = adapt(prompt(**fields), tiny(architecture), seed=1)
    adaptation.model.double()
    (values,) = adaptation.trainable.values()
    return adaptation, values


def word_embeddings(model: PreTrainedModel, ids: Tensor) -> Tensor:
    return model.get_input_embeddings().weight[ids]


def gradient(outputs: Tensor, value: Tensor) -> Tensor:
    probe = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.autograd.grad((outputs * probe).sum(), value)[0]


@pytest.mark.parametrize(
    ("architecture", "segments"),
    [*((name, False) for name in ARCHITECTURES), ("bert", True), ("electra", True)],
)
def test_the_model_reads_the_first_token_then_the_prompt_then_the_rest(
    architecture: str, segments: bool
) -> None:
    adaptation, values = adapted(architecture)
    bare, inputs = tiny(architecture).double(), padded()
    words, mask = word_embeddings(bare, inputs["input_ids"]), inputs["attention_mask"]
    read = values.detach().clone().requires_grad_()
    longer = {
        "inputs_embeds": torch.stack([torch.cat([row[:1], read, row[1:]]) for row in words]),
        "attention_mask": torch.cat([torch.ones(8, LENGTH, dtype=torch.long), mask], dim=1),
    }
    if segments:
        inputs["token_type_ids"] = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1]).expand(8, -1)
        longer["token_type_ids"] = torch.tensor([0] * (5 + LENGTH) + [1] * 4).expand(8, -1)
    outputs, expected = adaptation.model(**inputs).logits, bare(**longer).logits
    torch.testing.assert_close(outputs, expected, atol=1e-13, rtol=0)
    torch.testing.assert_close(gradient(outputs, values), gradient(expected, read), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("architecture", "first_position"), [("bert", 0), ("roberta", 2)])
def test_tokens_and_prompt_have_positions_of_their_own(architecture: str, first_position: int) -> None:
    adaptation, values = adapted(architecture)
    model, inputs = adaptation.model, batch()
    parts = anatomy(model).embeddings.module
    read: list[Tensor] = []
    parts.register_forward_hook(lambda _, __, output: read.append(output))
    logits(model, inputs)
    words = word_embeddings(model, inputs["input_ids"])
    tokens = [words[:, 0], *values.expand(8, -1, -1).unbind(1), *words[:, 1:].unbind(1)]
    positions = parts.position_embeddings.weight[first_position:]
    by_hand = [
        parts.LayerNorm(token + positions[place] + parts.token_type_embeddings.weight[0])
        for place, token in enumerate(tokens)
    ]
    torch.testing.assert_close(read[0], torch.stack(by_hand, dim=1), atol=1e-13, rtol=0)


# peft does not support the width of DistilBERT, nor that ELECTRA's words are narrower than its blocks.
@pytest.mark.parametrize("architecture", ["bert", "roberta", "deberta-v2", "mpnet", "modernbert"])
def test_it_is_pefts_once_the_first_token_is_before_the_prompt(architecture: str) -> None:
    adaptation, values = adapted(architecture)
    inputs = padded()
    inputs["input_ids"][:, 0] = 7  # as [CLS] is, one first token for all rows

    def of_peft(prompt: Tensor, tokens: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        config = PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=len(prompt))
        theirs = get_peft_model(tiny(architecture).double(), config).double().eval()
        (embedded,) = theirs.prompt_encoder["default"].parameters()
        embedded.data = prompt.detach().clone()
        outputs = theirs(**tokens).logits
        return outputs, gradient(outputs, embedded)

    first = word_embeddings(adaptation.model, torch.tensor([7]))
    without_first = {name: value[:, 1:] for name, value in inputs.items()}
    expected, expected_gradient = of_peft(torch.cat([first, values]), without_first)
    outputs = adaptation.model(**inputs).logits
    torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient(outputs, values), expected_gradient[1:], atol=1e-11, rtol=0)
    before_first, _ = of_peft(values, inputs)  # where peft puts it, the head reads the prompt
    assert not torch.allclose(outputs, before_first, atol=1e-2)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "deberta-v2"])
def test_the_head_reads_the_first_token_and_no_other(architecture: str) -> None:
    adaptation, values = adapted(architecture)
    inputs = padded()
    outputs = adaptation.model(**inputs).logits
    expected = gradient(outputs, values)
    assert not adaptation.needs_every_token
    with first_token_only(adaptation.model):
        shortened = adaptation.model(**inputs).logits
        torch.testing.assert_close(shortened, outputs, atol=1e-12, rtol=0)
        torch.testing.assert_close(gradient(shortened, values), expected, atol=1e-12, rtol=0)


def test_without_a_mask_every_token_is_real() -> None:
    (adaptation, _), inputs = adapted("bert"), batch()
    ids = {"input_ids": inputs["input_ids"]}
    assert torch.equal(logits(adaptation.model, ids), logits(adaptation.model, inputs))


def test_the_start_is_uniform() -> None:
    for init_range in (0.5, 0.01):
        _, values = adapted("bert", length=40, init_range=init_range)
        assert 0.98 * init_range < values.abs().max() <= init_range
        assert values.var().item() == pytest.approx(init_range**2 / 3, rel=0.1)


def test_a_token_of_the_prompt_is_as_wide_as_a_word() -> None:
    shapes = {name: tuple(adapted(name)[1].shape) for name in ("bert", "electra")}
    assert shapes == {"bert": (LENGTH, 32), "electra": (LENGTH, 16)}


@pytest.mark.parametrize(
    ("architecture", "most"), [("bert", POSITIONS), ("distilbert", POSITIONS), ("roberta", POSITIONS - 2)]
)
def test_a_prompt_that_is_too_long_for_the_text_is_refused(architecture: str, most: int) -> None:
    adaptation, _ = adapted(architecture)
    logits(adaptation.model, batch(length=most - LENGTH))
    message = (
        rf"A text of {most - 2} tokens .* method\.length=3 .* {most} tokens .* at most {most - 3} tokens"
    )
    with pytest.raises(InputError, match=message):
        logits(adaptation.model, batch(length=most - LENGTH + 1))


@pytest.mark.parametrize("architecture", ["deberta-v2", "modernbert"])
def test_relative_positions_have_no_end(architecture: str) -> None:
    adaptation, _ = adapted(architecture)
    assert logits(adaptation.model, batch(length=POSITIONS + 1)).isfinite().all()


def test_a_pass_in_bf16_is_near() -> None:
    adaptation = adapt(prompt(), tiny("bert"), seed=1)
    outputs = logits(adaptation.model)
    MasterWeights(adaptation.model, adaptation.trainable.values(), torch.bfloat16)
    assert {value.dtype for value in adaptation.trainable.values()} == {torch.bfloat16}
    torch.testing.assert_close(logits(adaptation.model), outputs, atol=0.1, rtol=0)  # of outputs about 1


def test_a_copy_has_its_own_prompt() -> None:
    adaptation, values = adapted("bert")
    before = logits(adaptation.model)
    copied = copy.deepcopy(adaptation.model)
    nn.init.zeros_(values)
    assert torch.equal(logits(copied), before)
    assert not torch.equal(logits(adaptation.model), before)


def test_no_hook_is_left_behind() -> None:
    adaptation, _ = adapted("bert")
    assert adaptation.model._forward_pre_hooks
    model = adaptation.detach()
    assert not model._forward_pre_hooks
    assert not model._forward_pre_hooks_with_kwargs
