"""Turn any source into a local copy that later runs read without a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.lamp.download import download
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.sources.files import renamed_when_complete
from gluelamp.tasks.sources.local import data_root
from gluelamp.tasks.sources.manifest import (
    Manifest,
    PreparedTask,
    manifest_file,
    read_manifest,
    sha256_of,
)
from gluelamp.tasks.task import Task, TaskData


def prepare(tasks: Iterable[Task], config: DataConfig, destination: Path) -> Manifest:
    """Write Parquet files in the hub's layout, and a manifest that says what they are.

    Tasks that the folder already holds are replaced, all others are kept. Every file is written
    under a temporary name and then renamed; the manifest comes last, so that an interrupted run is
    noticed. LaMP's hub is its official site, whose files are copied as they are and read from there.

    Args:
        tasks: the tasks to copy.
        config: where to read them; with ``"auto"`` and no root never the destination itself.
        destination: the folder to write, such as ``data/glue``.

    Returns:
        The manifest as it now stands in the folder.

    Raises:
        InputError: if a task cannot be read, if it would be read from the destination, or if
            ``"auto"`` finds only the sample where the folder holds real rows.
    """
    from_folder = config.source == "local" or config.root
    if from_folder and data_root(config.root).resolve() == destination.resolve():
        raise InputError(f"{destination} is the source and the destination; name two folders.")
    manifest = read_manifest(destination)
    for task in tasks:
        if task.name in LAMP and config.source == "hub":
            download(task, destination)
            continue
        data = load_task_data(task, config, avoid=destination)
        if config.source == "auto" and data.source == "sample":
            _refuse_to_replace_real_rows(manifest, task, destination)
        manifest = Manifest(manifest.tasks | {task.name: _write(data, destination)})
        path, content = manifest_file(destination, manifest)
        with renamed_when_complete(path) as partial:
            partial.write_bytes(content)
    return manifest


def _refuse_to_replace_real_rows(manifest: Manifest, task: Task, destination: Path) -> None:
    prepared = manifest.tasks.get(task.name)
    known_sample = prepared is not None and prepared.source == "sample"
    if (destination / task.name).exists() and not known_sample:
        raise InputError(
            f"Only the bundled sample of {task.name} can be had now, and {destination} holds other "
            "rows of it; they are kept. Take data.source=sample if they are to be replaced."
        )


def _write(data: TaskData, destination: Path) -> PreparedTask:
    files = {}
    for split, frame in data.splits.items():
        name = f"{data.task.name}/{split}.parquet"
        with renamed_when_complete(destination / name) as partial:
            frame.to_parquet(partial, index=False)
        files[name] = sha256_of(destination / name)
    return PreparedTask(
        source=data.source,
        revision=data.revision,
        fingerprint=data.fingerprint,
        rows={split: len(frame) for split, frame in data.splits.items()},
        deviations=data.deviations,
        files=files,
    )
