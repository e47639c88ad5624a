"""Counts on the real shapes, compared with closed forms and with the counts that papers print.

The sizes of files are compared with safetensors itself, closed forms and the file of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from safetensors.torch import save

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.run import execute
from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.models import build_bare
from gluelamp.measurement.parameters import count_values, measure_files
from gluelamp.package_data import CONFIGS
from gluelamp.records import MEASUREMENT_COLUMNS
from gluelamp.reporting.published_counts import PublishedCount, read_counts

# Blocks, hidden size, feed-forward size, and parameters of the encoder without pooler and head.
BACKBONES = {
    "minilm": (6, 384, 1536, 22_565_376),
    "bert_base": (12, 768, 3072, 108_891_648),
    "roberta_large": (24, 1024, 4096, 354_310_144),
}
# Trained values with the default options: b = 64 (Houlsby), d / 16 (Pfeiffer), r = 8 (LoRA) or 4 (HiWi).
TRAINED: dict[str, Callable[[int, int, int, int], int]] = {
    "head_only": lambda L, d, f, n: 0,
    "full": lambda L, d, f, n: n,
    "bitfit": lambda L, d, f, n: L * (7 * d + f) + d,
    "lora": lambda L, d, f, n: 4 * L * d * 8,
    "houlsby": lambda L, d, f, n: 2 * L * (2 * d * 64 + 64 + d) + 4 * d * L + 2 * d,
    "pfeiffer": lambda L, d, f, n: L * (2 * d * (d // 16) + d // 16 + d),
    "pafi": lambda L, d, f, n: round(0.005 * n),
    "hiwi": lambda L, d, f, n: 2 * 4 * (d + f) * L,
    "hiwi_weight": lambda L, d, f, n: 2 * 4 * (d + f) * L,
    "xpeft": lambda L, d, f, n: 2 * 100 * L,
    "xpeft_soft": lambda L, d, f, n: 2 * 100 * L,
}

PUBLISHED = read_counts(CONFIGS.parent / "results" / "published" / "counts" / "parameters.csv")
Models = Callable[..., MeasuredModel]
Count = Callable[..., dict[str, Any]]
TinyRun = Callable[..., RunConfig]
CHECKSUM = "f" * 64


@pytest.fixture(scope="session")
def count(measured_model: Models) -> Count:
    @cache  # papers print the same count in several tables
    def counted(
        backbone: str, method: str, *fields: str, head: str = "two_layer", num_outputs: int = 2
    ) -> dict[str, Any]:
        return count_values(measured_model(backbone, method, *fields, head=head), num_outputs)

    return counted


@pytest.mark.parametrize(
    ("method", "backbone"),
    [*((method, "minilm") for method in TRAINED), ("bitfit", "bert_base"), ("houlsby", "roberta_large")],
)
def test_trained_values_follow_the_closed_form(count: Count, method: str, backbone: str) -> None:
    row = count(backbone, method)
    expected = TRAINED[method](*BACKBONES[backbone])
    assert row["trained"] == expected
    assert row["trained_pct"] == pytest.approx(100 * expected / BACKBONES[backbone][-1])


@pytest.mark.parametrize(
    "method", ["full", "bitfit", "lora", "houlsby", "pfeiffer", "hiwi_weight", "xpeft_soft"]
)
def test_most_methods_store_what_they_train_in_fp32(count: Count, method: str) -> None:
    row = count("minilm", method)
    assert row["stored_values"] == row["trained"] > 0
    assert row["stored_bytes"] == 4 * row["trained"]


@pytest.mark.parametrize(("backbone", "k"), [("roberta_large", 1_771_551), ("bert_base", 544_458)])
def test_pafi_at_half_a_percent_stores_its_values_and_shares_one_mask(
    count: Count, backbone: str, k: int
) -> None:
    row = count(backbone, "pafi")
    assert (row["trained"], row["stored_values"]) == (k, k)
    assert (row["stored_bytes"], row["shared_bytes"]) == (4 * k, 4 * k)  # fp32 values, int32 positions


@pytest.mark.parametrize("bottleneck", [4, 16])
def test_hiwi_stores_the_two_biases_of_each_block_whatever_its_bottleneck(
    count: Count, bottleneck: int
) -> None:
    row = count("roberta_large", "hiwi", f"bottleneck={bottleneck}")
    assert row["trained"] == 2 * bottleneck * (1024 + 4096) * 24
    assert (row["stored_values"], row["stored_bytes"]) == (122_880, 491_520)
    assert 100 * row["stored_values"] / 354_310_144 == pytest.approx(0.0347, abs=5e-5)  # the paper's 0.03 %


def test_xpeft_stores_one_bit_per_adapter_and_mask_and_the_seed_of_its_bank(count: Count) -> None:
    row = count("bert_base", "xpeft")
    assert (row["trained"], row["stored_bytes"]) == (2_400, 312)
    assert row["shared_bytes"] == 56  # seed, spread, four sizes and four rounded values
    assert count("bert_base", "xpeft_soft")["stored_bytes"] == 9_600
    assert count("bert_base", "xpeft", "num_adapters=150")["stored_bytes"] == 456


def test_houlsby_without_layer_norms_trains_its_adapters_alone(count: Count) -> None:
    assert count("roberta_large", "houlsby", "train_layer_norm=false")["trained"] == 6_343_680


@pytest.mark.parametrize(
    ("backbone", "num_outputs", "head"),
    [
        ("bert_base", 2, 768 * 768 + 768 + 1_538),
        ("bert_base", 15, 768 * 768 + 768 + 11_535),
        ("roberta_base", 2, 592_130),
        ("roberta_large", 2, 1_051_650),
    ],
)
def test_the_head_is_counted_separately(count: Count, backbone: str, num_outputs: int, head: int) -> None:
    row = count(backbone, "head_only", num_outputs=num_outputs)
    assert (row["head"], row["trained"], row["stored_bytes"]) == (head, 0, 0)


def test_a_linear_head_is_one_layer(count: Count) -> None:
    sizes = {name: count(name, "lora", head="linear")["head"] for name in ("bert_base", "roberta_base")}
    assert sizes == {"bert_base": 1_538, "roberta_base": 1_538}


def test_an_architecture_that_lacks_a_part_is_a_reason_not_an_error(count: Count) -> None:
    row = count("deberta_v3_base", "prefix")
    assert row["refused"].startswith("The architecture 'deberta-v2' has no separate 'attention.function'")
    assert row == dict.fromkeys(MEASUREMENT_COLUMNS["parameters"]) | {"refused": row["refused"]}


def test_options_that_do_not_fit_the_backbone_are_an_error(count: Count) -> None:
    with pytest.raises(InputError, match="larger than the hidden size 384"):
        count("minilm", "pfeiffer", "reduction_factor=999")


def rounding(count: PublishedCount) -> float:
    """Return half a unit of the last printed digit, as a fraction of the printed number."""
    number = count.published.rstrip(" %MK")
    return 0.5 * 10.0 ** -len(number.partition(".")[2]) / float(number)


@pytest.mark.parametrize(
    "published",
    [published for published in PUBLISHED if published.backbone],
    ids=lambda published: f"{published.method}-{published.backbone}-{published.published}",
)
def test_a_published_count_is_reproduced_to_its_last_digit_or_has_a_note(
    published: PublishedCount, count: Count
) -> None:
    row = count(published.backbone, published.method, *published.setting.split())
    difference = abs(published.ratio(row) - 1)
    assert published.note or difference <= rounding(published)
    assert (
        difference <= max(0.1, rounding(published))
        or "not explained" in published.note
        or "cut and not rounded" in published.note
    )


@pytest.mark.parametrize("method", ["full", "pafi", "hiwi", "xpeft"])
def test_a_file_is_as_long_as_its_tensors_and_their_names(measured_model: Models, method: str) -> None:
    model = measured_model("tiny", method)
    row = measure_files(model)
    adaptation = model.method.adapt(build_bare(model.backbone))
    shared = {name: value.contiguous() for name, value in adaptation.shared_state().items()}
    header = {"backbone": CHECKSUM, "shared": CHECKSUM if shared else ""}
    task = {name: value.contiguous() for name, value in adaptation.task_state().items()}
    assert row["task_file_bytes"] == len(save(task, header))
    assert row["shared_file_bytes"] == (len(save(shared, header)) if shared else 0)


def test_hiwi_on_minilm_stores_two_biases_a_block_and_the_head(measured_model: Models) -> None:
    row = measure_files(measured_model("minilm", "hiwi"))
    biases, head = 4 * 6 * (384 + 1536), 4 * (384 + 2) * (384 + 1)
    assert (row["counted_bytes"], row["head_bytes"]) == (biases, head)
    assert (row["shared_bytes"], row["shared_file_bytes"]) == (0, 0)
    assert biases + head < row["task_file_bytes"] < biases + head + 2_000  # names and checksums


def test_a_dense_layer_is_stored_with_the_head(measured_model: Models) -> None:
    linear, dense = (
        measure_files(measured_model("tiny", "hiwi", head=head)) for head in ("linear", "two_layer")
    )
    assert dense["head_bytes"] - linear["head_bytes"] == 4 * (32 * 32 + 32)
    assert dense["task_file_bytes"] > linear["task_file_bytes"] + 4 * (32 * 32 + 32)


def test_a_run_writes_a_file_of_this_size(
    measured_model: Models, tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gluelamp.training.trainer.matmul_rate", lambda *_: 1e9)  # takes half a second
    record = execute(tiny_run("method=hiwi", "task=cola", "trainer.epochs=1"))
    row = measure_files(measured_model("tiny", "hiwi"))
    assert row["task_file_bytes"] == record.bytes.file
