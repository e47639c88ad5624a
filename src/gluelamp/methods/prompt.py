"""Prompt tuning (Lester, Al-Rfou, Constant, EMNLP 2021, arXiv 2104.08691): trained tokens.

An encoder's head reads the first token, which must stay the first: the trained tokens are inserted after it.
(Hugging Face ``peft`` inserts them before it, so that the head reads the first of them.) They are treated
like any other token. They have positions, absolute or relative, so the positions of the following tokens
increase by as many, and the text can have as many tokens fewer. A head that reads the mean of all tokens
reads theirs too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, readable_tokens
from gluelamp.errors import InputError
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.inputs import InputChange, TrainedTensor


class Prompt(Method):
    """Insert q trained word embeddings after that of the first token.

    Trained: q d, where d is the size of a word embedding.

    Args:
        length: q.
        init_range: the first values are uniform between minus this and this, as in the ``adapters``
            library.
    """

    family: ClassVar[str] = "prompt"
    reference: ClassVar[str] = "Lester, Al-Rfou, Constant, EMNLP 2021, arXiv 2104.08691"
    merges: ClassVar[bool] = False
    needs_classifier: ClassVar[bool] = True
    checked_against: ClassVar[str] = "Explicit input embeddings, and `peft` (tests/methods/test_prompt.py)."
    open_questions: ClassVar[str] = "The prompt follows the first token, which the head reads."

    length: int = Field(default=10, ge=1)
    init_range: float = Field(default=0.5, gt=0)

    @property
    def added_tokens(self) -> int:
        """Number of tokens that the prompt adds to each text."""
        return self.length

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Insert the prompt into every input of the model."""
        # The width of a word embedding, which in ELECTRA is smaller than that of the blocks.
        width = model.get_input_embeddings().get_parameter("weight").shape[1]
        start = torch.empty(self.length, width).uniform_(-self.init_range, self.init_range)
        prompt = PromptedInput(start, readable_tokens(parts.embeddings.module))
        hook = model.register_forward_pre_hook(prompt.insert, with_kwargs=True)
        return [InputChange(parts.embeddings, "prompt", prompt, hook.remove)]


class PromptedInput(TrainedTensor):
    """The prompt, (q, d).

    Args:
        start: its first values.
        positions: tokens that the encoder can read, including the prompt's; unlimited if None.
    """

    def __init__(self, start: Tensor, positions: int | None) -> None:
        super().__init__(start)
        self.positions = positions

    def insert(
        self, model: PreTrainedModel, args: tuple[()], inputs: Mapping[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        """Insert the prompt into the model's inputs: a forward pre-hook of the model.

        Args:
            model: the whole classifier.
            args: empty; the inputs are keyword arguments.
            inputs: ``input_ids`` (batch, length) and optionally ``attention_mask`` and ``token_type_ids``,
                whose entries for the prompt are those of the first token: not padding, first segment.

        Raises:
            InputError: if text and prompt together are longer than the encoder can read.
        """
        changed = dict(inputs)
        # Embeddings replace token numbers: the prompt has no numbers.
        ids = changed.pop("input_ids")
        self._check_length(ids.shape[1])
        tokens = model.get_input_embeddings()(ids)
        changed["inputs_embeds"] = _after_first(tokens, self.values.expand(len(tokens), -1, -1))
        # Other inputs have one entry for each token, so the prompt's entries are inserted there too.
        for name in ("attention_mask", "token_type_ids"):
            if isinstance(value := inputs.get(name), Tensor):
                changed[name] = _after_first(value, value[:, :1].expand(-1, len(self.values)))
        return args, changed

    def _check_length(self, text: int) -> None:
        prompt = len(self.values)
        if self.positions is not None and text + prompt > self.positions:
            raise InputError(
                f"A text of {text} tokens and a prompt of method.length={prompt} are more than the "
                f"{self.positions} tokens that the backbone reads. Let the text (trainer.max_length, "
                f"latency.lengths) have at most {self.positions - prompt} tokens, or shorten the prompt."
            )


def _after_first(tokens: Tensor, more: Tensor) -> Tensor:
    return torch.cat([tokens[:, :1], more, tokens[:, 1:]], dim=1)
