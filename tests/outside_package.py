"""An installed distribution ``outside`` that adds the method ``norm_bias``, as pip would unpack its wheel."""

from __future__ import annotations

from pathlib import Path

_METHOD = """
from typing import ClassVar

from gluelamp.methods.base import Method
from gluelamp.methods.changes.tensors import layer_norm_names, replace_tensors


class NormBias(Method):
    family: ClassVar[str] = "bias"
    norms: int = 1

    def changes(self, model, parts):
        names = [name for name in layer_norm_names(model, parts) if name.endswith("bias")]
        return [*replace_tensors(model, names[: self.norms])]
"""
_CONFIG = """
# @package _global_
method:
  _target_: outside.norms.NormBias
  name: norm_bias
  norms: 1

trainer:
  learning_rate: 1.0e-2
"""
FILES = {
    "outside/__init__.py": "",
    "outside/norms.py": _METHOD,
    "outside/configs/method/norm_bias.yaml": _CONFIG,
    "outside-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n",
    "outside-1.0.dist-info/entry_points.txt": "[gluelamp.methods]\nnorm_bias = outside.norms:NormBias\n",
}


def install_outside(folder: Path) -> Path:
    """Write the distribution into a folder, which is then put on Python's path."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder
