"""An adapter of Hugging Face ``peft``: ``adapter_config.json`` and ``adapter_model.safetensors``.

A folder holds one tuner, and modules in full (``modules_to_save``): the task head, and changed LayerNorms. A
method is exported if a tuner computes the same function:

- a tuner of ``peft`` itself: as it is;
- a low-rank update of weights: LORA;
- biases of linear layers: BEFT;
- single entries of the weights of linear layers: SUPERTUNING;
- LayerNorms alone: LN_TUNING.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.errors import InputError
from gluelamp.exporting.base import Origin, head_kind, head_modules
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.changes.forms import Form, LowRank, NewEntries, NewTensor, Tuner

if TYPE_CHECKING:
    from peft import PeftConfig

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class PeftAdapter:
    """A tuner of ``peft`` and modules in full.

    Args:
        tuner: the tuner.
        modules: the parameters of the other modules, by full name.
        modules_to_save: the paths of these modules.
        task_type: of ``peft``, by the kind of the head.
    """

    tuner: Tuner
    modules: Mapping[str, Tensor]
    modules_to_save: Sequence[str]
    task_type: str

    def write(self, folder: Path, origin: Origin) -> None:
        """Write both files."""
        config: Any = deepcopy(self.tuner.config)  # not every configuration of peft has all fields
        config.base_model_name_or_path, config.revision = origin.base, origin.revision
        config.task_type, config.inference_mode = self.task_type, True
        config.modules_to_save = list(self.modules_to_save)
        config.save_pretrained(str(folder))
        tensors = {**self.tuner.tensors, **{_PREFIX + name: value for name, value in self.modules.items()}}
        ready = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
        save_file(ready, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def prepare_peft(adaptation: Adaptation) -> PeftAdapter:
    """Return an adaptation as an adapter of ``peft``.

    Raises:
        InputError: if no tuner of ``peft`` computes the same function.
    """
    model, modules_to_save = adaptation.model, head_modules(adaptation)
    forms = [change.form() for change in adaptation.changes]
    tensors = [form for form in forms if isinstance(form, NewTensor | NewEntries)]
    norms = [form.path for form in tensors if isinstance(model.get_submodule(form.path), nn.LayerNorm)]
    norms = list(dict.fromkeys(norms))  # two tensors of one LayerNorm have one path
    values = {f"{path}.{name}": value for path in norms for name, value in _values(model, path).items()}
    others = [form for form in forms if getattr(form, "path", None) not in norms]
    if norms and not others:
        tuner, values, norms = _layer_norms(norms, values), {}, []
    else:
        tuner = _tuner(model, others)
    return PeftAdapter(
        tuner, {**values, **adaptation.head}, [*modules_to_save, *norms], head_kind(model).peft
    )


def _values(model: PreTrainedModel, path: str) -> dict[str, Tensor]:
    """Return the adapted weight and bias of a module."""
    module = model.get_submodule(path)
    return {name: value for name in ("weight", "bias") if (value := getattr(module, name)) is not None}


def _tuner(model: PreTrainedModel, forms: Sequence[Form | None]) -> Tuner:
    """Return the one tuner that does what all forms do.

    Raises:
        InputError: if there is none.
    """
    if len(forms) == 1 and isinstance(forms[0], Tuner):
        return forms[0]
    if not forms:
        raise InputError("A folder of peft holds a tuner, and this method trains the head alone.")
    low_rank = [form for form in forms if isinstance(form, LowRank)]
    if len(low_rank) == len(forms):
        return _low_rank(low_rank)
    tensors = [form for form in forms if isinstance(form, NewTensor | NewEntries)]
    biases = [form for form in tensors if _is_linear(model, form, ".bias")]
    if len(biases) == len(forms):
        return _biases(model, biases)
    entries = [form for form in tensors if isinstance(form, NewEntries)]
    weights = [form for form in entries if _is_linear(model, form, ".weight")]
    if len(weights) == len(forms):
        return _entries(model, weights)
    if len(entries) == len(forms):
        other = [form.name for form in entries if form not in weights]
        raise InputError(
            "peft's tuner of single entries (SUPERTUNING) holds weights of linear layers, and this mask also "
            f"has entries in other tensors, such as {other[0]!r}. A mask without them can be exported: "
            "method.exclude='embeddings|bias'."
        )
    raise InputError("peft has no tuner that computes the same function as this method.")


def _is_linear(model: PreTrainedModel, form: NewTensor | NewEntries, tensor: str) -> bool:
    return isinstance(model.get_submodule(form.path), nn.Linear) and form.name.endswith(tensor)


def _low_rank(forms: Sequence[LowRank]) -> Tuner:
    from peft import LoraConfig

    ranks = {form.path: len(form.a) for form in forms}
    # peft multiplies the product by alpha / rank, which is one here.
    config = LoraConfig(target_modules=list(ranks), rank_pattern=ranks, alpha_pattern=ranks)
    sides = {f"{form.path}.lora_A.weight": form.a for form in forms}
    return _named(config, sides | {f"{form.path}.lora_B.weight": form.b for form in forms})


def _biases(model: PreTrainedModel, forms: Sequence[NewTensor | NewEntries]) -> Tuner:
    from peft import BeftConfig

    def difference(form: NewTensor | NewEntries) -> Tensor:
        if isinstance(form, NewTensor):
            return form.values - form.original
        bias: Any = model.get_submodule(form.path).bias
        return torch.zeros_like(bias).index_copy(0, form.positions, form.delta)

    tensors = {f"{form.path}.beft_bias": difference(form)[None] for form in forms}
    return _named(BeftConfig(target_modules=[form.path for form in forms]), tensors)


def _entries(model: PreTrainedModel, forms: Sequence[NewEntries]) -> Tuner:
    """Return entries as SUPERTUNING, which has the same fraction of entries in every layer.

    Layers with fewer entries are filled up with differences of zero at position zero.
    """
    from peft import SupertuningConfig

    sizes = [_values(model, form.path)["weight"].numel() for form in forms]
    # Half an entry more: peft rounds down, and would lose the last entry if a product were just below it.
    density = max((len(form.positions) + 0.5) / size for form, size in zip(forms, sizes, strict=True))
    config = SupertuningConfig(target_modules=[form.path for form in forms], sparsity=max(0.0, 1 - density))
    tensors = {}
    for form, size in zip(forms, sizes, strict=True):
        filling = (0, int(size * (1 - config.sparsity)) - len(form.positions))
        tensors[f"{form.path}.supertuning_values"] = nn.functional.pad(form.delta, filling)
        tensors[f"{form.path}.supertuning_indices"] = nn.functional.pad(form.positions.int(), filling)
    return _named(config, tensors)


def _layer_norms(paths: Sequence[str], values: Mapping[str, Tensor]) -> Tuner:
    from peft import LNTuningConfig

    # peft has the values of a LayerNorm in a module of its own, below the LayerNorm
    tensors = {".ln_tuning_layers.".join(name.rsplit(".", 1)): value for name, value in values.items()}
    return _named(LNTuningConfig(target_modules=list(paths)), tensors)


def _named(config: PeftConfig, tensors: Mapping[str, Tensor]) -> Tuner:
    return Tuner(config, {_PREFIX + name: value for name, value in tensors.items()})
