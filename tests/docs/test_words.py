"""The project uses the field's terms: its former jargon does not return to code, configs or documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gluelamp.package_data import CONFIGS

ROOT = CONFIGS.parent
PLACES = (
    *("README.md", "CONTRIBUTING.md", "results/README.md"),
    *("results/reference/README.md", "results/published/README.md"),
    *("src/gluelamp", "configs", "docs", "Makefile", "mkdocs.yml", ".ci/run"),
)
SUFFIXES = {".py", ".yaml", ".yml", ".md", ".j2", ".js", ".css", ""}

# Pattern to the term to write instead.
WORDS = {
    r"(?<!third-)\bpersons?\b": "user (whose rows they are), profile (the values trained for a user)",
    r"\bleaf\b(?! tensor)|\b(?:the|its|these|all|method|task|backbone|of) leaves\b": "method config, option",
    r"\brooms?\b|\bhouses?\b|(?<!\.)\bfloors?\b(?!\()": "module, package, layer",
    r"\bhangs? (?:on|from|a)\b|\bhung\b": "is attached by a forward hook, depends on",
    r"\bstands?\b(?! for)|\bstood\b": "is, is listed, is stored",
    r"\bgo(?:es)? on\b|\bgoes_on\b|\bwent on\b|\bgoing on\b": "resumes, continues",
    r"\btold apart\b|\btells? [\w ]*apart\b": "inconclusive, tie",
    r"\bless (?:pafi|pfeiffer|head_only|fish|the adapter|no adapter|\{)|PaFi less\b": "A - B, difference",
    r"\bha(?:s|ve|d) (?:a|no) (?:say|word)\b": "cross-fitted (2-fold) epoch selection",
    r"\blearn\w* about (?:a|the|its) task\b": "preliminary phase",
    r"\bguess(?:es)? without a model\b": "majority or median baseline",
    r"\b(?:re)?opens? the (?:\w+ )?(?:LayerNorm|layer norm|pooler|head|bias|encoder)": "unfreezes",
    r"\bcloses? the (?:\w+ )?(?:LayerNorm|layer norm|pooler|head|bias|encoder)": "freezes",
    r"\banswers on average\b": "initial head bias",
    r"\bbound[_ ]to\b": "provenance",
    r"\bdrawn\b": "sampled, random, generated from a seed; rendered (of a chart)",
    r"\bshares? of\b|\b(?:a|the|its) share\b|_share\b": "fraction, percentage",
    r"\bkept (?:in )?(?:fp32|float32)\b|\bKept\b": "fp32 buffer excluded from the cast",
    r"\btrainer\.together\b|\btogether=": "trainer.profiles_per_pass",
    r"\btask\.users\b|\bshared_then_each\b": "task.profiles=shared|per_user|shared_then_per_user",
    r"\bthe way back\b": "removal; backward pass",
    r"\bhalf of a character\b": "an unpaired surrogate",
    r":(?:func|class|data|mod|meth|attr):`": "plain backticks: the site does not render Sphinx roles",
}
NAMES = {"of", "some", "told", "theirs", "here", "whole", "usual"}  # as identifiers

RENAMED = "an old name, which is refused or upgraded"
# File and part of a line that may use a word, with the reason.
ALLOWED = {
    ("docs/lamp.md", "person whose rows they are"): "the definition of a user",
    ("src/gluelamp/experiments/overrides.py", '"trainer.together": '): RENAMED,
    ("src/gluelamp/experiments/overrides.py", '"task.users": '): RENAMED,
    ("src/gluelamp/experiments/overrides.py", '"shared_then_each": '): RENAMED,
    ("src/gluelamp/records/upgrade.py", '"shared_then_each": '): RENAMED,
    ("src/gluelamp/records/upgrade.py", "each person's validation rows"): RENAMED,
    ("src/gluelamp/records/upgrade.py", "each person's own rows"): RENAMED,
    ("src/gluelamp/records/upgrade.py", '{"persons": "users"}'): RENAMED,
}


def files() -> Iterator[Path]:
    for place in map(ROOT.joinpath, PLACES):
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        yield from (path for path in inside if path.is_file() and path.suffix in SUFFIXES)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_allowed(path: Path, line: str) -> bool:
    return any(path == ROOT / file and text in line for file, text in ALLOWED)


def findings(path: Path) -> Iterator[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        for pattern, better in WORDS.items():
            if (match := re.search(pattern, line)) and not is_allowed(path, line):
                yield f"{name(path)}:{number}: {match[0]!r}; write: {better}"


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the names that a module binds, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def test_no_file_uses_the_former_jargon() -> None:
    found = [finding for path in files() for finding in findings(path)]
    assert not found, "\n".join(found)


def test_no_identifier_is_a_preposition_or_a_pronoun() -> None:
    found = [
        f"{name(path)}:{line}: {bound!r}; name the value by what it holds"
        for path in files()
        if path.suffix == ".py"
        for line, bound in identifiers(ast.parse(path.read_text(encoding="utf-8")))
        if bound in NAMES
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line", ["One leaf a method.", "PaFi less fish: +0.6", "drawn from a seed", "a share of it"]
)
def test_each_pattern_matches_an_example(line: str) -> None:
    assert any(re.search(pattern, line) for pattern in WORDS)


@pytest.mark.parametrize(("file", "text"), ALLOWED)
def test_each_exception_is_used(file: str, text: str) -> None:
    assert text in (ROOT / file).read_text(encoding="utf-8")
