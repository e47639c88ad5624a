"""Numbers of values and bytes at paper scale, on the meta device, against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.methods.phases import adapt_untrained
from gluelamp.methods.storage import count_bytes, count_parameters
from methods.cases import GetMethod
from tiny_models import tiny

Count = Callable[[str, str], dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Size:
    """L, d, f and the encoder's parameters without pooler and head, from the public configuration."""

    layers: int
    width: int
    ffn: int
    encoder: int


SIZES = {
    "bert_base": Size(12, 768, 3072, 108_891_648),
    "roberta_large": Size(24, 1024, 4096, 354_310_144),
}


@pytest.fixture(scope="module")
def count(compose: Callable[..., dict[str, Any]], method: GetMethod) -> Count:
    """Return the numbers and bytes of a method, with its options, on a backbone of the suite."""

    @cache
    def shell(name: str) -> PreTrainedModel:
        config = BackboneConfig(**compose(f"backbone={name}")["backbone"])
        with torch.device("meta"):
            return build_from_shape(config, 2, "eager")

    @cache
    def counted(options: str, name: str) -> dict[str, dict[str, float]]:
        adaptation = adapt_untrained(method(*options.split()), shell(name))
        counts = {"values": count_parameters(adaptation), "bytes": count_bytes(adaptation)}
        adaptation.detach()  # the model is used again: to copy it takes longer than to count
        return counts

    return counted


def bottleneck_adapter(size: Size, bottleneck: int) -> int:
    return 2 * size.width * bottleneck + bottleneck + size.width


def mixture(size: Size, bottleneck: int) -> int:
    down, up = (size.width + 1) * bottleneck, (bottleneck + 1) * size.width
    return size.layers * (4 * down + up)


def flat_prefix(size: Size, length: int) -> int:
    return 2 * size.layers * size.width * length


def prefix_network(size: Size, length: int, bottleneck: int) -> int:
    down, up = bottleneck * (size.width + 1), 2 * size.layers * size.width * (bottleneck + 1)
    return length * size.width + down + up


# config with options; trained values by formula, then by the printed numbers of the two sizes
COUNTS = [
    ("full", lambda s: s.encoder, (108_891_648, 354_310_144)),
    ("head_only", lambda _: 0, (0, 0)),
    ("bitfit", lambda s: s.layers * (7 * s.width + s.ffn) + s.width, (102_144, 271_360)),
    ("pafi", lambda s: round(0.005 * s.encoder), (544_458, 1_771_551)),
    ("hiwi", lambda s: 2 * 4 * s.layers * (s.width + s.ffn), (368_640, 983_040)),
    ("hiwi bottleneck=16", lambda s: 2 * 16 * s.layers * (s.width + s.ffn), (1_474_560, 3_932_160)),
    ("layer_norm", lambda s: (4 * s.layers + 2) * s.width, (38_400, 100_352)),
    ("ffn_bias", lambda s: s.layers * (s.width + s.ffn), (46_080, 122_880)),
    ("ia3", lambda s: s.layers * (2 * s.width + s.ffn), (55_296, 147_456)),
    ("hadamard", lambda s: 4 * s.width * s.layers, (36_864, 98_304)),
    ("hadamard norm=none", lambda s: 2 * s.width * s.layers, (18_432, 49_152)),
    ("hadamard layers=[0,1,2,3,4,5,6,7]", lambda s: 4 * s.width * 8, (24_576, 32_768)),
    (
        "adapter_bias",
        lambda s: s.layers * (s.width + s.ffn + 1) + 2 * s.width * (s.layers + 1),
        (66_060, 174_104),
    ),
    (
        "adapter_bias train_layer_norm=false",
        lambda s: s.layers * (s.width + s.ffn + 1),
        (46_092, 122_904),
    ),
    (
        "adapter_bias train_layer_norm=false share_alpha=true",
        lambda s: s.layers * s.width + s.ffn + 1,
        (12_289, 28_673),
    ),
    ("lora", lambda s: 4 * s.layers * s.width * 8, (294_912, 786_432)),
    ("peft", lambda s: 2 * s.layers * (256 + s.width), (24_576, 61_440)),
    (
        "peft type=DORA options={r:8}",
        lambda s: 4 * s.layers * s.width * 8 + 2 * s.layers * s.width,
        (313_344, 835_584),
    ),
    ("peft type=OFT", lambda s: s.layers * s.width * 31, (285_696, 761_856)),
    ("peft type=HRA", lambda s: 2 * s.layers * s.width * 8, (147_456, 393_216)),
    (
        "peft type=RANDLORA",
        lambda s: 2 * s.layers * (32 + s.width) * (s.width // 32),
        (460_800, 1_622_016),
    ),
    (
        "pfeiffer reduction_factor=16",
        lambda s: s.layers * bottleneck_adapter(s, s.width // 16),
        (894_528, 3_171_840),
    ),
    (
        "houlsby train_layer_norm=false",
        lambda s: 2 * s.layers * bottleneck_adapter(s, 64),
        (2_379_264, 6_343_680),
    ),
    (
        "houlsby",
        lambda s: 2 * s.layers * bottleneck_adapter(s, 64) + 4 * s.width * s.layers + 2 * s.width,
        (2_417_664, 6_444_032),
    ),
    ("compacter", lambda s: 2 * s.layers * 3 * (s.width + s.width // 32) + 4**3, (57_088, 152_128)),
    ("compacter_plus", lambda s: s.layers * 3 * (s.width + s.width // 32) + 4**3, (28_576, 76_096)),
    (
        "compacter train_layer_norm=true",
        lambda s: 6 * s.layers * (s.width + s.width // 32) + 4**3 + (4 * s.layers + 2) * s.width,
        (95_488, 252_480),
    ),
    ("adamix", lambda s: mixture(s, 48), (2_223_360, 5_927_424)),
    ("adamix bottleneck=16", lambda s: mixture(s, 16), (747_264, 1_992_192)),
    (
        "adamix share_up=false",
        lambda s: 4 * s.layers * bottleneck_adapter(s, 48),
        (3_578_112, 9_540_096),
    ),
    ("dyt", lambda s: s.layers * (bottleneck_adapter(s, 64) + s.width + 1), (1_198_860, 3_196_440)),
    ("dyt bottleneck=8", lambda s: s.layers * (bottleneck_adapter(s, 8) + s.width + 1), (165_996, 442_584)),
    ("parallel", lambda s: s.layers * bottleneck_adapter(s, 48), (894_528, 2_385_024)),
    ("prefix", lambda s: flat_prefix(s, 10), (184_320, 491_520)),
    ("prefix length=128", lambda s: flat_prefix(s, 128), (2_359_296, 6_291_456)),
    ("prefix bottleneck=512", lambda s: prefix_network(s, 10, 512), (9_857_024, 25_750_016)),
    ("prompt", lambda s: 10 * s.width, (7_680, 10_240)),
    ("prompt length=100", lambda s: 100 * s.width, (76_800, 102_400)),
    (
        "mam",
        lambda s: prefix_network(s, 16, 800) + s.layers * bottleneck_adapter(s, 16),
        (15_695_840, 41_018_528),
    ),
    (
        "mam prefix_bottleneck=null",
        lambda s: flat_prefix(s, 16) + s.layers * bottleneck_adapter(s, 16),
        (599_232, 1_597_824),
    ),
    ("xpeft", lambda s: 2 * 100 * s.layers, (2_400, 4_800)),
    (
        "xpeft inner_layer_norm=true",
        lambda s: 2 * (100 + s.width // 16) * s.layers,
        (3_552, 7_872),
    ),
    ("ether", lambda s: s.layers * (5 * s.width + s.ffn), (82_944, 221_184)),
    ("ether blocks=32", lambda s: s.layers * (5 * s.width + s.ffn), (82_944, 221_184)),
    ("ether_plus", lambda s: s.layers * (16 * s.width + 4 * (s.width + s.ffn)), (331_776, 884_736)),
    ("loretta_rep", lambda s: 4 * s.layers * {768: 580, 1024: 640}[s.width], (27_840, 61_440)),
    (
        "loretta_rep train_layer_norm=true",
        lambda s: 4 * s.layers * {768: 580, 1024: 640}[s.width] + 4 * s.width * s.layers + 2 * s.width,
        (66_240, 161_792),
    ),
    (
        "loretta_rep tensor_rank=8",
        lambda s: 4 * s.layers * {768: 1_408, 1024: 1_600}[s.width],
        (67_584, 153_600),
    ),
    (
        "loretta_adp",
        lambda s: 2 * s.layers * (2 * {768: 780, 1024: 840}[s.width] + 64 + s.width),
        (57_408, 132_864),
    ),
    (
        "loretta_adp train_layer_norm=true",
        lambda s: (
            2 * s.layers * (2 * {768: 780, 1024: 840}[s.width] + 64 + s.width) + (4 * s.layers + 2) * s.width
        ),
        (95_808, 233_216),
    ),
    (
        "loretta_adp tensor_rank=8",
        lambda s: 2 * s.layers * (2 * {768: 1_920, 1024: 2_112}[s.width] + 64 + s.width),
        (112_128, 254_976),
    ),
]


@pytest.mark.parametrize("place", [0, 1], ids=list(SIZES))
@pytest.mark.parametrize(("options", "formula", "printed"), COUNTS, ids=[count[0] for count in COUNTS])
def test_the_trained_values_are_the_closed_form(
    options: str, formula: Callable[[Size], int], printed: tuple[int, int], place: int, count: Count
) -> None:
    name, size = list(SIZES.items())[place]
    counted = count(options, name)["values"]
    assert counted["backbone"] == size.encoder
    assert counted["trained"] == formula(size) == printed[place]
    assert counted["trained_pct"] == pytest.approx(100 * printed[place] / size.encoder)


@pytest.mark.parametrize("options", ["hiwi", "hiwi bottleneck=16"])
def test_hiwi_stores_0_0347_percent_of_roberta_large(options: str, count: Count) -> None:
    counted = count(options, "roberta_large")
    assert counted["values"]["stored_values"] == 122_880
    assert 100 * 122_880 / SIZES["roberta_large"].encoder == pytest.approx(0.0347, abs=5e-5)
    assert counted["bytes"]["method"] == 4 * 122_880


def test_xpeft_stores_312_bytes_a_profile_and_the_seed_specification_of_its_bank(count: Count) -> None:
    hard, soft = (count(name, "bert_base")["bytes"] for name in ("xpeft", "xpeft_soft"))
    weights_of_one_adapter = 2 * 768 * 48 * 12
    assert hard["method"] == 312
    assert soft["method"] == 9_600
    assert hard["shared"] == soft["shared"] == 56  # seed, spread, four sizes and four rounded values
    assert hard["head"] == 4 * (768 * 768 + 768 + 1_538)  # the pooler and the output layer
    assert 4 * weights_of_one_adapter / hard["method"] > 10_000


# what a task stores if that is not what is trained: the average of AdaMix's experts, a computed prefix
@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ("adamix", (894_528, 2_385_024)),
        ("adamix bottleneck=16", (304_320, 811_392)),
        ("adamix share_up=false", (894_528, 2_385_024)),
        ("prefix bottleneck=512", (184_320, 491_520)),
        ("mam", (599_232, 1_597_824)),
    ],
)
def test_the_stored_values_are_fewer_than_the_trained(
    options: str, printed: tuple[int, int], count: Count
) -> None:
    for name, number in zip(SIZES, printed, strict=True):
        assert count(options, name)["values"]["stored_values"] == number
        assert count(options, name)["bytes"]["method"] == 4 * number


def test_pafi_stores_its_mask_once_and_four_bytes_a_value(count: Count) -> None:
    counted = count("pafi", "roberta_large")["bytes"]
    assert counted["method"] == counted["shared"] == 4 * 1_771_551
    assert counted["head"] == 4 * 1_051_650  # the dense layer and the output layer


def test_bitfit_trains_the_bias_of_a_frozen_pooler(method: GetMethod) -> None:
    pooler = "bert.pooler.dense.bias.values"
    assert pooler in method("bitfit").adapt(tiny("bert", "linear")).trainable
    assert pooler not in method("bitfit", "pooler=false").adapt(tiny("bert", "linear")).trainable
    whole = method("bitfit").adapt(tiny("bert"))  # trained in full with the head
    assert pooler not in whole.trainable
    assert "bert.pooler.dense.bias" in whole.head
