"""Files of a model folder that do not fit each other or the task are refused before any training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from gluelamp.backbones import load
from gluelamp.backbones.anatomy import ARCHITECTURES, anatomy
from gluelamp.backbones.load import BackboneConfig, Checkpoint, find_checkpoint, load_model, load_tokenizer
from gluelamp.errors import InputError
from tiny_models import LAYERS, SHAPES, VOCABULARY, same_bits, tiny

EVERY = sorted(ARCHITECTURES)


@pytest.fixture(params=EVERY)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A complete folder of one architecture: random weights and a tokenizer that fits them."""
    return complete(request.param, tmp_path / "model")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return complete("bert", tmp_path / "model")


def complete(architecture: str, folder: Path) -> Path:
    tiny(architecture).save_pretrained(folder)
    save_tokenizer(folder, pad=SHAPES[architecture]["pad_token_id"])
    return folder


def save_tokenizer(
    folder: Path, pad: int = 0, words: int = VOCABULARY - 5, processor: bool = True, **options: Any
) -> None:
    """Write a tokenizer of words ``w0``, ``w1``, ... with types if the options name them as inputs."""
    pieces = ["[CLS]", "[SEP]", "[UNK]", "[MASK]", *(f"w{number}" for number in range(words))]
    pieces.insert(pad, "[PAD]")
    ids = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if processor:
        special = [(name, ids[name]) for name in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
        )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    names["mask_token"] = "[MASK]"
    settings = {"model_input_names": ["input_ids", "attention_mask"], **names, **options}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)


def edit(path: Path, **options: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | options))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def encoder(folder: Path) -> PreTrainedModel:
    """The model that `complete` stored."""
    return tiny(json.loads((folder / "config.json").read_text())["model_type"])


def found(folder: Path) -> Checkpoint:
    return find_checkpoint(BackboneConfig(name="ours", shape={"model_type": "bert"}, path=str(folder)))


def test_a_folder_whose_files_fit_is_loaded(folder: Path) -> None:
    checkpoint = found(folder)
    assert len(load_tokenizer(checkpoint, texts=2)) == VOCABULARY
    model = load_model(checkpoint, 2, "sdpa")
    stored = load_file(folder / "model.safetensors")
    for name in anatomy(model).encoder_parameters:
        assert same_bits(model.get_parameter(name), stored[name]), name


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("is_encoder_decoder", True),
        ("return_dict", False),
        ("auto_map", {"AutoModel": "modeling.Model"}),
        ("configuration_files", ["config.json", "config.4.0.0.json"]),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ("transformers_weights", "other.safetensors"),
    ],
)
def test_an_option_that_changes_what_is_read_or_computed_is_refused(
    option: str, value: Any, folder: Path
) -> None:
    edit(folder / "config.json", **{option: value})
    with pytest.raises(InputError, match=rf"config\.json .*{option}"):
        found(folder)


def test_an_unknown_architecture_is_refused(bert: Path) -> None:
    edit(bert / "config.json", model_type="gpt2")
    with pytest.raises(InputError, match=r"model_type 'gpt2' is unknown.*Known: bert"):
        found(bert)


@pytest.mark.parametrize("content", ["", "[1]", "{", "\udcff"])
def test_a_config_that_is_no_json_object_is_refused(content: str, bert: Path) -> None:
    (bert / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"config\.json holds no JSON object"):
        found(bert)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("auto_map", {"AutoTokenizer": ["tokenization.Tokenizer", None]}),
        ("fast_tokenizer_files", ["tokenizer.json", "other/tokenizer.4.0.0.json"]),
    ],
)
def test_code_and_files_that_a_tokenizer_names_are_refused(option: str, value: Any, bert: Path) -> None:
    edit(bert / "tokenizer_config.json", **{option: value})
    with pytest.raises(InputError, match=rf"tokenizer_config\.json names .*{option}"):
        found(bert)


@pytest.mark.parametrize("option", ["tokenizer_file", "vocab_file", "special_tokens_map_file"])
def test_paths_in_the_settings_of_a_tokenizer_are_not_read(option: str, bert: Path, tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "other", words=20)
    before = load_tokenizer(found(bert)).get_vocab()
    edit(bert / "tokenizer_config.json", **{option: str(tmp_path / "other" / "tokenizer.json")})
    assert load_tokenizer(found(bert)).get_vocab() == before


def test_an_adapter_next_to_the_weights_is_refused(bert: Path) -> None:
    (bert / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "other"}')
    with pytest.raises(InputError, match=r"adapter next to the weights .*merge_and_unload"):
        found(bert)


def test_a_distributed_checkpoint_is_refused(bert: Path) -> None:
    (bert / "shard-00000-model-00001-of-00001.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="distributed checkpoint"):
        found(bert)


def test_weights_of_another_name_are_refused(bert: Path) -> None:
    (bert / "model.safetensors").rename(bert / "model.fp16.safetensors")
    with pytest.raises(InputError, match=r"Rename the file of the weights to model\.safetensors"):
        found(bert)


def test_an_index_names_all_shards_of_its_folder_and_no_others(tmp_path: Path) -> None:
    tiny("bert").save_pretrained(tmp_path, max_shard_size="20KB")
    index = tmp_path / "model.safetensors.index.json"
    assert found(tmp_path).checksum
    shards = json.loads(index.read_text())["weight_map"]
    for place in ("../outside.safetensors", "no.safetensors"):
        edit(index, weight_map=shards | {"bert.pooler.dense.bias": place})
        with pytest.raises(InputError, match=f"names other files than the folder holds: .*{place}"):
            found(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("generation_config.json", '{"num_beams": 7, "max_length": 3}'),
        ("chat_template.jinja", "{{ raise_exception('read') }}"),
        ("additional_chat_templates/tool.jinja", "{{ raise_exception('read') }}"),
        ("pytorch_model.bin", "not a pickle"),
        ("tf_model.h5", "not a file of HDF5"),
        ("modeling_bert.py", "raise RuntimeError('run')"),
        ("adapter_model.bin", "not a pickle"),
    ],
)
def test_other_files_of_a_folder_change_nothing(name: str, content: str, bert: Path, tmp_path: Path) -> None:
    def everything() -> tuple[Any, dict[str, torch.Tensor], dict[str, bytes]]:
        checkpoint = found(bert)
        torch.manual_seed(0)
        load_model(checkpoint, 2, "sdpa").save_pretrained(tmp_path / "written")
        load_tokenizer(checkpoint).save_pretrained(tmp_path / "written")
        files = {path.name: path.read_bytes() for path in (tmp_path / "written").iterdir()}
        return (checkpoint.checksum, checkpoint.settings), files

    before = everything()
    (bert / name).parent.mkdir(exist_ok=True)
    (bert / name).write_text(content)
    assert everything() == before


def test_fewer_layers_than_in_the_weights_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    name = "n_layers" if "n_layers" in config else "num_hidden_layers"
    types = config.get("layer_types") or []
    edit(folder / "config.json", **{name: 1}, **({"layer_types": types[:1]} if types else {}))
    with pytest.raises(InputError, match=f"has 1 layers and the weights have {LAYERS}"):
        load_model(found(folder), 2, "sdpa")


@pytest.mark.parametrize("architecture", EVERY)
def test_fewer_layers_than_in_the_weights_of_a_bare_encoder_are_refused(
    architecture: str, tmp_path: Path
) -> None:
    model = tiny(architecture)
    if architecture == "modernbert":
        pytest.skip("its head is pre-trained, so weights without it are refused")
    model.base_model.save_pretrained(tmp_path)
    name = "n_layers" if architecture == "distilbert" else "num_hidden_layers"
    edit(tmp_path / "config.json", **{name: 1})
    with pytest.raises(InputError, match=f"has 1 layers and the weights have {LAYERS}"):
        load_model(found(tmp_path), 2, "sdpa")


def test_surplus_tensors_of_the_encoder_are_refused_and_those_of_other_heads_are_not(folder: Path) -> None:
    prefix = encoder(folder).base_model_prefix
    others = ("lm_head.bias", "cls.predictions.bias", f"{prefix}.embeddings.position_ids")
    change_weights(folder, lambda tensors: tensors.update({name: torch.zeros(3) for name in others}))
    load_model(found(folder), 2, "sdpa")
    surplus = f"{prefix}.embeddings.distance_embedding.weight"
    change_weights(folder, lambda tensors: tensors.update({surplus: torch.zeros(3)}))
    with pytest.raises(InputError, match=rf"the weights hold '{surplus}', one of 1 tensors"):
        load_model(found(folder), 2, "sdpa")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(value: float, folder: Path) -> None:
    names = anatomy(encoder(folder)).encoder_parameters
    for name in (names[0], names[-1]):
        change_weights(folder, lambda tensors, name=name: tensors[name].view(-1)[-1:].fill_(value))
        with pytest.raises(InputError, match="has values that are NaN or infinite"):
            load_model(found(folder), 2, "sdpa")


def test_opposite_infinities_are_refused_and_large_values_are_not(bert: Path) -> None:
    def fill(*values: float) -> None:
        def change(tensors: dict[str, torch.Tensor]) -> None:
            tensors["bert.pooler.dense.bias"][: len(values)] = torch.tensor(values)

        change_weights(bert, change)

    fill(3e38, 3e38)  # their sum is infinite
    load_model(found(bert), 2, "sdpa")
    fill(float("inf"), -float("inf"))
    with pytest.raises(InputError, match=r"'bert\.pooler\.dense\.bias' has values that are NaN"):
        load_model(found(bert), 2, "sdpa")


def test_quantized_weights_are_refused(folder: Path) -> None:
    name = anatomy(encoder(folder)).encoder_parameters[-1]
    change_weights(folder, lambda tensors: tensors.update({name: tensors[name].to(torch.int8)}))
    with pytest.raises(InputError, match=f"'{name}' has the type I8"):
        load_model(found(folder), 2, "sdpa")


@pytest.mark.parametrize("option", ["vocab_size", "max_position_embeddings", "hidden_size"])
def test_sizes_of_another_checkpoint_are_refused(option: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    name = "dim" if option == "hidden_size" and "dim" in config else option
    if option == "max_position_embeddings" and config["model_type"] in ("deberta-v2", "modernbert"):
        pytest.skip("its positions are relative, and have no table of this size")
    edit(folder / "config.json", **{name: 2 * config[name]})
    with pytest.raises(InputError, match=r"has another shape than in config\.json"):
        load_model(found(folder), 2, "sdpa")


def test_a_head_that_is_not_used_may_hold_any_values(bert: Path) -> None:
    change_weights(bert, lambda tensors: tensors["classifier.weight"].fill_(float("nan")))
    assert load_model(found(bert), 2, "sdpa").classifier.weight.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": VOCABULARY - 4}, f"token ids up to {VOCABULARY}, and .* {VOCABULARY} tokens"),
        ({"words": 0}, "empty vocabulary"),
        ({"pad_token": None}, "no pad_token"),
        ({"pad_token": "[MASK]"}, r"pads with token \d, and config.json has pad_token_id \d"),
        ({"processor": False}, r"adds no special tokens such as \[CLS\] and \[SEP\]"),
    ],
)
def test_a_tokenizer_that_does_not_fit_the_encoder_is_refused(
    options: dict[str, Any], message: str, folder: Path
) -> None:
    pad = json.loads((folder / "config.json").read_text())["pad_token_id"]
    save_tokenizer(folder, pad=pad, **options)
    with pytest.raises(InputError, match=message):
        load_tokenizer(found(folder))


@pytest.mark.parametrize("architecture", EVERY)
def test_token_types_without_an_embedding_are_refused_for_pairs_only(
    architecture: str, tmp_path: Path
) -> None:
    folder = complete(architecture, tmp_path / "model")
    save_tokenizer(
        folder,
        pad=SHAPES[architecture]["pad_token_id"],
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    types = json.loads((folder / "config.json").read_text()).get("type_vocab_size")
    checkpoint = found(folder)
    load_tokenizer(checkpoint, texts=1)
    if types == 1:
        with pytest.raises(InputError, match="gives token type 1 to the second text of a pair"):
            load_tokenizer(checkpoint, texts=2)
        return
    inputs = load_tokenizer(checkpoint, texts=2)("w0 w1", "w2", return_tensors="pt")
    assert load_model(checkpoint, 2, "sdpa").eval()(**inputs).logits.isfinite().all()


@pytest.mark.parametrize("files", ["vocab.txt", "tokenizer.json"])
def test_an_empty_vocabulary_is_refused(files: str, bert: Path) -> None:
    for path in [*bert.glob("*token*.json"), *bert.glob("vocab*")]:
        path.unlink()
    if files == "vocab.txt":
        (bert / files).write_text("")
    else:
        Tokenizer(WordPiece({}, unk_token="[UNK]")).save(str(bert / files))
    with pytest.raises(InputError, match="empty vocabulary"):
        load_tokenizer(found(bert))


class TestSentencePiece:
    """A DeBERTa folder with ``spm.model`` and no ``tokenizer.json``, as published."""

    @pytest.fixture
    def spm(self, tmp_path: Path) -> Path:
        sentencepiece = pytest.importorskip("sentencepiece")
        folder = tmp_path / "model"
        tiny("deberta-v2").save_pretrained(folder)
        corpus = tmp_path / "corpus.txt"
        corpus.write_text("a lamp on a table\nthe glue holds the table and the lamp\n" * 20)
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus),
            model_prefix=str(folder / "spm"),
            vocab_size=23,
            minloglevel=2,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            pad_piece="[PAD]",
            bos_piece="[CLS]",
            eos_piece="[SEP]",
            unk_piece="[UNK]",
        )
        (folder / "spm.vocab").unlink()
        return folder

    def test_it_is_read(self, spm: Path) -> None:
        tokenizer = load_tokenizer(found(spm), texts=2)
        assert tokenizer.convert_ids_to_tokens(tokenizer("a lamp", "the glue")["input_ids"])[0] == "[CLS]"

    def test_without_the_package_its_extra_is_named(self, spm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(load, "find_spec", lambda _name: None)
        with pytest.raises(InputError, match=r"pip install 'gluelamp\[sentencepiece\]'"):
            load_tokenizer(found(spm))

    def test_a_damaged_file_is_refused(self, spm: Path) -> None:
        (spm / "spm.model").write_bytes(b"damaged")
        with pytest.raises(InputError, match=r"no usable tokenizer \(its \*\.model is no file of"):
            load_tokenizer(found(spm))
