"""From a composed configuration to a measurement's file."""

from __future__ import annotations

import json
import logging
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
import yaml
from filelock import FileLock

from gluelamp.cli import commands
from gluelamp.cli.app import RunFailedError
from gluelamp.cli.sweep import SweepCallback
from gluelamp.errors import InputError
from gluelamp.experiments.identity import identity
from gluelamp.experiments.measure import (
    MeasureConfig,
    measure,
    measure_parts,
    measurement_path,
    parse_measure,
)
from gluelamp.measurement.base import MeasuredModel, MeasurementKind, Part, Row
from gluelamp.measurement.latency import Latency
from gluelamp.package_data import CONFIGS
from gluelamp.records import find_measurements

Measuring = Callable[..., MeasureConfig]
TINY = ("backbone=tiny", "backbone.path=null")
REFERENCE = CONFIGS.parent / "results" / "reference"
SCRIPT = CONFIGS.parent / "scripts" / "measure.py"


@pytest.mark.parametrize("what", ["parameters", "storage", "flops", "latency"])
def test_a_measurement_is_found_by_the_tables(measuring: Measuring, tmp_path: Path, what: str) -> None:
    path = measure(measuring(*TINY, "method=pafi", f"what={what}"))
    assert path.parent == tmp_path / "measurements" / what / "tiny"
    (found,) = find_measurements(tmp_path, what)
    assert (found.backbone, found.method, found.config["density"]) == ("tiny", "pafi", 0.005)


def test_an_existing_measurement_is_skipped_or_replaced(measuring: Measuring) -> None:
    path = measure(measuring(*TINY))
    content = path.read_bytes()
    path.write_text('"mine"', encoding="utf-8")
    assert measure(measuring(*TINY)) == path
    assert path.read_text(encoding="utf-8") == '"mine"'
    path.write_bytes(content[:100])
    with pytest.raises(InputError, match=r"json is not JSON: .*\. Remove it and run again\."):
        measure(measuring(*TINY))
    assert measure(measuring(*TINY, "on_existing=retrain")) == path
    assert path.read_bytes() == content


def test_two_processes_cannot_run_the_same_measurement(measuring: Measuring) -> None:
    lock = measurement_path(measuring(*TINY)).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(InputError, match="is being measured by another process; wait"):
        measure(measuring(*TINY))


def test_too_little_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch, measuring: Measuring) -> None:
    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")

    monkeypatch.setattr("gluelamp.experiments.measure.measure", out_of_memory)
    monkeypatch.setattr("gluelamp.experiments.measure.parse_measure", lambda _: measuring(*TINY))
    with pytest.raises(RunFailedError, match="too little free memory for this measurement"):
        commands.measure({})


@pytest.mark.parametrize("wrong", ["hidden_size=33", "model_type=nope", "vocab_size=abc"])
def test_an_impossible_shape_is_a_sentence(measuring: Measuring, wrong: str) -> None:
    with pytest.raises(InputError, match=r"backbone\.shape=.* is not usable \("):
        measure(measuring(*TINY, f"backbone.shape.{wrong}"))


def test_the_path_depends_on_what_can_change_the_rows_and_on_nothing_else(measuring: Measuring) -> None:
    def path(*overrides: str) -> Path:
        return measurement_path(measuring(*TINY, *overrides))

    rows_change = [
        *(["method.rank=4"], ["head=linear"], ["backbone.shape.hidden_size=64"]),
        *(["what=flops"], ["what=flops", "flops.lengths=[7]"]),
        *(["what=latency"], ["what=latency", "latency.rounds=2"]),
        *(["what=certificate"], ["what=certificate", "certificate.length=7"]),
    ]
    assert len({path(), *(path(*overrides) for overrides in rows_change)}) == 1 + len(rows_change)
    assert path() == path("++backbone.hub_id=a/b") == path("latency.rounds=9", "trainer.learning_rate=1")


def unique(rows: Sequence[Row], column: str) -> list[Any]:
    return list(dict.fromkeys(row[column] for row in rows))


def settings(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings that the content of a committed file implies, in several versions if need be."""
    rows, kind = record.get("rows", []), record.get("kind", "certificate")
    if kind == "certificate":
        return [{**record["protocol"], "machine": record["machine"]}]
    if kind in ("parameters", "storage", "xpeft_bytes"):
        return [{"head": "two_layer"}]
    sizes = {"batches": unique(rows, "batch"), "lengths": unique(rows, "length")}
    if kind == "flops":
        return [sizes | {"head": "two_layer"}]
    machine = {"device": rows[0]["device"]}
    if kind == "memory":
        return [sizes | machine | {"head": "two_layer"}]
    machine |= {"threads": rows[0]["threads"], "processor": rows[0]["processor"]}
    precisions = [{"float32": "fp32", "bfloat16": "bf16"}[dtype] for dtype in unique(rows, "dtype")]
    timed = sizes | machine | {"precisions": precisions, "graphs": [False, True]}
    # the limits that the experiments set; a row does not hold them
    limits = (Latency(), Latency(seconds=3), Latency(rounds=15))
    return [timed | {"rounds": each.rounds, "seconds": each.seconds} for each in limits]


def test_the_name_of_each_committed_measurement_follows_from_its_content() -> None:
    shapes = {path.stem: yaml.safe_load(path.read_text())["shape"] for path in CONFIGS.glob("backbone/*")}
    paths = [*REFERENCE.glob("measurements/*/*/*.json"), *REFERENCE.glob("certificates/*/*.json")]
    assert len(paths) > 300
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        content = {"shape": shapes[record["backbone"]], "method": record["config"]}
        names = [f"{record['method']}-{identity(content | each)}" for each in settings(record)]
        assert path.stem in names, path


@pytest.mark.parametrize(
    ("what", "backbone", "method"),
    [
        *[
            ("parameters", "minilm", method)
            for method in ("diff_pruning", "fish", "lt_sft", "peft", "sparse_middle")
        ],
        *[("parameters", "roberta_large", "pafi"), ("storage", "bert_base", "xpeft_soft")],
        *[
            ("flops", "roberta_large", "houlsby"),
            ("memory", "minilm", "full"),
            ("xpeft_bytes", "minilm", "xpeft"),
        ],
    ],
)
def test_a_committed_measurement_is_found_again(
    composed: Callable[..., dict[str, Any]], what: str, backbone: str, method: str
) -> None:
    device = ["memory.device=cpu"] if what == "memory" else []
    config = parse_measure(composed(f"what={what}", f"backbone={backbone}", f"method={method}", *device))
    path = measurement_path(config).relative_to(config.results.root)
    assert (REFERENCE / path).is_file()


class FourParts(MeasurementKind):
    """Measures the parts 0 to 3, and stops before one of them."""

    def __init__(self, stop: int, measured: list[int]) -> None:
        vars(self).update(stop=stop, measured=measured)

    def parts(self, rows: Sequence[Row]) -> list[Part]:
        return [{"number": number} for number in range(4)]

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        for number in (part["number"] for part in parts):
            if number == vars(self)["stop"]:
                raise KeyboardInterrupt
            vars(self)["measured"].append(number)
            yield [{"twice": 2 * number}, {"thrice": 3 * number}]

    def summarise(self, row: Row) -> str:
        return str(row)


def test_an_interrupted_measurement_resumes_with_the_missing_parts(
    measured_model: Callable[..., MeasuredModel], tmp_path: Path
) -> None:
    model, path, measured = measured_model("tiny", "lora"), tmp_path / "some.parts", list[int]()
    with pytest.raises(KeyboardInterrupt):
        measure_parts(FourParts(2, measured), model, path, "tiny")
    assert measured == [0, 1]
    assert len(json.loads(path.read_text())) == 2  # both are on disk
    rows = measure_parts(FourParts(4, measured), model, path, "tiny")
    assert measured == [0, 1, 2, 3]
    assert rows == [row for number in range(4) for row in ({"twice": 2 * number}, {"thrice": 3 * number})]
    path.write_text('{"{\\"number\\": 0}": [{"tw', encoding="utf-8")
    with pytest.raises(InputError, match=r"some\.parts is not JSON: .*\. Remove it and run again\."):
        measure_parts(FourParts(4, []), model, path, "tiny")


def test_an_interrupted_timing_is_resumed_by_the_same_command(
    measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = measuring(*TINY, "method=bitfit", "what=latency", "latency.batches=[1,2,3]")
    measure_rows, batches = Latency.measure, list[int]()

    def interrupted(self: Latency, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        for part, rows in zip(parts, measure_rows(self, model, parts), strict=True):
            batches.append(part["batch"])
            if batches == [1, 2, 3]:
                raise KeyboardInterrupt
            yield rows

    monkeypatch.setattr(Latency, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(config)
    path = measure(config)
    assert batches == [1, 2, 3, 3]
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [row["batch"] for row in rows] == [batch for batch in (1, 2, 3) for _ in range(3)]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("what=latncy", "what='latncy' is not allowed"),
        ("latency.lengths=[0]", r"latency\.lengths\.0=0 is not allowed: it should be greater than 0\.$"),
        ("latency.batches=[]", r"latency\.batches=\[\] is not allowed: it should have at least 1 item\.$"),
        ("certificate.blocks=4", r"certificate\.blocks=4 is not allowed"),
        ("+latency.round=3", "'round' is unknown; did you mean 'rounds'"),
    ],
)
def test_bad_input_is_named(composed: Callable[..., dict[str, Any]], override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_measure(composed(override))


@pytest.mark.parametrize(
    ("primary", "parser"),
    [
        ("measure", "gluelamp.experiments.measure.parse_measure"),
        ("train", "gluelamp.experiments.plan.check_run"),
    ],
)
def test_a_sweep_is_checked_by_the_parser_of_its_own_configuration(primary: str, parser: str) -> None:
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose(primary, return_hydra_config=True)
    callback = hydra.utils.instantiate(config.hydra.callbacks.sweep)
    assert isinstance(callback, SweepCallback)
    assert callback.parse == parser


def test_an_unsupported_method_does_not_stop_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = ("backbone=deberta_v3_base", "method=glob(pr*)")
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, "-m", f"results.root={tmp_path}", *sweep])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # so that the old value is restored
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # In this process, which saves the imports.
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    root.handlers[:], root.level = handlers, level
    assert end.value.code == 0
    assert "deberta_v3_base prefix is refused: The architecture" in capfd.readouterr().out
    trained = {one.method: one.rows[0]["trained"] for one in find_measurements(tmp_path, "parameters")}
    assert trained == {"prefix": None, "prompt": 7_680}
