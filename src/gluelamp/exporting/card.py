"""The model card of an export: ``README.md`` with the metadata that the Hugging Face hub reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from gluelamp import __version__
from gluelamp.exporting.adapters import BACKBONE
from gluelamp.exporting.base import Origin, head_kind

if TYPE_CHECKING:
    from huggingface_hub import EvalResult
    from transformers import PreTrainedModel

    from gluelamp.methods.adaptation import Adaptation
    from gluelamp.methods.base import Method


@dataclass(frozen=True)
class Evaluation:
    """A score of the exported values.

    Args:
        task: of the score, such as ``cola``.
        data: what the rows are, in words.
        metric: its name.
        value: as a fraction, or in the units of the labels.
        interval: the 95 % interval over examples; None if it is not known.
        selection: how the epoch was selected, in words.
        split: of the rows.
        dataset: repository of the rows on the hub; None if they are not from there.
        signature: the line from which the score can be repeated; None if it is not known.
        notes: sentences about the rows.
    """

    task: str
    data: str
    metric: str
    value: float
    interval: tuple[float, float] | None
    selection: str
    split: str
    dataset: str | None = None
    signature: str | None = None
    notes: tuple[str, ...] = ()


_LIBRARIES = {"merged": "transformers", "peft": "peft", "adapters": "adapter-transformers"}
"""The hub's name of the library that loads a format; that of ``adapters`` is its former name."""

_CODE = {
    "merged": """from transformers import pipeline

model = pipeline("{pipeline}", "{folder}")
""",
    "peft": """from peft import PeftModel
from transformers import {auto_class}

model = {auto_class}.from_pretrained(
    "{base}",
{settings}    ignore_mismatched_sizes=True,  # the head is that of the adapter
)
model = PeftModel.from_pretrained(model, "{folder}")
""",
    "adapters": """from adapters import AutoAdapterModel

model = AutoAdapterModel.from_pretrained("{base}")
model.load_adapter("{folder}", set_active=True)
""",
}

_CONTENT = {
    "merged": "The method is merged into the weights, which are as large as those of the base model.",
    "peft": "The folder holds an adapter for `peft` and the task head, without the base model.",
    "adapters": "The folder holds an adapter for `adapters` and the task head, without the base model.",
}


def write_card(
    folder: Path, format: str, adaptation: Adaptation, origin: Origin, evaluation: Evaluation | None
) -> None:
    """Write ``README.md``.

    Args:
        folder: of the exported files.
        format: of the files.
        adaptation: what was exported.
        origin: of the model.
        evaluation: the score of the model, if it is known.
    """
    from huggingface_hub import ModelCard, ModelCardData

    kind = head_kind(adaptation.model)
    data = ModelCardData(
        # a folder on this machine has no meaning on the hub
        base_model=None if Path(origin.base).exists() else origin.base,
        library_name=_LIBRARIES[format],
        datasets=[evaluation.dataset] if evaluation and evaluation.dataset else None,
        license="other",
        license_name="not-stated",
        metrics=[evaluation.metric] if evaluation else None,
        model_name=folder.name,
        pipeline_tag=kind.pipeline,
        tags=["gluelamp", *(["adapter-transformers"] if format == "adapters" else [])],
        eval_results=[_result(evaluation)] if evaluation else None,
    )
    base = f"{folder.name}/{BACKBONE}" if (folder / BACKBONE).is_dir() else origin.base
    code = _CODE[format].format(
        base=base,
        folder=folder.name,
        settings="".join(f"    {line},\n" for line in _settings(adaptation.model)),
        auto_class=kind.auto_class,
        pipeline=kind.pipeline,
    )
    described = f"{_described(adaptation.method)} on `{origin.base}`, trained with gluelamp {__version__}."
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {folder.name}",
        f"{described} {_CONTENT[format]}",
        f"## Load it\n\n```python\n{code}```",
        *([_labels(origin)] if origin.labels else []),
        *(_score(evaluation) if evaluation else []),
        "## Licence\n\nThe exporter states no licence of the weights. The licences of the base model and of "
        "the training data apply.",
    ]
    ModelCard("\n\n".join(parts) + "\n").save(folder / "README.md")


def _settings(model: PreTrainedModel) -> list[str]:
    """Return the arguments of ``from_pretrained`` with which the base model gets the settings of a model."""
    names = ("num_labels", "problem_type", "id2label", "label2id")
    settings = {name: getattr(model.config, name) for name in names}
    settings["dtype"] = str(model.dtype).removeprefix("torch.")
    return [f"{name}={value!r}" for name, value in settings.items() if value is not None]


def _described(method: Method) -> str:
    """Return the class of a method, its paper and its options."""
    options = {field.name: getattr(method, field.name) for field in fields(method)}
    listed = ", ".join(f"`{name}={value}`" for name, value in options.items() if value is not None)
    paper = f" ({method.reference})" if method.reference else ""
    return f"{type(method).__name__}{paper}" + (f" with {listed}" if listed else "")


def _labels(origin: Origin) -> str:
    listed = ", ".join(f"{number} = {label}" for number, label in enumerate(origin.labels))
    return f"Classes: {listed}."


def _score(evaluation: Evaluation) -> list[str]:
    interval = "not known"
    if evaluation.interval:
        low, high = evaluation.interval
        interval = f"{low:.4f} to {high:.4f}"
    lines = [
        "| task | rows | metric | score | 95 % interval over examples | epoch |",
        "| :-- | :-- | :-- | --: | :-- | :-- |",
        f"| {evaluation.task} | {evaluation.data}, {evaluation.split} | {evaluation.metric} | "
        f"{evaluation.value:.4f} | {interval} | {evaluation.selection} |",
    ]
    signature = [f"Signature: `{evaluation.signature}`"] if evaluation.signature else []
    return ["## Score", "\n".join(lines), *signature, *evaluation.notes]


def _result(evaluation: Evaluation) -> EvalResult:
    """Return the score as an entry of the model index, which has no field for an interval."""
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="text-classification",
        dataset_type=evaluation.dataset or evaluation.data,
        dataset_name=f"{evaluation.task} ({evaluation.data})",
        dataset_config=evaluation.task if evaluation.dataset else None,
        dataset_split=evaluation.split,
        metric_type=evaluation.metric,
        metric_value=evaluation.value,
        metric_name=f"{evaluation.metric}, {evaluation.selection}",
    )
