"""Prediction tables on disk: read and check them."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from mefusion.clips.table import KEY
from mefusion.common.errors import MefusionError, first_line

COLUMNS = ("study", "dataset", "subject", "clip_id", "fold", "seed", "label", "prediction", "rule", "epoch")
"""Columns of every prediction table. Further columns are `probability_<class>` for each class, and those of tasks."""

PROBABILITY = "probability_"
"""Prefix of the columns with the probabilities of the classes."""


def load_predictions(directory_or_file: str | Path, columns: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Read and check a prediction table.

    Args:
        directory_or_file: a Parquet file, or a directory with `predictions.parquet` (a pooled study, a fold).
        columns: columns of the study's tasks, each with its smallest possible value; None accepts any columns.

    Returns:
        The table, with one row for each clip (of each study, seed and rule). Its columns are `COLUMNS`,
        `probability_<class>` for each class, in the scheme's order, and those of the tasks.

    Raises:
        MefusionError: the table is missing, cannot be read or is empty; a column is missing or has an impossible
            value; or a clip is in it twice.
    """
    path = Path(directory_or_file)
    if path.is_dir():
        path = path / "predictions.parquet"
    try:
        table = pd.read_parquet(path, page_checksum_verification=True)
        check_predictions(table, path, columns)  # within `try`: broken text raises an error when it is first read
    except FileNotFoundError:
        raise broken(path, "does not exist") from None
    # Errors of pyarrow; and of pandas, if the file's description of its columns is damaged.
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise broken(path, f"is not a readable Parquet table ({first_line(error)})") from error
    return table


def classes_of(predictions: pd.DataFrame) -> list[str]:
    """The scheme's classes of a prediction table, in order, read from its `probability_<class>` columns."""
    return [name.removeprefix(PROBABILITY) for name in predictions.columns if name.startswith(PROBABILITY)]


def sample_list_hash(table: pd.DataFrame) -> str:
    """Hash of the clips and labels that a result is computed from: 12 hex digits, independent of row order.

    Args:
        table: with the columns dataset, subject, clip_id and label.
    """
    lines = sorted("\t".join(map(str, row)) for row in table[[*KEY, "label"]].itertuples(index=False))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def check_predictions(table: pd.DataFrame, path: Path, columns: Mapping[str, float] | None = None) -> None:
    """Check the columns and values of a prediction table.

    Args:
        table: the table.
        path: its file, for the message.
        columns: see `load_predictions`.

    Raises:
        MefusionError: as `load_predictions`.
    """
    classes = classes_of(table)
    if columns is None:
        others = table.columns.difference([*COLUMNS, *(PROBABILITY + name for name in classes)], sort=False)
        columns = dict.fromkeys(others, -np.inf)
    missing = [name for name in (*COLUMNS, *columns) if name not in table.columns]
    if not classes:
        missing.append(PROBABILITY + "<class>")
    if missing:
        raise broken(path, f"has no column {missing[0]!r}")
    if table.empty:
        raise broken(path, "has no predictions")
    for name in COLUMNS:
        if table[name].isna().any():
            raise broken(path, f"has an empty cell in column {name!r}")
        if name not in ("seed", "epoch") and not all(isinstance(value, str) for value in table[name]):
            raise broken(path, f"has a value in column {name!r} that is not a text")
    for name in ("label", "prediction"):
        if unknown := sorted({*table[name]} - {*classes}, key=str):
            column = f"no column {PROBABILITY + str(unknown[0])!r}"
            raise broken(
                path, f"has the {name} {unknown[0]!r}, which is not one of {', '.join(classes)}: it has {column}"
            )
    _check_numbers(table, classes, path, columns)
    twice = table[table.duplicated(["study", *KEY, "seed", "rule"])]
    if len(twice):
        row = twice.iloc[0]
        raise broken(path, f"has clip {row.clip_id!r} of subject {row.subject!r} twice (fold {row.fold!r})")


def _check_numbers(table: pd.DataFrame, classes: list[str], path: Path, columns: Mapping[str, float]) -> None:
    probabilities = [PROBABILITY + name for name in classes]
    for name, lowest in {**dict.fromkeys(["seed", "epoch", *probabilities], 0.0), **columns}.items():
        numbers = table[name].to_numpy(float, na_value=np.nan) if is_numeric_dtype(table[name]) else np.array(np.nan)
        if not (np.isfinite(numbers) & (numbers >= lowest)).all():
            least = f" from {lowest:g} up" if np.isfinite(lowest) else ""
            raise broken(path, f"has a value in column {name!r} that is not a number{least}")
    values = table[probabilities].to_numpy(float)
    off = np.abs(values.sum(axis=1) - 1)
    if off.max() > 1e-3:
        clip = table["clip_id"].iloc[off.argmax()]
        raise broken(path, f"has probabilities of clip {clip!r} whose sum is not 1 ({', '.join(probabilities)})")
    predicted = values[np.arange(len(table)), table["prediction"].map(classes.index).to_numpy()]
    below = values.max(axis=1) - predicted
    if below.max() > 1e-6:  # rounding may make equal probabilities differ
        clip = table["clip_id"].iloc[below.argmax()]
        raise broken(path, f"predicts a class for clip {clip!r} that does not have the largest probability")


def broken(path: Path, what: str) -> MefusionError:
    """The error for a table that cannot be used: says what is wrong with it, and how to make it again."""
    # A fold with the file DONE is run again only if its whole folder is deleted.
    fold = next((place for place in (path, path.parent) if (place / "DONE").is_file()), None)
    remedy = f"delete {fold} and run" if fold else "make it again with"
    return MefusionError(f"{path} {what}; {remedy} mefusion-train.")


def some(names: Iterable[object], most: int = 8) -> str:
    """A text with the first few of many names, and the number of the others."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
