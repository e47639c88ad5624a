"""`import gluelamp as gl`: every name of the front door exists, and methods are found by class or by name."""

from __future__ import annotations

import ast
import importlib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import gluelamp as gl
from gluelamp import package_data
from gluelamp.methods import registry
from gluelamp.package_data import CONFIGS

STUB = Path(gl.__file__).with_suffix(".pyi")


def test_every_public_name_is_imported_when_it_is_used() -> None:
    assert dir(gl) == sorted(gl.__all__)
    assert len(set(gl.__all__)) == len(gl.__all__) > 40
    for name in gl.__all__:
        assert callable(getattr(gl, name)) or name == "__version__"
    with pytest.raises(AttributeError, match=r"no attribute 'Lora'.*LoRA"):
        _ = gl.Lora


def test_type_checkers_see_the_same_names() -> None:
    declared = set()
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            declared |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef):
            declared.add(node.name)
        elif isinstance(node, ast.Assign):
            declared |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            declared.add(node.target.id)
    assert declared == set(gl.__all__)


def test_every_class_of_a_method_config_has_its_name_in_the_front_door() -> None:
    found = gl.methods()
    assert set(found) == {path.stem for path in (CONFIGS / "method").glob("*.yaml")}
    assert {cls.__name__ for cls in found.values()} <= set(gl.__all__)
    assert all(getattr(gl, cls.__name__) is cls for cls in found.values())
    assert (found["xpeft"], found["fish"]) == (gl.XPEFT, gl.FISH)
    found.clear()  # the caller's own copy
    importlib.import_module("gluelamp.methods.pafi")  # an import of the package does not hide the function
    assert gl.methods()["pafi"] is gl.PaFi


def test_a_method_by_name_has_the_options_of_its_config() -> None:
    assert gl.method("lora", rank=4) == gl.LoRA(rank=4)
    assert gl.method("xpeft_soft") == gl.XPEFT(mask="soft")
    assert gl.method("sparse_largest").order == "largest"
    assert gl.method("hiwi_weight", bottleneck=2).target == "weight"
    with pytest.raises(gl.InputError, match="'lora'"):
        gl.method("lorra")
    with pytest.raises(gl.InputError, match="did you mean 'rank'"):
        gl.method("lora", rnak=8)
    with pytest.raises(gl.InputError, match=r"method\.rank=0 is not allowed"):
        gl.method("lora", rank=0)


def test_the_default_rates_are_those_of_the_nearest_config() -> None:
    assert registry.default_rates(gl.PaFi()) == (1e-2, 5e-3)
    assert registry.default_rates(gl.PaFi(density=0.1)) == (1e-2, 5e-3)
    hard, soft = (registry.default_rates(gl.XPEFT(mask=mask)) for mask in ("hard", "soft"))
    assert hard != soft == registry.default_rates(gl.method("xpeft_soft", num_adapters=10))
    assert soft[0] == 0.1


def test_a_method_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("my_bitfit", "gluelamp.methods.bitfit:BitFit", package_data.METHOD_GROUP)
    with monkeypatch.context() as patch:
        patch.setattr(package_data, "entry_points", lambda group: [entry])
        forget()
        assert gl.methods()["my_bitfit"] is gl.BitFit
        assert gl.method("my_bitfit", pooler=False) == gl.BitFit(pooler=False)
    forget()
    assert "my_bitfit" not in gl.methods()


def forget() -> None:
    registry.known_methods.cache_clear()
    registry.method_config.cache_clear()
