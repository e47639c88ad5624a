"""The certificate of zero added latency: a merged model equals the bare backbone in structure and speed.

A model passes if

1. it has the modules of the bare backbone, its parameters and buffers in shape, stride and type, its
   operators in a forward pass one by one, and its FLOPs. This test is exact and does not depend on chance.
2. its outputs are those of the unmerged method, whose values were perturbed at random. This proves that
   the merged model contains the method.
3. the ratio of its time to the bare backbone's has a 95 % interval that contains 1.00 and ends below
   1 + ``resolution``. A machine too noisy to detect a slow model cannot pass it.

For equal models, one interval in twenty misses 1.00 by chance. Therefore a model that fails only the third
test is timed again on new copies, up to ``attempts`` times in all, and passes if one attempt passes. On a
quiet machine, equal models then fail with probability of about 0.05 ** attempts (1 in 8,000 for three
attempts), and models slower by ``resolution`` pass with at most attempts x 2.5 %. The certificate lists all
attempts, including the failed ones.

The speed of equal models differs by where their copies lie in memory. Therefore an attempt has several
``blocks``, each with new copies of all models, and the block is the unit of the interval; see
`gluelamp.measurement.timing.block_ratio`. The control is a second copy of the bare backbone, timed in
the same rounds. It does not affect the result. It shows how much the machine varies on equal models.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from operator import truediv
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass as validated
from torch import Tensor

from gluelamp.hardware import choose_device, choose_dtype, describe_device
from gluelamp.measurement.base import MeasuredModel, MeasurementKind, Part, RecordHeader, Row
from gluelamp.measurement.models import (
    BASE,
    CANDIDATE,
    CONTROL,
    PairedModels,
    outputs_reasons,
    random_inputs,
)
from gluelamp.measurement.structure import compare_structure, structure_reasons
from gluelamp.measurement.timing import (
    Attempt,
    Ratio,
    computing_on,
    deciding_attempt,
    time_interleaved,
    timing_reasons,
)
from gluelamp.records import SCHEMA_VERSION, Certificate, read_certificate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)

# The first part compares the structures. Each further part is a block of an attempt.
_STRUCTURE: Part = {"part": "structure"}


class CertificateFailedError(RuntimeError):
    """The result of a certificate is FAIL. The message is shown to the user."""


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Certification(MeasurementKind):
    """Certify that a state of a method costs as much as the bare backbone, or list the reasons why not.

    Args:
        state: ``merged``, or ``unmerged`` to see the certificate fail.
        batch: examples per pass.
        length: tokens per example.
        precision: number format of the timed models.
        blocks: blocks per attempt, each with new copies of the models.
        rounds: passes of each model in a block.
        attempts: the largest number of attempts.
        resolution: the interval must end below 1 + this.
        threads: CPU threads; torch's default if None.
        device: ``auto`` is a GPU if there is one.
    """

    folder: ClassVar[str] = "certificates"

    state: Literal["merged", "unmerged"] = "merged"
    batch: PositiveInt = 1
    length: PositiveInt = 128
    precision: Literal["fp32", "bf16"] = "fp32"
    blocks: int = Field(default=10, ge=5)
    rounds: PositiveInt = 15
    attempts: PositiveInt = 3
    resolution: float = Field(default=0.05, gt=0)
    threads: PositiveInt | None = None
    device: str = "auto"

    def settings(self, model: MeasuredModel) -> dict[str, Any]:
        """Return the options, with a description of this machine."""
        return asdict(self) | {"machine": self._machine()}

    def refusal(self, model: MeasuredModel) -> str | None:
        """Refuse the certificate of a merged model for a method that does not merge."""
        if self.state == "unmerged" or model.method.merges:
            return None
        return (
            "it cannot be merged into the backbone. certificate.state=unmerged certifies the unmerged model, "
            "which fails."
        )

    def parts(self, rows: Sequence[Row]) -> list[Part]:
        """Return the structure, the blocks of the first attempt, and those of another one if it is needed.

        Another attempt is needed if all earlier ones failed by their timing, and by nothing else.
        """
        # A difference in structure or outputs cannot be due to chance, so it is not timed again.
        attempts = self._attempts(rows)
        retry = not attempts or (timing_reasons(attempts, self.resolution) and not _reasons(rows[0]))
        count = min(self.attempts, len(attempts) + bool(retry))
        blocks = product(range(count), range(self.blocks))
        return [_STRUCTURE, *({"attempt": attempt, "block": block} for attempt, block in blocks)]

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Compare the structures, and time the blocks."""
        models = PairedModels(model, self.state, self.length)
        device = choose_device(self.device)
        for part in parts:
            with computing_on(device, self.threads):
                row = (
                    self._compare(models, device) if part == _STRUCTURE else self._time(models, device, part)
                )
            yield [row]

    def _compare(self, models: PairedModels, device: torch.device) -> Row:
        copies, inputs = self._copies(models, device, 0)
        comparison = compare_structure(copies[BASE], copies[CANDIDATE], inputs)
        return _STRUCTURE | comparison | {"outputs": models.outputs}

    def _time(self, models: PairedModels, device: torch.device, part: Part) -> Row:
        # The seed differs in every block, also across attempts, so no two blocks have the same orders.
        number = part["attempt"] * self.blocks + part["block"]
        copies, inputs = self._copies(models, device, number)
        passes = {name: partial(model, **inputs) for name, model in copies.items()}
        timed = time_interleaved(passes, device, self.rounds, seed=number)
        return part | {name: [1000 * seconds for seconds in each.times] for name, each in timed.items()}

    def _copies(
        self, models: PairedModels, device: torch.device, seed: int
    ) -> tuple[dict[str, PreTrainedModel], dict[str, Tensor]]:
        copies, dtype = models.copies(seed), choose_dtype(self.precision, device)
        for model in copies.values():
            model.to(device, dtype)  # type: ignore[arg-type]  # the decorated method has no signature
        return copies, random_inputs(copies[BASE], self.batch, self.length)

    def _attempts(self, rows: Sequence[Row]) -> list[Attempt]:
        # The first row is the structure. An unfinished attempt is left out.
        starts = range(1, len(rows) - self.blocks + 1, self.blocks)
        return [Attempt(rows[start : start + self.blocks]) for start in starts]

    def summarise(self, row: Row) -> str:
        """Return the result of the structure, or the ratios of a block."""
        if "block" not in row:
            return " ".join(_reasons(row)) or "has the modules, tensors, operators and FLOPs of the base"
        ratio, control = (median(map(truediv, row[name], row[BASE])) for name in (CANDIDATE, CONTROL))
        return (
            f"{self.state}, attempt {row['attempt'] + 1}, block {row['block'] + 1} of {self.blocks}: "
            f"{ratio:.4f} of the base, a second base {control:.4f}"
        )

    def record(self, header: RecordHeader, rows: Sequence[Row]) -> Certificate:
        """Return the certificate."""
        attempts = self._attempts(rows)
        decision = deciding_attempt(attempts, self.resolution)
        reasons = _reasons(rows[0]) + timing_reasons(attempts, self.resolution)
        return Certificate(
            schema_version=SCHEMA_VERSION,
            backbone=header.backbone,
            method=header.method,
            config=header.config,
            state=self.state,
            verdict="FAIL" if reasons else "PASS",
            reasons=reasons,
            ratio=asdict(decision.ratio),
            control=asdict(decision.control),
            protocol=asdict(self),
            machine=self._machine(),
            # Without the key that identifies the part.
            structure={key: value for key, value in rows[0].items() if key not in _STRUCTURE},
            attempts=[attempt.evidence() for attempt in attempts],
            versions=header.versions,
        )

    def conclude(self, path: Path) -> None:
        """Log the result of a certificate.

        Raises:
            CertificateFailedError: if the result is FAIL.
        """
        # The file is read again, so that a failed certificate of an earlier command fails this one, too.
        certificate = read_certificate(path)
        line = (
            f"{certificate.verdict} {certificate.backbone} {certificate.method}, {certificate.state}: "
            f"{Ratio(**certificate.ratio)} of the bare backbone's time, a second bare copy "
            f"{Ratio(**certificate.control)}: {path}"
        )
        if certificate.reasons:
            raise CertificateFailedError(" ".join([f"{line}.", *certificate.reasons]))
        _log.info("%s", line)

    def _machine(self) -> dict[str, Any]:
        device = choose_device(self.device)
        machine = describe_device(device, choose_dtype(self.precision, device))
        return machine | {"threads": self.threads or torch.get_num_threads()}


def _reasons(structure: Row) -> list[str]:
    return structure_reasons(structure) + outputs_reasons(structure["outputs"])
