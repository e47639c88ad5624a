"""The certificate of zero added latency: a merged model is the bare backbone again, and as fast.

What decides. A model passes if

1. it has the modules of the bare backbone, its parameters and buffers in shape, stride and type, its
   operators in a pass one by one, and its FLOPs; this is exact, and cannot fail or pass by chance;
2. its outputs are those of the unmerged method, with values moved at random: the method is in it;
3. the ratio of its time to the bare backbone's has a 95 % interval that contains 1.00, and that ends
   below 1 + ``resolution``: a machine too noisy to see a slow model cannot pass it.

Of equal models, one interval in twenty misses 1.00 by chance. So what fails the third test alone is timed
again from the beginning, on new copies, up to ``attempts`` times in all, and passes if one attempt does: of
equal models on a quiet machine about 0.05 ** attempts fail, with three one in 8,000, and of models slower
by ``resolution`` at most attempts x 2.5 % pass. All attempts stand in the certificate, those that missed too.

Copies of one model differ in speed by where they lie in memory. So an attempt has ``blocks``, each with
new copies of all models, and the interval takes the block as its unit; see
`gluelamp.measurement.ratio.ratio_of_blocks`. Beside the ratio stands a control: that of a second copy of the
bare backbone, timed in the same turns. It decides nothing, and shows what the machine does to equal models.
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
from gluelamp.measurement.kind import Cell, Kind, Origin, Row, Subject
from gluelamp.measurement.pair import BASE, CANDIDATE, CONTROL, Pair
from gluelamp.measurement.ratio import Ratio
from gluelamp.measurement.states import random_inputs
from gluelamp.measurement.structure import compare_structure, structure_reasons
from gluelamp.measurement.timing import computing_on, time_in_turns
from gluelamp.measurement.verdict import Attempt, deciding, outputs_reasons, timing_reasons
from gluelamp.records import SCHEMA_VERSION, Certificate, read_certificate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)

_STRUCTURE: Cell = {"part": "structure"}


class CertificateFailedError(RuntimeError):
    """A certificate says FAIL; the message is for the user."""


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Certification(Kind):
    """Certifies that a state of a method costs what the bare backbone costs, or says why not.

    Args:
        state: ``merged``, or ``unmerged`` to see it fail.
        batch: examples a pass.
        length: tokens an example.
        precision: type of the whole model when it is timed.
        blocks: of each attempt, each with new copies of the models.
        rounds: counted passes of each model in a block.
        attempts: how often equal models may miss 1.00 by chance, the last time not counted.
        resolution: the interval must end below 1 + this.
        threads: of torch on a CPU; its own choice if None.
        device: ``auto`` takes a GPU if there is one.
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

    def setting(self, subject: Subject) -> dict[str, Any]:
        """Return the options, and the machine that they came to."""
        return asdict(self) | {"machine": self._machine()}

    def cells(self, rows: Sequence[Row]) -> list[Cell]:
        """Return the structure and the blocks of one attempt, and of another where it missed by chance."""
        tried = self._attempts(rows)
        missed = not tried or (timing_reasons(tried, self.resolution) and not _reasons(rows[0]))
        attempts = min(self.attempts, len(tried) + bool(missed))
        blocks = product(range(attempts), range(self.blocks))
        return [_STRUCTURE, *({"attempt": attempt, "block": block} for attempt, block in blocks)]

    def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        """Compare structures, and time block after block."""
        pair = Pair(subject, self.state, self.length)
        device = choose_device(self.device)
        for cell in cells:
            with computing_on(device, self.threads):
                row = self._structure(pair, device) if cell == _STRUCTURE else self._block(pair, device, cell)
            yield [row]

    def _structure(self, pair: Pair, device: torch.device) -> Row:
        models, inputs = self._ready(pair, device, 0)
        found = compare_structure(models[BASE], models[CANDIDATE], inputs)
        return _STRUCTURE | found | {"outputs": pair.outputs}

    def _block(self, pair: Pair, device: torch.device, cell: Cell) -> Row:
        number = cell["attempt"] * self.blocks + cell["block"]
        models, inputs = self._ready(pair, device, number)
        passes = {name: partial(model, **inputs) for name, model in models.items()}
        timed = time_in_turns(passes, device, self.rounds, seed=number)
        return cell | {name: [1000 * seconds for seconds in one.times] for name, one in timed.items()}

    def _ready(
        self, pair: Pair, device: torch.device, seed: int
    ) -> tuple[dict[str, PreTrainedModel], dict[str, Tensor]]:
        models, dtype = pair.copies(seed), choose_dtype(self.precision, device)
        for model in models.values():
            model.to(device, dtype)  # type: ignore[arg-type]  # the decorated method loses its signature
        return models, random_inputs(models[BASE], self.batch, self.length)

    def _attempts(self, rows: Sequence[Row]) -> list[Attempt]:
        starts = range(1, len(rows) - self.blocks + 1, self.blocks)
        return [Attempt(rows[start : start + self.blocks]) for start in starts]

    def line(self, row: Row) -> str:
        """Return what the structure says, or the ratios of a block."""
        if "block" not in row:
            return " ".join(_reasons(row)) or "has the modules, tensors, operators and FLOPs of the base"
        ratio, control = (median(map(truediv, row[name], row[BASE])) for name in (CANDIDATE, CONTROL))
        return (
            f"{self.state}, attempt {row['attempt'] + 1}, block {row['block'] + 1} of {self.blocks}: "
            f"{ratio:.4f} of the base, a second base {control:.4f}"
        )

    def content(self, origin: Origin, rows: Sequence[Row]) -> Certificate:
        """Return the certificate."""
        attempts = self._attempts(rows)
        last = deciding(attempts, self.resolution)
        reasons = _reasons(rows[0]) + timing_reasons(attempts, self.resolution)
        return Certificate(
            schema_version=SCHEMA_VERSION,
            backbone=origin.backbone,
            method=origin.method,
            config=origin.config,
            state=self.state,
            verdict="FAIL" if reasons else "PASS",
            reasons=reasons,
            ratio=asdict(last.ratio),
            control=asdict(last.control),
            protocol=asdict(self),
            machine=self._machine(),
            structure={key: value for key, value in rows[0].items() if key not in _STRUCTURE},
            attempts=[attempt.evidence() for attempt in attempts],
            versions=origin.versions,
        )

    def conclude(self, path: Path) -> None:
        """Say the verdict.

        Raises:
            CertificateFailedError: if it is FAIL.
        """
        found = read_certificate(path)
        line = (
            f"{found.verdict} {found.backbone} {found.method}, {found.state}: {Ratio(**found.ratio)} of the "
            f"bare backbone's time, a second bare copy {Ratio(**found.control)}: {path}"
        )
        if found.reasons:
            raise CertificateFailedError(" ".join([f"{line}.", *found.reasons]))
        _log.info("%s", line)

    def _machine(self) -> dict[str, Any]:
        device = choose_device(self.device)
        machine = describe_device(device, choose_dtype(self.precision, device))
        return machine | {"threads": self.threads or torch.get_num_threads()}


def _reasons(structure: Row) -> list[str]:
    return structure_reasons(structure) + outputs_reasons(structure["outputs"])
