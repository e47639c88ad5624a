"""The command ``gluelamp``: one table of subcommands, of which only the chosen one is imported."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import NamedTuple, NoReturn

from gluelamp import __version__
from gluelamp.errors import unknown


class Subcommand(NamedTuple):
    """A subcommand.

    Args:
        function: ``module:name``. It takes the composed configuration as plain containers.
        help: one line.
        has_config: whether Hydra composes ``configs/<subcommand>.yaml`` for the function. Without it the
            function takes no arguments and reads ``sys.argv`` itself.
    """

    function: str
    help: str
    has_config: bool = True


_COMMANDS = "gluelamp.cli.commands"
SUBCOMMANDS = {
    "train": Subcommand(f"{_COMMANDS}:train", "Train one run, or with -m a sweep."),
    "measure": Subcommand(f"{_COMMANDS}:measure", "Count, time or certify the cost of a method."),
    "report": Subcommand(f"{_COMMANDS}:report", "Write tables, figures and the page of a results folder."),
    "predict": Subcommand(f"{_COMMANDS}:predict", "Write the test server's files of a finished run."),
    "export": Subcommand(f"{_COMMANDS}:export", "Write the model of a finished run for other libraries."),
    "prepare": Subcommand(f"{_COMMANDS}:prepare", "Copy tasks to a local folder of checked Parquet."),
    "compare": Subcommand(
        "gluelamp.cli.compare:main", "Compare predictions of any program on the same rows.", has_config=False
    ),
    "choose": Subcommand(
        f"{_COMMANDS}:choose", "Try several methods on your data, and say which one to take."
    ),
    "publish": Subcommand(f"{_COMMANDS}:publish", "Add printed numbers to those of the papers."),
}


def main() -> NoReturn:
    """Run the subcommand that the command line names, and exit."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        sys.stdout.write(_help())
        sys.exit(0)
    if name in ("--shell-completion", "-sc"):
        _complete(arguments)
    if name == "--version":
        sys.stdout.write(f"gluelamp {__version__}\n")
        sys.exit(0)
    if name not in SUBCOMMANDS:
        sys.stderr.write(f"error: {unknown('subcommand', name, SUBCOMMANDS)}\n")
        sys.exit(2)
    sys.argv = [f"gluelamp {name}", *arguments]  # the name of the program in messages of usage
    run(name)


def run(name: str) -> NoReturn:
    """Run a subcommand with the arguments in ``sys.argv``, and exit.

    Args:
        name: of the subcommand.
    """
    # A terminal without Unicode, such as one with PYTHONIOENCODING=ascii, shows a question mark for a letter.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    command = SUBCOMMANDS[name]
    module, _, function_name = command.function.partition(":")
    function = getattr(import_module(module), function_name)
    try:
        if command.has_config:
            from gluelamp.cli.app import run_app

            run_app(function, name)
        sys.exit(function())
    except BrokenPipeError:  # the reader of the output has ended, such as `head`
        # Python flushes standard output at exit, which must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _complete(arguments: list[str]) -> NoReturn:
    """Write names of subcommands for a shell, or what Hydra completes after one, or Hydra's script."""
    sys.argv = ["gluelamp", "--shell-completion", *arguments]
    if not any(word.startswith("query=") for word in arguments):
        run("train")  # the script that install=SHELL writes is the same for all
    line = os.environ.get("COMP_LINE", "")
    complete = re.match(r"\s*\S+\s+(\S+)\s(.*)", line)
    if complete is None:
        start = line.partition(" ")[2].strip()
        sys.stdout.write("".join(f"{name}\n" for name in SUBCOMMANDS if name.startswith(start)))
        sys.exit(0)
    name, rest = complete.groups()
    if name not in SUBCOMMANDS or not SUBCOMMANDS[name].has_config:
        sys.exit(0)
    os.environ["COMP_LINE"] = f"gluelamp {rest}"
    run(name)


def _help() -> str:
    width = max(map(len, SUBCOMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in SUBCOMMANDS.items()]
    return "\n".join(
        [
            "usage: gluelamp SUBCOMMAND [OPTIONS] [KEY=VALUE ...]",
            "",
            *lines,
            "",
            "gluelamp SUBCOMMAND --help lists the choices and options of a subcommand.",
            "",
        ]
    )
