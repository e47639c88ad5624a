"""Which certificates pass and which fail, with times that the test provides."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.benchmark import Measurement, TaskSpec

from gluelamp.errors import InputError
from gluelamp.experiments.measure import MeasureConfig, measure
from gluelamp.measurement import certificate
from gluelamp.measurement.certificate import CertificateFailedError
from gluelamp.measurement.models import BASE, CANDIDATE, CONTROL
from gluelamp.records import find_certificates
from gluelamp.records.measurements import MERGE_TOLERANCE

Measuring = Callable[..., MeasureConfig]
TINY = ("backbone=tiny", "backbone.path=null", "what=certificate")
BLOCKS, ROUNDS = 5, 4


class Stopwatch:
    """Replaces `time_interleaved`: noise, and a factor on the candidate's times for each attempt."""

    def __init__(self, factors: tuple[float, ...], noise: float, stop: int) -> None:
        self.factors, self.noise, self.stop = factors, noise, stop
        self.seeds: list[int] = []

    def __call__(
        self,
        passes: Mapping[str, object],
        device: torch.device,
        rounds: int,
        seconds: float = math.inf,
        seed: int = 0,
    ) -> dict[str, Measurement]:
        if len(self.seeds) == self.stop:
            raise KeyboardInterrupt
        self.seeds.append(seed)
        rng = np.random.default_rng(seed)
        factors = {CANDIDATE: self.factors[seed // BLOCKS]}
        times = {
            name: factors.get(name, 1.0) * np.exp(self.noise * rng.standard_normal(ROUNDS)) for name in passes
        }
        return {name: Measurement(1, list(own), TaskSpec("", "")) for name, own in times.items()}


Timed = Callable[..., Stopwatch]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    """Take the times from a stopwatch of given factors."""

    def use(*factors: float, noise: float = 0.002, stop: int = 1000) -> Stopwatch:
        stopwatch = Stopwatch(factors, noise, stop)
        monkeypatch.setattr(certificate, "time_interleaved", stopwatch)
        return stopwatch

    return use


@pytest.mark.parametrize("method", ["pafi", "hiwi"])
def test_a_merged_model_that_is_as_fast_passes(
    measuring: Measuring, timed: Timed, tmp_path: Path, method: str
) -> None:
    timed(1.0)
    path = measure(measuring(*TINY, f"method={method}"))
    assert path.parent == tmp_path / "certificates" / "tiny"
    (found,) = find_certificates(tmp_path)
    assert (found.verdict, found.reasons, found.method, found.state) == ("PASS", [], method, "merged")
    assert found.ratio["low"] < 1 < found.ratio["high"] < 1.05
    outputs = found.structure["outputs"]
    assert (
        outputs["changed_by_method"] > 5 * MERGE_TOLERANCE * outputs["largest"]
    )  # so a lost method is detected
    assert found.structure["operators"]["base"] == found.structure["operators"]["candidate"] > 50
    (attempt,) = found.attempts
    assert np.shape([block[CONTROL] for block in attempt["milliseconds"]]) == (BLOCKS, ROUNDS)
    assert found.machine["type"] == "cpu"
    assert found.versions["torch"] == torch.__version__


def test_an_unmerged_model_fails_by_its_structure_even_if_it_is_as_fast(
    measuring: Measuring, timed: Timed, tmp_path: Path
) -> None:
    stopwatch = timed(1.0)
    with pytest.raises(CertificateFailedError, match=r"FAIL tiny hiwi, unmerged: .* The modules differ"):
        measure(measuring(*TINY, "method=hiwi", "certificate.state=unmerged"))
    (found,) = find_certificates(tmp_path)
    parts = [reason.split(" differ")[0] for reason in found.reasons[:3]]
    assert parts == ["The modules", "The tensors", "The operators"]
    assert len(stopwatch.seeds) == BLOCKS  # no second attempt can save it


def test_a_slower_model_fails_after_all_attempts_and_remains_failed(
    measuring: Measuring, timed: Timed, tmp_path: Path
) -> None:
    stopwatch = timed(1.02, 1.02, 1.02)
    config = measuring(*TINY, "method=pafi")
    for _ in range(2):
        with pytest.raises(CertificateFailedError, match=r"Timed 3 times, .* the interval misses 1\.00"):
            measure(config)
    (found,) = find_certificates(tmp_path)
    assert (found.verdict, len(found.attempts), len(found.reasons)) == ("FAIL", 3, 1)
    assert stopwatch.seeds == list(range(3 * BLOCKS))  # the second time the file is read


def test_one_miss_by_chance_is_timed_again_and_listed(
    measuring: Measuring, timed: Timed, tmp_path: Path
) -> None:
    timed(1.02, 1.0)
    measure(measuring(*TINY, "method=pafi"))
    (found,) = find_certificates(tmp_path)
    assert found.verdict == "PASS"
    missed, passed = (attempt["ratio"] for attempt in found.attempts)
    assert missed["low"] > 1
    assert found.ratio == passed


def test_noise_cannot_pass(measuring: Measuring, timed: Timed) -> None:
    timed(1.0, 1.0, 1.0, noise=0.3)
    with pytest.raises(CertificateFailedError, match=r"is too wide; it must .* end below 1\.05"):
        measure(measuring(*TINY, "method=pafi"))


def test_an_interrupted_certificate_resumes_with_the_missing_blocks(
    measuring: Measuring, timed: Timed, tmp_path: Path
) -> None:
    config = measuring(*TINY, "method=pafi")
    timed(1.0, stop=3)
    with pytest.raises(KeyboardInterrupt):
        measure(config)
    assert find_certificates(tmp_path) == []
    stopwatch = timed(1.0)
    path = measure(config)
    assert stopwatch.seeds == [3, 4]
    assert list(path.parent.iterdir()) == [path]


def test_a_method_that_cannot_be_merged_is_refused_or_skipped_in_a_sweep(
    measuring: Measuring, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        InputError, match=r"method=houlsby: it cannot be merged .*certificate\.state=unmerged"
    ):
        measure(measuring(*TINY, "method=houlsby"))
    with caplog.at_level("INFO"):
        assert measure(measuring(*TINY, "method=houlsby", "on_unsupported=skip")) is None
    (record,) = caplog.records
    assert record.message.startswith("skipped, not supported: tiny houlsby: it cannot be merged")
    assert find_certificates(tmp_path) == []


def test_a_tiny_model_with_real_times_has_a_certificate(measuring: Measuring, tmp_path: Path) -> None:
    config = measuring(*TINY, "method=lora", "certificate.resolution=1000", "certificate.attempts=1")
    with suppress(CertificateFailedError):  # of equal models, one in twenty
        measure(config)
    (path,) = tmp_path.glob("certificates/tiny/*.json")
    blocks = json.loads(path.read_text(encoding="utf-8"))["attempts"][0]["milliseconds"]
    assert all(time > 0 for block in blocks for name in (BASE, CONTROL, CANDIDATE) for time in block[name])
