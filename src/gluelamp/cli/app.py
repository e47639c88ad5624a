"""The command line: Hydra composes the configuration; bad input ends with one sentence and exit code 2.

This module imports nothing heavy: ``--help`` must answer at once.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import hydra
from hydra import compose
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gluelamp.cli.summary import end_sweep
from gluelamp.cli.terminal import screen
from gluelamp.errors import InputError, unknown
from gluelamp.experiments.compose import initialized_hydra, register_method_packages
from gluelamp.experiments.overrides import quoted, refuse_renamed
from gluelamp.io import user_path
from gluelamp.package_data import CONFIGS, installed_methods

# For the folder of a sweep, which Hydra makes. Here, because each worker of a sweep imports this module.
OmegaConf.register_new_resolver("user_path", lambda place: str(user_path(place)), replace=True)


class RunFailedError(RuntimeError):
    """A run failed, and its record holds the reason. The message is for the user."""


class JobFailedError(Exception):
    """A job of a sweep ended with an exit code other than 0, and has printed the reason.

    Hydra's launchers raise it again at the end of the sweep, in some cases from another process.

    Args:
        code: the exit code of the job.
    """

    def __init__(self, code: int) -> None:
        # the argument is passed on, because a launcher pickles the error in the process of the job
        super().__init__(code)
        self.code = code


def run_app(task: Callable[[dict[str, Any]], object], config_name: str) -> NoReturn:
    """Compose the configuration from the command line, run a task on it, and exit.

    A sweep continues after a job that failed, and exits with the code of the first such job. Exit codes:
    0; 1 if a run failed; 2 on bad input; 130 if interrupted.

    Args:
        task: takes the composed configuration as plain containers.
        config_name: the primary configuration.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises errors here, and does not print them
    # These libraries print their warnings themselves; those of all others end at Hydra's `job_logging`.
    for library in ("TRANSFORMERS", "DATASETS", "HF_HUB"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")

    def job(config: DictConfig) -> None:
        # without -m Hydra ignores the sweep of an experiment, and would train one run of it
        hydra_config = HydraConfig.get()
        if hydra_config.mode is RunMode.RUN and hydra_config.sweeper.params:
            stop(InputError("The experiment is a sweep. Add -m."))
        code = _exit_code(task, config)
        # After an Exception Hydra continues a sweep with the next job; a SystemExit would end it here.
        if code and hydra_config.mode is RunMode.MULTIRUN:
            raise JobFailedError(code)
        if code:
            sys.exit(code)

    register_method_packages()
    decorate = hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)
    try:
        # Before Hydra composes: it would call an old key unknown, and not name the new one.
        for word in sys.argv[1:]:
            key, _, value = word.lstrip("+~").partition("=")
            refuse_renamed(key, value)
        decorate(job)()
    except JobFailedError as error:  # Hydra has not called on_multirun_end
        screen().close()
        end_sweep()
        sys.exit(error.code)
    except KeyboardInterrupt:
        again = "The same command continues from here; with on_existing=retrain it starts from the beginning."
        sys.exit(_print_error(f"interrupted. {again}", 130))
    except InputError as error:
        stop(error)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        stop(explain(error, config_name, sys.argv[1:]))
    except BrokenPipeError:
        raise
    except OSError as error:  # after Hydra's errors, of which some are OSErrors
        sys.exit(_print_error(_cannot_use(error), 2))
    sys.exit(0)


def _exit_code(task: Callable[[dict[str, Any]], object], config: DictConfig) -> int:
    try:
        task(plain(config))
    except InputError as error:
        return _print_error(str(error), 2)
    except RunFailedError as error:
        return _print_error(str(error), 1)
    except OSError as error:  # handled here because Hydra would add a line of its own
        return _print_error(_cannot_use(error), 2)
    except ValueError as error:  # a defect: run_app must not take it for an error of Hydra
        raise RuntimeError(f"unexpected error: {error}") from error
    return 0


def explain(error: Exception, config_name: str, overrides: Sequence[str]) -> InputError:
    """Return an error for a configuration that Hydra cannot compose, with the nearest known name.

    Args:
        error: of Hydra or OmegaConf.
        config_name: the primary configuration.
        overrides: the words of the command line, or of one job of a sweep.
    """
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        if group == "method" and (target := installed_methods().get(name)):
            folder = f"{target.partition('.')[0]}/configs/method"
            return InputError(
                f"method {name!r} has no config: its package needs the file {folder}/{name}.yaml."
            )
        return unknown(group, name, error.options)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if match := re.search(r"Ambiguous value for argument '(.+)'\s1\. ", str(error), re.DOTALL):
        key, _, value = match[1].partition("=")
        return InputError(
            f"{match[1]} has a comma. Several runs, one for each value, need -m. A list is {key}=[{value}]. "
            f"A text with a comma is in quotes: {_for_shell(key, value)}"
        )
    # Hydra names the key in this message only
    match = re.search(r"Could not override '([^']+)'", str(error))
    if match:
        error = unknown("key", match[1], _known_keys(config_name, overrides, match[1]))
        experiments = [word.partition("=")[2] for word in overrides if word.startswith("experiment=")]
        hint = "".join(f" configs/experiment/{name}.yaml names its script." for name in experiments)
        return InputError(f"{error}{hint}")
    # the message of the cause is often the useful one; OmegaConf adds its own notation after full_key
    messages = [str(one).partition("full_key:")[0] for one in (error, error.__cause__) if one]
    return InputError(f"The configuration is not valid: {': '.join(' '.join(m.split()) for m in messages)}")


def _unreadable(word: str) -> InputError:
    """Return the error for a word of the command line that is outside of Hydra's grammar."""
    key, equals, value = word.partition("=")
    if not equals:
        return InputError(f"{word!r} is not allowed: an option is KEY=VALUE, as in trainer.epochs=3.")
    return InputError(
        f"{word} cannot be read. A text with a sign such as = , ~ ( or a quote, or with a letter such as é, "
        f"is in quotes: {_for_shell(key, value)} A list ends with a bracket: {key}=[A,B]."
    )


def _for_shell(key: str, value: str) -> str:
    """Return a word with a quoted value, as it is typed in a shell, which removes the outer quotes."""
    return shlex.quote(f"{key}={quoted(value)}")


def _known_keys(config_name: str, overrides: Sequence[str], key: str) -> list[str]:
    """Return the keys of the section that a key is in, for the chosen method, task and so on."""
    # Only choices of config files are applied: the wrong key itself, and other values, could fail again.
    # An experiment is left out because it may be the source of the wrong key.
    choices = [word for word in overrides if re.fullmatch(r"(?!experiment)[\w/]+=[\w/]+", word)]
    own_folder = get_args_parser().parse_known_args()[0].config_dir
    if own_folder:
        choices.append(f"hydra.searchpath=['file://{Path(own_folder).resolve()}']")
    with initialized_hydra():
        try:
            config = compose(config_name, [word for word in choices if not word.startswith(f"{key}=")])
        except HydraException:
            config = compose(config_name)
    section = key.rpartition(".")[0]
    node = OmegaConf.select(config, section) if section else config
    prefix = f"{section}." if section else ""
    known = [prefix + str(name) for name in node] if isinstance(node, DictConfig) else []
    return [name for name in known if name != key]


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain containers.

    Raises:
        InputError: if a mandatory value is missing, or an interpolation refers to a missing key.
    """
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} is missing; give it a value.") from error
    except OmegaConfBaseException as error:
        raise explain(error, "", []) from error
    return cast("dict[str, Any]", content)


def names(value: object, key: str) -> list[str]:
    """Return the names that a key lists; a single name is a list of one.

    Args:
        value: of the key, as composed.
        key: for the message.

    Raises:
        InputError: if the value is not a list of names.
    """
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list) and listed and all(isinstance(name, str) for name in listed):
        return listed
    raise InputError(f"{key}={value!r} is not allowed: give a name, or a list of names as in {key}=[A,B].")


def path(value: object, key: str) -> Path:
    """Return the path that a key gives.

    Args:
        value: of the key, as composed.
        key: for the message.

    Raises:
        InputError: if the value is not a text.
    """
    if isinstance(value, str) and value:
        return user_path(value)
    raise InputError(f"{key}={value!r} is not allowed: give a path.")


def stop(error: InputError) -> NoReturn:
    """End the program on bad input."""
    sys.exit(_print_error(str(error), 2))


def _print_error(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


def _cannot_use(error: OSError) -> str:
    return f"{error.filename or error} cannot be used: {error.strerror or error}."
