"""The command that trains a recorded run again, on the machine that reads the record."""

from __future__ import annotations

from pathlib import Path

from gluelamp.experiments.identity import complete_config
from gluelamp.experiments.overrides import as_word, run_overrides
from gluelamp.io import read_json
from gluelamp.records import RunRecord

PATHS = "paths.json"
"""The file in a run's folder with the absolute paths that the run read, by the keys of its configuration.

They are not in the record, which can be published: its checksums name the same files on every machine.
"""


def retrain_overrides(folder: Path, record: RunRecord) -> list[str]:
    """Return the words of a command line that train a recorded run again, without the seed.

    They are made from the configuration of the record, because its words were for the defaults of its time.
    A run on rows of one's own has the words of its record, which name the files.

    Args:
        folder: of the run.
        record: of the run.
    """
    if record.data.source == "custom":
        words = list(record.overrides or ())
    else:
        config = complete_config(record.config_dict())
        words = run_overrides(config, record.data.source, record.data.revision, record.backbone.revision)
    paths = read_json(folder / PATHS) if (folder / PATHS).is_file() else {}
    words = [word for word in words if word.partition("=")[0] not in paths]
    return [*words, *(f"{key}={as_word(path)}" for key, path in paths.items()), "on_existing=retrain"]
