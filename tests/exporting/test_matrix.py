"""The matrix of the formats in the documentation is the generated one."""

from __future__ import annotations

from pathlib import Path

from gluelamp.cli.export_matrix import export_matrix
from gluelamp.cli.method_pages import configured_backbones, configured_methods

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def test_the_committed_matrix_is_the_generated_one() -> None:
    # phases take seconds each, also without values
    methods = {name: method for name, method in configured_methods().items() if not method.phases()}
    generated = export_matrix(methods, configured_backbones()[0]).splitlines()
    committed = PAGE.read_text(encoding="utf-8").splitlines()
    assert not [line for line in generated if line not in committed], "run `make method-pages`"
