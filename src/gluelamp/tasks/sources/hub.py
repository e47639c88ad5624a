"""Rows from a repository of the Hugging Face hub, at a recorded commit."""

from __future__ import annotations

from gluelamp.errors import InputError
from gluelamp.tasks.sources.table import Reading, Table, numbered
from gluelamp.tasks.task import Task


class HubUnavailableError(InputError):
    """The hub did not answer in time, or the task is not on it."""


def read_hub(repository: str, task: Task, revision: str | None, timeout_s: float) -> Reading:
    """Download one task, or take it from the ``datasets`` cache.

    Args:
        repository: such as ``"nyu-mll/glue"``; it has a configuration with the task's name.
        task: the declaration.
        revision: branch, tag or commit of the repository; None takes its newest commit.
        timeout_s: how long to wait for the hub's first answer, in seconds.

    Raises:
        HubUnavailableError: if the hub does not answer.
        InputError: if it answers and the revision or the download fails.
    """
    # Resolve the branch first: the record stores the commit, and a short request detects a missing network.
    commit = _commit(repository, revision, timeout_s)
    place = f"{repository} at {commit}"
    import datasets  # a slow import, needed only if the hub has answered

    try:
        splits = datasets.load_dataset(repository, task.name, revision=commit)
    except Exception as error:  # network and file system libraries raise exceptions of many types
        raise InputError(f"{task.name} could not be read from {place}: {error}") from error
    tables = {
        split: Table(numbered(rows.to_pandas()), f"{place}, {task.name}/{split}")
        for split, rows in splits.items()
    }
    return Reading(tables, "hub", place, commit)


def _commit(repository: str, revision: str | None, timeout_s: float) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return str(HfApi().dataset_info(repository, revision=revision, timeout=timeout_s).sha)
    except RevisionNotFoundError as error:
        raise InputError(f"{repository} has no revision {revision!r} on the hub.") from error
    except Exception as error:  # the HTTP library differs between versions of huggingface_hub
        raise HubUnavailableError(
            f"The Hugging Face hub did not answer within {timeout_s:g} s ({error}). "
            "Prepare a local copy on a machine with a network, or set data.source=sample."
        ) from error
