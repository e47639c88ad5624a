"""Turn any source into a local copy that later runs read without a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gluelamp.errors import InputError
from gluelamp.io import atomic_write, file_sha256
from gluelamp.tasks.benchmarks import BENCHMARKS, task_benchmark
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.sources.local import Manifest, PreparedTask, data_root, read_manifest, write_manifest
from gluelamp.tasks.task import Task, TaskData


def prepare(tasks: Iterable[Task], config: DataConfig, destination: Path) -> Manifest:
    """Write Parquet files in the hub's layout, and a manifest that describes them.

    Tasks that the folder holds already are replaced; all other tasks are left unchanged. Every file is
    written atomically. The manifest is written last, so that an interrupted run is detected. With
    ``data=hub``, a benchmark that is not on the hub copies its official files instead.

    Args:
        tasks: the tasks to copy.
        config: the source. ``"auto"`` without a root never reads the destination itself.
        destination: the folder to write, such as ``data/glue``.

    Returns:
        The manifest of the folder after all tasks.

    Raises:
        InputError: if a task cannot be read, if it would be read from the destination, or if
            ``"auto"`` finds only the sample where the folder holds real rows.
    """
    # The files of the source would be replaced while they are read.
    root = data_root(config.root, BENCHMARKS["glue"].default_root)
    if (config.source == "local" or config.root) and root.resolve() == destination.resolve():
        raise InputError(f"{destination} is both source and destination; give two different folders.")
    manifest = read_manifest(destination)
    for task in tasks:
        download = task_benchmark(task).download
        if config.source == "hub" and download:
            download(task, destination)
            continue
        data = load_task_data(task, config, avoid=destination)
        # Without a network `auto` falls back to the sample, which must not replace downloaded rows.
        if config.source == "auto" and data.source == "sample":
            _refuse_to_replace_real_rows(manifest, task, destination)
        manifest = Manifest(manifest.tasks | {task.name: _write(data, destination)})
        write_manifest(destination, manifest)
    return manifest


def _refuse_to_replace_real_rows(manifest: Manifest, task: Task, destination: Path) -> None:
    prepared = manifest.tasks.get(task.name)
    is_sample = prepared is not None and prepared.source == "sample"
    if (destination / task.name).exists() and not is_sample:
        raise InputError(
            f"Only the bundled sample of {task.name} is available now, and {destination} holds other "
            "rows of this task; they are not replaced. Set data.source=sample to replace them."
        )


def _write(data: TaskData, destination: Path) -> PreparedTask:
    files = {}
    for split, frame in data.splits.items():
        name = f"{data.task.name}/{split}.parquet"
        with atomic_write(destination / name) as partial:
            frame.to_parquet(partial, index=False)
        files[name] = file_sha256(destination / name)
    return PreparedTask(
        source=data.source,
        revision=data.revision,
        fingerprint=data.fingerprint,
        rows={split: len(frame) for split, frame in data.splits.items()},
        deviations=data.deviations,
        files=files,
    )
