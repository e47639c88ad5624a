"""The command line's edge: Hydra composes, bad input becomes one sentence and exit code 2.

Importing this module is light: ``--help`` must answer before anything heavy is loaded.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from gluelamp.errors import InputError, unknown

CONFIGS = Path(__file__).parents[3] / "configs"
_NO_LEAF = "Config group override must be a string"  # Hydra's only word on method=null
_ONE_FLAG = "Only one of --run, --multirun, --cfg"  # Hydra's on -m --cfg job
_OVERRIDE_KEY = re.compile(r"Could not override '([^']+)'")


class RunFailedError(RuntimeError):
    """A run failed, and its record says so; the message is for the user."""


class JobFailedError(Exception):
    """A job of a sweep has ended with a code other than 0, and has said why. Travels between processes.

    Args:
        code: its exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def run_app(task: Callable[[dict[str, Any]], object], config_name: str) -> None:
    """Compose the configuration from the command line, run a task on it, and exit.

    A sweep goes on after a job that failed, and exits with the first such job's code at its end. Exit
    codes: 0; 1 if a run failed; 2 on bad input, with a sentence and no traceback; 130 if
    interrupted.

    Args:
        task: takes the composed configuration as plain containers.
        config_name: the primary configuration.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands errors to us instead of printing them

    def job(config: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        if hydra_config.mode is RunMode.RUN and hydra_config.sweeper.params:
            stop(InputError("The experiment is a sweep. Add -m."))
        code = _exit_code(task, config)
        if code and hydra_config.mode is RunMode.MULTIRUN:
            raise JobFailedError(code)  # Hydra's launchers keep it until all jobs have ended
        if code:
            sys.exit(code)

    _check_experiment(config_name)
    decorate = hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)
    try:
        decorate(job)()
    except JobFailedError as error:
        sys.exit(error.code)
    except KeyboardInterrupt:
        again = "The same command goes on where this one stopped, or, with on_existing=retrain, begins anew."
        sys.exit(_report(f"interrupted. {again}", 130))
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(_report(_explain(error, config_name), 2))
    except OSError as error:
        sys.exit(_report(_unusable(error), 2))
    except ValueError as error:
        if _ONE_FLAG in str(error):
            stop(InputError(f"{error}. Leave out -m: what is shown is a single run."))
        if _NO_LEAF not in str(error):
            raise
        sys.exit(_report(_explain_no_leaf(), 2))
    sys.exit(0)


def _check_experiment(config_name: str) -> None:
    """Refuse an experiment that is for another script, and would be a heap of unknown keys."""
    for name in [one.removeprefix("experiment=") for one in sys.argv[1:] if one.startswith("experiment=")]:
        file = CONFIGS / "experiment" / f"{name}.yaml"
        if not file.is_file():
            continue  # Hydra knows the names
        content = OmegaConf.load(file)
        swept = OmegaConf.select(content, "hydra.sweeper.params", default={})
        given = {str(key).partition(".")[0] for key in [*content, *swept]} - {"defaults", "hydra"}
        if foreign := sorted(given - set(_known(config_name, []))):
            stop(
                InputError(
                    f"experiment={name} gives {', '.join(foreign)}, which this script does not have. The "
                    f"first lines of configs/experiment/{name}.yaml say which script it is for."
                )
            )


def _exit_code(task: Callable[[dict[str, Any]], object], config: DictConfig) -> int:
    try:
        task(plain(config))
    except InputError as error:
        return _report(str(error), 2)
    except RunFailedError as error:
        return _report(str(error), 1)
    except OSError as error:  # here, for Hydra would print a line of its own before
        return _report(_unusable(error), 2)
    return 0


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a composed configuration as plain containers.

    Raises:
        InputError: if a value that must be given is missing, or refers to one that is not there.
    """
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise InputError(f"{error.full_key} is missing; give it a value.") from error
    except OmegaConfBaseException as error:
        raise InputError(_not_valid(error)) from error
    return cast("dict[str, Any]", content)


def names(value: object, key: str) -> list[str]:
    """Return the names that a key lists; a single name is a list of one.

    Args:
        value: of the key, as composed.
        key: for the message.

    Raises:
        InputError: if there is anything but names.
    """
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list) and listed and all(isinstance(name, str) for name in listed):
        return listed
    raise InputError(f"{key}={value!r} is not allowed: give a name, or a list of them as in {key}=[A,B].")


def path(value: object, key: str) -> Path:
    """Return the path that a key gives.

    Args:
        value: of the key, as composed.
        key: for the message.

    Raises:
        InputError: if it is no text.
    """
    if isinstance(value, str) and value:
        return Path(value)
    raise InputError(f"{key}={value!r} is not allowed: give a path.")


def stop(error: InputError) -> NoReturn:
    """End the program on bad input."""
    sys.exit(_report(str(error), 2))


def _report(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


def _unusable(error: OSError) -> str:
    return f"{error.filename or error} cannot be used: {error.strerror or error}."


def _explain(error: Exception, config_name: str) -> str:
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return str(unknown(group, name, error.options))
    match = _OVERRIDE_KEY.search(str(error))
    if match:
        return str(unknown("key", match[1], _siblings(match[1], config_name)))
    return _not_valid(error)


def _not_valid(error: BaseException) -> str:
    reasons = [str(one).partition("full_key:")[0] for one in (error, error.__cause__) if one]
    return f"The configuration is not valid: {': '.join(' '.join(reason.split()) for reason in reasons)}"


def _explain_no_leaf() -> str:
    given = ", ".join(one for one in sys.argv[1:] if re.fullmatch(r"[\w/]+=(null|[-.\d]+)", one))
    return f"{given} is not allowed: give the name of a file in that folder of configs, or leave it out."


def _siblings(key: str, config_name: str) -> list[str]:
    """Return the known keys of the section in which a key was sought."""
    overrides = [
        o for o in sys.argv[1:] if re.match(r"~|.*=", o) and not o.lstrip("+~").startswith(f"{key}=")
    ]
    try:
        known = _known(config_name, overrides)
    except HydraException:
        known = _known(config_name, [])
    section = key.rpartition(".")[0]
    return [name for name in known if name.rpartition(".")[0] == section]


def _known(config_name: str, overrides: list[str]) -> list[str]:
    """Return the keys of all sections of a composed configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return list(_keys(compose(config_name, overrides=overrides), ""))


def _keys(node: Mapping[Any, Any], prefix: str) -> Iterator[str]:
    for key in node:
        name = f"{prefix}{key}"
        yield name
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], Mapping | DictConfig):
            yield from _keys(node[key], f"{name}.")
