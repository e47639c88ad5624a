"""Load stored tasks in a process of its own: ``python -m methods.reload FOLDER`` from ``tests``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import save_file

from methods.rows import ONE_OF_EACH, Row

BACKBONE = "a" * 64


def cells() -> Iterator[tuple[Row, str, str]]:
    """Each leaf on one architecture, and a file's name for it."""
    for leaf in {leaf for leaf, _ in ONE_OF_EACH}:
        yield ONE_OF_EACH[leaf, "bert"], "bert", f"{leaf}.safetensors"


def main(folder: Path) -> None:
    """Write the outputs of each stored task."""
    from hydra import compose, initialize_config_dir

    from gluelamp.cli.app import CONFIGS, plain
    from gluelamp.experiments.config import parse_method
    from gluelamp.methods.storage import load_task_state, provenance, read_selection
    from tiny_models import logits, tiny

    outputs = {}
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for row, architecture, name in cells():
            fields = (f"method.{override}" for override in row.overrides)
            composed = compose("train", overrides=[f"method={row.leaf}", *fields])
            recipe = parse_method(plain(composed.method))
            adaptation = recipe.adapt(tiny(architecture), selection=read_selection(folder / name))
            load_task_state(folder / name, adaptation, provenance(adaptation, BACKBONE))
            outputs[name] = logits(adaptation.model).contiguous()
    save_file(outputs, folder / "outputs.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
