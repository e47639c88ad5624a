"""The pages for readers agree with the repository: paths, commands, Python examples, targets and scores."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from markdown_it import MarkdownIt
from omegaconf import OmegaConf

from gluelamp.cli.app import plain
from gluelamp.cli.main import SUBCOMMANDS
from gluelamp.cli.method_pages import (
    TOKENS,
    configured_backbones,
    configured_methods,
    find_capabilities,
    methods_page,
)
from gluelamp.experiments.measure import parse_measure
from gluelamp.experiments.plan import check_run
from gluelamp.methods.base import Method
from gluelamp.package_data import CONFIGS
from gluelamp.reporting.capabilities import capabilities_page

ROOT = CONFIGS.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "results/README.md")),
    *(ROOT / "results" / folder / "README.md" for folder in ("reference", "published")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PACKAGE = ROOT / "src" / "gluelamp"
FOLDERS = ("src", "configs", "scripts", "tests", "docs", "benchmarks", "results", ".ci")
PATH = re.compile(r"(?:[\w.<>*{},-]+/)+[\w.<>*{},-]*|\b\w+\.(?:py|yaml|toml|txt)\b")
# Written by runs, or a user's own, and therefore not in the repository.
WRITTEN = (
    *(
        f"results/{part}"
        for part in ("cache", "choose", "debug", "runs", "shared", "submissions", "tables", "report.html")
    ),
    "glue_data/",
    "cola/",
    "data/",
    "my_package/",
    "my_configs/",
    "configs/local/",
)
# Only these commands exist, because PATH is empty: any other command fails the test.
SHELL = "\n".join(
    [
        "set -eu; PATH=",
        "python() { printf '%s\\t' \"$@\"; echo; }",
        "gluelamp() { printf '%s\\t' gluelamp \"$@\"; echo; }",
        *(f"function {name} {{ :; }}" for name in ("python3", "pip", "make", "cp", "rm", ".venv/bin/pip")),
        "",
    ]
)


def blocks(page: Path, language: str) -> list[str]:
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [token.content for token in tokens if token.type == "fence" and token.info == language]


def code(page: Path) -> Iterator[str]:
    """Yield the code of a page: spans in its text and tables, and indented or fenced blocks."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            yield token.content
        yield from (child.content for child in token.children or () if child.type == "code_inline")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def expand_braces(name: str) -> list[str]:
    """Expand `a.{csv,md}` to `a.csv` and `a.md`."""
    match = re.search(r"{([^{}]*)}", name)
    if not match:
        return [name]
    options = match[1].split(",")
    return [
        full for one in options for full in expand_braces(name[: match.start()] + one + name[match.end() :])
    ]


def exists(name: str, page: Path) -> bool:
    """Whether a path, perhaps with placeholders, exists below the root, the package or the page's folder."""
    globs = [re.sub(r"<[^>]*>", "*", one).rstrip("/") for one in expand_braces(name)]
    folders = (ROOT, PACKAGE, PACKAGE / "methods", page.parent)
    return all(any(next(folder.glob(glob), None) for folder in folders) for glob in globs)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_paths_that_a_page_names_exist(page: Path) -> None:
    named = {match for text in code(page) for match in PATH.findall(text)}
    checked = {name for name in named if name.startswith(tuple(f"{folder}/" for folder in FOLDERS))}
    checked |= {name for name in named if re.search(r"\.(py|yaml|toml)$|^[a-z_]+/$", name)}
    wrong = sorted(name for name in checked if not name.startswith(WRITTEN) and not exists(name, page))
    assert not wrong, f"{page_id(page)} names paths that do not exist: {wrong}"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield each script's path, or `gluelamp`, and its arguments, as Bash passes them."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            done = subprocess.run(
                [shutil.which("bash") or "bash", "-c", SHELL + block],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{page_id(page)}: {done.stderr}"
            for line in done.stdout.splitlines():
                script, *arguments = line.rstrip("\t").split("\t")
                yield script, arguments


COMMANDS = sorted({(script, shlex.join(arguments)) for script, arguments in commands()})


def jobs(config: str, arguments: list[str]) -> list[list[str]]:
    """Return overrides of single jobs, so that each value of a sweep is in one of them."""
    values: dict[str, list[str]] = {}
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        experiment = [one for one in arguments if one.startswith("experiment=")]
        composed = compose(config, overrides=experiment, return_hydra_config=True)
        params = OmegaConf.to_container(composed.hydra.sweeper.params or OmegaConf.create(), resolve=False)
        own = [f"{key}={value}" for key, value in dict(params).items()]
        parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        for text, override in zip(
            [*own, *arguments], parser.parse_overrides([*own, *arguments]), strict=True
        ):
            key = override.get_key_element()
            sweeps = override.is_sweep_override()
            options = [f"{key}={one}" for one in override.sweep_string_iterator()] if sweeps else [text]
            values[key] = (
                options[:1] if text in own else options
            )  # tests/experiments checks an experiment's own
    longest = max(map(len, values.values()), default=0)
    return [[options[i % len(options)] for options in values.values()] for i in range(longest)] or [[]]


def test_the_page_of_the_command_lists_the_subcommands() -> None:
    page = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE)) == set(SUBCOMMANDS)


def write_own_rows(path: Path) -> None:
    """Write the rows of a task on own data, if a command names such a file."""
    rows = [
        {**dict.fromkeys(("text", "sentence", "question", "answer"), f"text {number}"), "writer": "a"}
        | {"label": number % 2, "score": number / 2}
        for number in range(20)
    ]
    frame = pd.DataFrame(rows)
    if path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif path.suffix in (".csv", ".tsv"):
        frame.to_csv(path, sep="," if path.suffix == ".csv" else "\t", index=False)


@pytest.mark.parametrize(("script", "line"), COMMANDS)
def test_the_commands_of_the_pages_compose(script: str, line: str, tmp_path: Path) -> None:
    arguments = [word.replace("DIR", str(tmp_path)) for word in shlex.split(line)]
    if script == "gluelamp":
        config, *arguments = arguments
        assert config in (*SUBCOMMANDS, "--help", "-sc")
    else:
        assert (ROOT / script).is_file()
        config = Path(script).stem
    if not (CONFIGS / f"{config}.yaml").is_file():
        return  # not a command of Hydra
    parsed = get_args_parser().parse_intermixed_args(arguments)
    if parsed.config_dir:
        return  # its choices are in a folder that does not exist
    arguments = parsed.overrides
    for word in arguments:
        write_own_rows(Path(word.rpartition("=")[2]))
    for job in jobs(config, arguments):
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            raw = plain(compose(config, overrides=job))
        if config == "measure":
            parse_measure(raw)
        elif config in ("train", "predict", "export", "choose"):
            own = ("choose", "predict", "format", "destination", "selection", "push")
            check_run({key: value for key, value in raw.items() if key not in own})


# The pages name models of the hub. The tests have a tiny one instead, with any head.
OFFLINE = """
import sys
import transformers

for auto in (name for name in dir(transformers) if name.startswith(("AutoModel", "AutoTokenizer"))):
    own = getattr(transformers, auto).from_pretrained
    getattr(transformers, auto).from_pretrained = lambda name, own=own, **options: own(sys.argv[1], **options)
"""


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=page_id)
def test_the_python_examples_of_a_page_run(page: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    # In one program: an example may use what one above it made.
    program = "\n".join([OFFLINE, *blocks(page, "python")])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny_backbone)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_make_targets_of_a_page_exist(page: Path) -> None:
    targets = set(
        re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = {match for text in code(page) for match in re.findall(r"(?:^|\n)make ([a-z-]+)", text)}
    assert named <= targets


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "results.md"], ids=page_id)
def test_the_scores_of_a_page_are_in_a_table(page: Path) -> None:
    tables = "".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "results/reference/tables").glob("*.md"))
    )
    scores = set(
        re.findall(r"[−+]?\d+\.\dᶜ? \[[−+]?\d+\.\d, [−+]?\d+\.\d\]", page.read_text(encoding="utf-8"))
    )
    assert len(scores) >= 10
    assert not sorted(score for score in scores if score not in tables)


@pytest.fixture(scope="module")
def methods() -> dict[str, Method]:
    return configured_methods()


def test_the_page_of_the_methods_is_the_generated_one(methods: dict[str, Method]) -> None:
    committed = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert committed == methods_page(methods), "run `make method-pages`"


def test_the_page_of_capabilities_has_the_counts_of_today(methods: dict[str, Method]) -> None:
    # One method: all of them take two minutes. tests/experiments checks that the page lists each.
    backbones = configured_backbones()
    counted = find_capabilities("hiwi", methods["hiwi"], backbones)
    row = capabilities_page([counted], backbones[0].name, TOKENS).split("\n| hiwi |")[1].partition("\n")[0]
    committed = (ROOT / "docs" / "capabilities.md").read_text(encoding="utf-8")
    assert f"| hiwi |{row}\n" in committed, "run `make method-pages`"
