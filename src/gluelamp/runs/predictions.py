"""Per-example outputs, kept beside the record so that any paired test can be made later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gluelamp.tasks.encoding import EncodedSplit


def write_predictions(
    path: Path,
    splits: Mapping[str, EncodedSplit],
    outputs: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Write the head's outputs for each evaluated row, as Parquet.

    Columns: ``selection`` (best or last), ``split``, ``idx``, ``label``, ``output_0`` and so on.

    Args:
        path: the file.
        splits: the evaluated splits.
        outputs: by selection and split, (examples, outputs).
    """
    frames = [
        pd.DataFrame(
            {
                "selection": selection,
                "split": name,
                "idx": splits[name].idx,
                "label": splits[name].labels,
            }
            | {f"output_{column}": values[:, column] for column in range(values.shape[1])}
        )
        for selection, by_split in outputs.items()
        for name, values in by_split.items()
    ]
    temporary = path.with_suffix(".partial")
    pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False)
    temporary.replace(path)
