"""Load stored tasks in a separate process: ``python -m methods.reload FOLDER`` from ``tests``."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from methods.rows import ONE_OF_EACH

BACKBONE = "a" * 64
ROWS = {row.config: row for (_, architecture), row in ONE_OF_EACH.items() if architecture == "bert"}


def main(folder: Path) -> None:
    """Write the outputs of each stored task."""
    from hydra import compose, initialize_config_dir

    from gluelamp.cli.app import plain
    from gluelamp.experiments.config import parse_method
    from gluelamp.methods.storage import load_task_state, provenance, read_selection
    from gluelamp.package_data import CONFIGS
    from tiny_models import logits, tiny

    outputs = {}
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for name, row in ROWS.items():
            options = ["+seed=0", *(f"method.{override}" for override in row.overrides)]
            composed = compose(f"method/{row.config}", overrides=options)
            method, path = parse_method(plain(composed)["method"]), folder / f"{name}.safetensors"
            adaptation = method.adapt(tiny("bert"), read_selection(path))
            load_task_state(path, adaptation, provenance(adaptation, BACKBONE))
            outputs[name] = logits(adaptation.model).contiguous()
    save_file(outputs, folder / "outputs.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
