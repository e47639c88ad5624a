"""The bytes of X-PEFT's masks on the real shapes, compared with closed forms; and their table."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from gluelamp.backbones.heads import HeadType
from gluelamp.errors import InputError
from gluelamp.experiments.measure import MeasureConfig, measure
from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.xpeft_bytes import HEAD_SIZES, count_profile_bytes
from gluelamp.reporting.results import Results, write_tables

Measuring = Callable[..., MeasureConfig]
Count = Callable[..., dict[str, Any]]

# blocks, hidden size, bottleneck
SHAPES = {"minilm": (6, 384, 24), "bert_base": (12, 768, 48)}
# of bert_base: N, soft bytes, hard bytes, and an adapter's weights over the hard bytes
REFERENCE = [
    (100, 9_600, 312, 11_343),
    (150, 14_400, 456, 7_761),
    (200, 19_200, 600, 5_898),
    (400, 38_400, 1_200, 2_949),
    (800, 76_800, 2_400, 1_475),
]


@pytest.fixture(scope="session")
def count(measured_model: Callable[..., MeasuredModel]) -> Count:
    @cache  # bert_base is counted for several tests
    def counted(
        backbone: str, method: str, *fields: str, outputs: int = 2, head: HeadType = "linear"
    ) -> dict[str, Any]:
        return count_profile_bytes(measured_model(backbone, method, *fields, head=head), outputs)

    return counted


@pytest.mark.parametrize(("backbone", "n"), [("minilm", 150), ("bert_base", 400)])
def test_bytes_follow_the_closed_forms(count: Count, backbone: str, n: int) -> None:
    blocks, width, inner = SHAPES[backbone]
    weights = 4 * 2 * width * inner * blocks
    for method, bytes_of_masks in (("xpeft", 2 * blocks * ceil(n / 8)), ("xpeft_soft", 8 * n * blocks)):
        for outputs in HEAD_SIZES:
            head = 4 * outputs * (width + 1)
            assert count(backbone, method, f"num_adapters={n}", outputs=outputs) == {
                "num_adapters": n,
                "head": "linear",
                "outputs": outputs,
                "trained": 2 * n * blocks,
                "mask_bytes": bytes_of_masks,
                "formula_bytes": bytes_of_masks,
                "head_bytes": head,
                "bank_stored_bytes": 56,
                "bank_memory_bytes": n * weights,
                "adapter_weight_bytes": weights,
                "adapter_bytes": weights + 4 * blocks * (inner + width),
                "factor": weights / bytes_of_masks,
                "factor_with_head": (weights + head) / (bytes_of_masks + head),
            }


@pytest.mark.parametrize(("n", "soft", "hard", "factor"), REFERENCE)
def test_bert_base_has_the_numbers_of_the_reference(
    count: Count, n: int, soft: int, hard: int, factor: int
) -> None:
    bits, floats = (count("bert_base", method, f"num_adapters={n}") for method in ("xpeft", "xpeft_soft"))
    assert (bits["mask_bytes"], floats["mask_bytes"], round(bits["factor"])) == (hard, soft, factor)
    assert bits["trained"] == floats["trained"] == 24 * n
    assert (bits["adapter_weight_bytes"], bits["adapter_bytes"]) == (3_538_944, 3_578_112)


def test_the_ratio_of_one_to_ten_thousand_is_that_of_the_masks_alone(count: Count) -> None:
    two, fifteen = (count("bert_base", "xpeft", "num_adapters=100", outputs=n) for n in (2, 15))
    assert (two["head_bytes"], fifteen["head_bytes"]) == (6_152, 46_140)
    assert two["factor"] == fifteen["factor"] > 10_000
    assert two["factor_with_head"] == pytest.approx((3_538_944 + 6_152) / (312 + 6_152))  # 548
    assert fifteen["factor_with_head"] < 80
    dense = count("bert_base", "xpeft", "num_adapters=100", head="two_layer")
    assert dense["head_bytes"] == 6_152 + 4 * (768 * 768 + 768)
    assert dense["factor_with_head"] < 3


def test_an_inner_layer_norm_is_stored_with_the_masks(count: Count) -> None:
    row = count("bert_base", "xpeft", "inner_layer_norm=true")
    assert row["mask_bytes"] == row["formula_bytes"] == 312 + 8 * 48 * 12
    assert row["trained"] == 3_552


def test_a_shared_pool_halves_the_bank_in_memory(count: Count) -> None:
    assert count("bert_base", "xpeft", "banks=shared")["bank_memory_bytes"] == 100 * 3_538_944 // 2


def test_another_method_is_refused(measuring: Measuring) -> None:
    with pytest.raises(
        InputError, match=r"what=xpeft_bytes does not support method=lora: it has no masks\. Take"
    ):
        measure(measuring("backbone=minilm", "method=lora", "what=xpeft_bytes"))


def test_the_table_is_made_from_the_records(measuring: Measuring, tmp_path: Path) -> None:
    for n in (100, 800):
        options = ("method=xpeft", f"method.num_adapters={n}", "what=xpeft_bytes")
        measure(measuring("backbone=bert_base", *options))
    files = {path.name: path for path in write_tables(Results(tmp_path, tmp_path / "published"))}
    csv, page = files["xpeft_bytes.csv"], files["xpeft_bytes.md"]
    header, first, *_ = csv.read_text(encoding="utf-8").splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    assert cells["backbone"] == "bert_base"
    assert cells["method"] == "xpeft [num_adapters=100]"
    assert (cells["mask_bytes"], cells["formula_bytes"], cells["factor"]) == ("312", "312", "11342.8")
    lines = page.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.startswith("| bert_base")]) == 2 * 2 * len(
        HEAD_SIZES
    )  # two numbers of adapters, two heads
    assert "| 3,538,944 | 3,578,112 | 11,342.8 | 548.4 |" in page.read_text(encoding="utf-8")
