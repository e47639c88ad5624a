"""Load exported adapters with the ``adapters`` library, and print what it computes.

The library pins a ``transformers`` that this package cannot use, so it runs in an environment of its own:

    python3 -m venv other && other/bin/pip install torch==2.13.0 adapters==1.3.0
    GLUELAMP_ADAPTERS_PYTHON=other/bin/python pytest tests/exporting/test_adapters.py

Each folder below the argument holds ``backbone`` (a plain model), ``exported`` and ``pass.pt`` (inputs and
logits). The result is JSON: by folder, the largest difference of the logits, and the shapes of the tensors
that the library's own ``save_adapter`` writes (stored in tests/fixtures/adapters_shapes.json).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from adapters import AutoAdapterModel


def loaded(folder: Path) -> dict[str, object]:
    """Return what the library computes and writes for one folder."""
    own = folder / "exported" / "backbone"  # of a method that trains other values, too
    model = AutoAdapterModel.from_pretrained(own if own.exists() else folder / "backbone").eval()
    information: dict[str, list[str]] = {}
    name = model.load_adapter(str(folder / "exported"), set_active=True, loading_info=information)
    one_pass = torch.load(folder / "pass.pt")
    with torch.no_grad():
        logits = model(**one_pass["inputs"]).logits
    with TemporaryDirectory() as saved:
        model.save_adapter(saved, name, with_head=True)
        files = sorted(Path(saved).glob("*.bin"))
        shapes = {file.name: {k: [*v.shape] for k, v in torch.load(file).items()} for file in files}
    difference = (logits - one_pass["logits"]).abs().max().item()
    return {"difference": difference, "shapes": shapes, "unexpected": information["unexpected_keys"]}


if __name__ == "__main__":
    folders = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    json.dump({folder.name: loaded(folder) for folder in folders}, sys.stdout)
