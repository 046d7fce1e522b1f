"""Prediction tables on disk: read and check them."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from mefusion.clips.table import KEY
from mefusion.common.errors import MefusionError

COLUMNS = ("study", "dataset", "subject", "clip_id", "fold", "seed", "label", "prediction", "rule", "epoch")
"""Columns of every prediction table, beside one `probability_<class>` a class and those of the tasks."""

PROBABILITY = "probability_"
"""What the columns of the classes' probabilities begin with."""


def load_predictions(directory_or_file: str | Path, columns: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Read and check a prediction table.

    Args:
        directory_or_file: a Parquet file, or a directory with `predictions.parquet` (a pooled study, a fold).
        columns: of the study's tasks, each with the smallest value that it can have; None takes them as they are.

    Returns:
        The table, one row a clip (of each study, seed and rule), with the columns of `COLUMNS`,
        `probability_<class>` for each class, in the scheme's order, and those of the tasks.

    Raises:
        MefusionError: the table is missing, cannot be read or is empty; a column is missing or holds a value
            that cannot be; or a clip is there twice.
    """
    path = Path(directory_or_file)
    if path.is_dir():
        path = path / "predictions.parquet"
    try:
        table = pd.read_parquet(path)
        check_predictions(table, path, columns)  # in here: text is decoded where it is first looked at
    except FileNotFoundError:
        raise broken(path, "does not exist") from None
    # Of pyarrow, and of pandas where what the file says of its columns is damaged.
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise broken(path, f"is no readable Parquet table ({first_line(error)})") from error
    return table


def classes_of(predictions: pd.DataFrame) -> list[str]:
    """The scheme's classes of a prediction table, in order, read from its `probability_<class>` columns."""
    return [name.removeprefix(PROBABILITY) for name in predictions.columns if name.startswith(PROBABILITY)]


def sample_list_hash(table: pd.DataFrame) -> str:
    """Hash of which clips with which labels a result is about: 12 hex digits, independent of row order.

    Args:
        table: has the columns dataset, subject, clip_id and label.
    """
    lines = sorted("\t".join(map(str, row)) for row in table[[*KEY, "label"]].itertuples(index=False))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def check_predictions(table: pd.DataFrame, path: Path, columns: Mapping[str, float] | None = None) -> None:
    """Check the columns and values of a prediction table.

    Args:
        table: what was read.
        path: where from, for the message.
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
        raise broken(path, "holds no prediction")
    for name in COLUMNS:
        if table[name].isna().any():
            raise broken(path, f"has an empty cell in column {name!r}")
        if name not in ("seed", "epoch") and not all(isinstance(value, str) for value in table[name]):
            raise broken(path, f"has a value in column {name!r} that is no text")
    for name in ("label", "prediction"):
        if unknown := sorted({*table[name]} - {*classes}, key=str):
            raise broken(path, f"has the {name} {unknown[0]!r}, which is none of {', '.join(classes)}")
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
            raise broken(path, f"has a value in column {name!r} that is no number{least}")
    values = table[probabilities].to_numpy(float)
    off = np.abs(values.sum(axis=1) - 1)
    if off.max() > 1e-3:
        raise broken(path, f"has probabilities of clip {table['clip_id'].iloc[off.argmax()]!r} that do not add up to 1")
    predicted = values[np.arange(len(table)), table["prediction"].map(classes.index).to_numpy()]
    below = values.max(axis=1) - predicted
    if below.max() > 1e-6:  # rounding may part equal ones
        clip = table["clip_id"].iloc[below.argmax()]
        raise broken(path, f"predicts a class for clip {clip!r} that is not the one of the largest probability")


def broken(path: Path, what: str) -> MefusionError:
    """The error of a table that cannot be used: what is wrong with it, and what makes it anew."""
    # A fold that says it is done is made again only when it is gone as a whole.
    fold = next((place for place in (path, path.parent) if (place / "DONE").is_file()), None)
    remedy = f"delete {fold} and run" if fold else "make it again with"
    return MefusionError(f"{path} {what}; {remedy} mefusion-train.")


def some(names: Iterable[object], most: int = 8) -> str:
    """The first few of many names, in a line."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def first_line(error: Exception) -> str:
    """The first line of an error's message, without its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
