"""From the composed configuration to the page about what each method can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hydra
import pytest

from gluelamp.cli.app import CONFIGS, plain
from gluelamp.cli.capabilities import CapabilitiesConfig, parse_capabilities, write_capabilities
from gluelamp.errors import InputError
from methods.rows import ARCHITECTURES

Parse = Callable[..., CapabilitiesConfig]


@pytest.fixture
def parsed() -> Parse:
    def parse(*overrides: str) -> CapabilitiesConfig:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return parse_capabilities(plain(hydra.compose("capabilities", overrides=list(overrides))))

    return parse


def test_every_leaf_is_tried_on_every_architecture(parsed: Parse) -> None:
    config = parsed()
    assert {method.name for method in config.methods} == {p.stem for p in (CONFIGS / "method").glob("*.yaml")}
    tried = {shape.shape["model_type"] for shape in config.architectures.values()}
    assert tried == set(ARCHITECTURES)
    assert config.page == Path("docs/capabilities.md")


def test_some_leaves_can_be_tried_alone(parsed: Parse, tmp_path: Path) -> None:
    config = parsed("methods=[compacter_plus,head_only]", f"page={tmp_path / 'page.md'}")
    page = write_capabilities(replace(config, full=config.small, architectures={"bert": config.small}))
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")] == [
        *("method", ":--", "compacter_plus", "head_only"),
        *("method", ":--", "compacter_plus", "head_only"),
    ]


def test_a_single_leaf_needs_no_list(parsed: Parse) -> None:
    assert [method.name for method in parsed("methods=lora").methods] == ["lora"]


def test_the_small_shape_is_the_full_one_cut_down(parsed: Parse) -> None:
    config = parsed("methods=[head_only]")
    cut = {"num_hidden_layers", "vocab_size"}
    full, small = config.full.shape, config.small.shape
    assert {key for key in full if full[key] != small[key]} == cut
    assert full.keys() == small.keys()


def test_an_unknown_leaf_is_refused(parsed: Parse) -> None:
    with pytest.raises(InputError, match="method 'loora' is unknown; did you mean 'lora'"):
        parsed("methods=[loora]")


@pytest.mark.parametrize(
    ("page", "sentence"),
    [("", r"page='' is not allowed: give a path\."), (".", r"page=\. is a folder; give a file")],
)
def test_a_page_that_is_no_file_is_refused(parsed: Parse, page: str, sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{sentence}"):
        parsed("methods=lora", f"page={page}")


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_tried(
    parsed: Parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setattr("gluelamp.cli.capabilities.make_bench", lambda *_: pytest.fail("a method was tried"))
    with pytest.raises(FileExistsError):
        write_capabilities(parsed("methods=lora", f"page={tmp_path / 'taken' / 'page.md'}"))
