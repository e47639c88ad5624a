"""A synthetic results folder: missing runs, unequal numbers of seeds, a failed run and two data sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from gluelamp.io import write_json
from gluelamp.records import SCHEMA_VERSION

# By name: class, trained values, bytes of a task, and the probability of a right prediction
METHODS: dict[str, tuple[str, int, int, float]] = {
    "full": ("FullFineTuning", 22565376, 90261504, 0.86),
    "head_only": ("HeadOnly", 0, 0, 0.62),
    "bitfit": ("BitFit", 25728, 102912, 0.80),
    "layer_norm": ("LayerNormTuning", 9984, 39936, 0.76),
    "ffn_bias": ("FeedForwardBias", 11520, 46080, 0.74),
    "hadamard": ("Hadamard", 9216, 36864, 0.77),
    "ether_plus": ("Ether", 82944, 331776, 0.79),
    "adapter_bias": ("AdapterBias", 16902, 67608, 0.75),
    "pafi": ("PaFi", 112827, 451308, 0.84),
    "sparse_random": ("PaFi", 112827, 451308, 0.81),
    "sparse_largest": ("PaFi", 112827, 451308, 0.80),
    "fish": ("Fish", 112827, 902616, 0.83),
    "lt_sft": ("LtSft", 112827, 902616, 0.84),
    "hiwi": ("HiWi", 92160, 46080, 0.82),
    "hiwi_weight": ("HiWi", 92160, 14155776, 0.80),
    "lora": ("LoRA", 73728, 294912, 0.85),
    "houlsby": ("Houlsby", 605184, 2420736, 0.85),
    "pfeiffer": ("Pfeiffer", 113040, 452160, 0.83),
    "xpeft_soft": ("XPeft", 1200, 4800, 0.70),
    "xpeft": ("XPeft", 1200, 156, 0.68),
}
SELECTIONS = {"held_out": 0.0, "best": 0.01, "last": -0.01}
SCORES = {
    "cola": {"matthews_correlation": matthews_corrcoef},
    "mrpc": {"accuracy": accuracy_score, "f1": f1_score},
    "rte": {"accuracy": accuracy_score},
    "stsb": {
        "pearson": lambda labels, outputs: pearsonr(labels, outputs)[0],
        "spearman": lambda labels, outputs: spearmanr(labels, outputs)[0],
    },
}
ROWS = 150
EPOCHS = 5


def write_results(root: Path, methods: int = len(METHODS), seeds: int = 3) -> None:
    """Write runs and latencies of the first methods of `METHODS` below a folder."""
    names = list(METHODS)[:methods]
    runs = [(name, task, seed) for name in names for task in SCORES for seed in range(seeds)]
    for name, task, seed in runs:
        if (name, task) != ("hadamard", "rte") and (name, seed) != ("bitfit", 2):
            write_run(root, name, task, seed)
    write_run(root, names[-1], "rte", seeds, error="The loss is not finite at step 17.")
    for name in names[:2]:
        write_run(root, name, "cola", 0, source="sample")
    for name in names[2:8]:
        write_latency(root, name)


def write_run(root: Path, method: str, task: str, seed: int, source: str = "local", error: str = "") -> None:
    """Write the record of a run and, if it is complete, its predictions."""
    number = list(METHODS).index(method)
    identity = f"{number:04x}{list(SCORES).index(task):04x}{seed:04x}{len(source):04x}"
    folder = root / "runs" / "minilm" / method / task / identity
    record = _record(method, task, seed, source) | {"identity": identity}
    if error:
        record |= {"status": "failed", "error": error}
    else:
        record |= _outcome(folder, task, METHODS[method][3], np.random.default_rng([number, seed]))
    write_json(folder / "record.json", record)


def write_latency(root: Path, method: str) -> None:
    """Write the latencies of a merged method on four inputs."""
    rows = [
        {
            **{"state": "merged", "device": "cpu", "processor": "a processor"},
            **{"dtype": "float32", "threads": 2, "batch": batch, "length": length, "median_ms": 5.0 * batch},
            **{"ratio_to_base": 1 + shift, "ratio_low": 0.99 + shift, "ratio_high": 1.01 + shift},
        }
        for batch, shift in ((1, 0.004), (8, 0.0))
        for length in (32, 128)
    ]
    content = {"kind": "latency", "backbone": "minilm", "method": method, "config": {}, "rows": rows}
    path = root / "measurements" / "latency" / "minilm" / f"{method}-1.json"
    write_json(path, {"schema_version": SCHEMA_VERSION, **content})


def _record(method: str, task: str, seed: int, source: str) -> dict[str, Any]:
    kind, trained, stored, _ = METHODS[method]
    checksum, fingerprint = "c" * 64, f"{task}-{source}"
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "complete",
        "config": {
            "backbone": {"name": "minilm", "checksum": checksum},
            "method": {"name": method, "kind": kind},
            "task": {"name": task, "max_train_examples": None},
            "data": {"fingerprint": fingerprint},
            "trainer": {"epochs": EPOCHS, "learning_rate": 0.003, "head_learning_rate": 0.005},
            "head": {"type": "two_layer"},
            "seed": seed,
        },
        "data": {
            "source": source,
            "fingerprint": fingerprint,
            "rows": {"validation": ROWS},
            "deviations": [],
        },
        "backbone": {"name": "minilm", "checksum": checksum},
        "protocol": {"head_counted": False},
        "main_metric": next(iter(SCORES[task])),
        "metrics": {},
        "history": [],
        "parameters": {
            "trained": trained,
            "head": 770,
            "backbone": 22565376,
            "trained_pct": trained / 225653.76,
        },
        "bytes": {"method": stored, "head": 3080, "shared": 0},
        "speed": {"train_seconds": 171.2},
        "memory": {},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "git": {"revision": "0" * 40, "dirty": False},
        "device": {"type": "cpu", "name": "a processor", "dtype": "float32"},
    }


def _outcome(folder: Path, task: str, skill: float, rng: np.random.Generator) -> dict[str, Any]:
    labels = np.random.default_rng(0).random(ROWS) * 5 if task == "stsb" else np.arange(ROWS) % 2
    frames, metrics = [], {}
    for selection, shift in SELECTIONS.items():
        outputs = _outputs(labels, skill + shift, rng)
        frames.append(_frame(selection, labels, outputs))
        metrics[selection] = {"epoch": float(EPOCHS), **_scores(task, labels, outputs)}
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(folder / "predictions.parquet")
    main = next(iter(SCORES[task]))
    steps = [(epoch, metrics["last"][main] * (1 - 0.5**epoch)) for epoch in range(1, EPOCHS + 1)]
    history = [
        {"epoch": float(epoch), "step": 100 * epoch, "train_loss": 1 / epoch, main: value}
        for epoch, value in steps
    ]
    return {"metrics": metrics, "history": history}


def _outputs(labels: np.ndarray, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Return one column of numbers for regression, or the logits of two classes."""
    if labels.max() > 1:
        return (skill * labels + (1 - skill) * rng.normal(2.5, 3, len(labels)))[:, None]
    predicted = np.where(rng.random(len(labels)) < skill, labels, 1 - labels)
    return np.eye(2)[predicted]


def _frame(selection: str, labels: np.ndarray, outputs: np.ndarray) -> pd.DataFrame:
    columns = {f"output_{place}": outputs[:, place] for place in range(outputs.shape[1])}
    rows = {"selection": selection, "split": "validation", "idx": np.arange(ROWS), "label": labels}
    return pd.DataFrame(rows | columns)


def _scores(task: str, labels: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    predicted = outputs[:, 0] if task == "stsb" else outputs.argmax(axis=1)
    return {name: float(score(labels, predicted)) for name, score in SCORES[task].items()}
