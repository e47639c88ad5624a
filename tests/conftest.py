"""A backbone small enough for every test, and runs composed as the command line composes them.

Heavy libraries are imported inside the fixtures: many tests need none of them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: more threads only cost time
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

if TYPE_CHECKING:
    from gluelamp.experiments.config import RunConfig

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIGNS = ".,?!'-0123456789"
WORDS = """a although and at behind boxer but by castle dancer did film for friday governor how i in is it
last library market mayor monday morning museum near night not of on one painter park sold spring stadium
station sunday than that the though to town two was week were what which who why will with
""".split()  # noqa: SIM905 - words are read as lines
SMALL = (
    *("data=sample", "task.max_train_examples=48", "trainer.epochs=2", "trainer.batch_size=8"),
    *("trainer.max_length=64", "trainer.precision=fp32", "trainer.device=cpu"),
)

Compose = Callable[..., dict[str, Any]]
TinyRun = Callable[..., "RunConfig"]


def pytest_collection_finish() -> None:
    """Exclude the imported libraries from garbage collection: a full collection of them takes 0.2 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer BERT (hidden size 32) and a WordPiece tokenizer."""
    import torch
    from omegaconf import OmegaConf
    from transformers import BertConfig, BertModel

    from gluelamp.package_data import CONFIGS

    folder = tmp_path_factory.mktemp("backbone") / "tiny"
    shape = OmegaConf.to_container(OmegaConf.load(CONFIGS / "backbone" / "tiny.yaml").shape)
    del shape["model_type"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(BertConfig(**shape))
        for parameter in model.parameters():  # biases too: a zero hides what was not loaded
            parameter.data += 0.5 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    _save_tokenizer(folder)
    return folder


def _save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import BertProcessing
    from transformers import PreTrainedTokenizerFast

    pieces = [*SPECIAL, *SIGNS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
    ids = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
        mask_token="[MASK]",
        model_max_length=128,
    ).save_pretrained(folder)


@pytest.fixture(scope="session")
def compose() -> Compose:
    """Compose the configuration of a run from overrides, as plain containers."""
    import hydra
    from omegaconf import OmegaConf

    from gluelamp.cli.app import plain
    from gluelamp.package_data import CONFIGS

    @cache  # composing takes a tenth of a second
    def composed(overrides: tuple[str, ...]) -> dict[str, Any]:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = hydra.compose("train", overrides=list(overrides))
        for key in OmegaConf.missing_keys(config):
            OmegaConf.update(config, key, "given")
        return plain(config)

    return lambda *overrides: deepcopy(composed(overrides))


@pytest.fixture(scope="session")
def tiny_config(compose: Compose, tiny_backbone: Path) -> Callable[..., RunConfig]:
    """Return the typed configuration of a small run; the first argument is its results folder."""
    from gluelamp.experiments.config import parse_run

    def config(root: Path, *overrides: str) -> RunConfig:
        raw = compose("backbone=tiny", f"backbone.path={tiny_backbone}", *SMALL, *overrides)
        raw["results"]["root"] = str(root)  # not an override, so that the composition can be cached
        return parse_run(raw)

    return config


@pytest.fixture
def tiny_run(tiny_config: Callable[..., RunConfig], tmp_path: Path) -> TinyRun:
    """Return the typed configuration of a small run whose results are in ``tmp_path / "results"``."""
    return partial(tiny_config, tmp_path / "results")
