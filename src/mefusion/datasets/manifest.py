"""The user's own data: a CSV file that lists clips."""

import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mefusion.clips.table import clip_table
from mefusion.common.errors import MefusionError
from mefusion.common.files import is_irregular, resolved
from mefusion.datasets.reading import facs
from mefusion.datasets.reading.source import Source

REQUIRED_UNLABELLED = ("clip_id", "subject", "path")
REQUIRED = (*REQUIRED_UNLABELLED, "emotion")
NUMBERS = ("onset", "apex", "offset", "fps")
COLUMNS = (*REQUIRED, *NUMBERS, "dataset", "action_units", "landmarks")


class ManifestSource(Source):
    """Clips listed in `<root>/manifest.csv`.

    Args:
        root: folder of the manifest.
        name: name of the dataset, for rows without one.
    """

    def __init__(self, *, root: str, name: str = "manifest"):
        self.name, self.root = name, Path(root)

    def identity(self) -> dict[str, object]:
        """See `Source.identity`."""
        return {"manifest": str(resolved(self.root))}

    def digest(self) -> str | None:
        """See `Source.digest`."""
        return manifest_digest(self.root / "manifest.csv")

    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """See `Source.table` and `read_manifest`."""
        return read_manifest(self.root / "manifest.csv", dataset=self.name)


def manifest_digest(manifest: Path) -> str | None:
    """Hash of the file; None if there is none."""
    return hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else None


def read_manifest(manifest: Path, *, dataset: str, labelled: bool = True) -> pd.DataFrame:
    """Read a manifest into a clip table.

    Args:
        manifest: CSV file with a header: clip_id, subject, path, emotion and optionally dataset, onset, apex, offset,
            action_units, fps, landmarks. A path is a folder of frames or a video file; landmarks is a landmark file
            (see `read_landmarks`). Both are relative to the manifest's folder, and must be inside it.
        dataset: name of the dataset, for rows without one.
        labelled: whether each clip must have an emotion.

    Raises:
        MefusionError: the file is missing, is no CSV, lacks a column or has it twice, or has a wrong value; the message
            names it.
    """
    rows = _read(manifest)
    required = REQUIRED if labelled else REQUIRED_UNLABELLED
    missing = [column for column in required if column not in rows]
    if missing:
        raise MefusionError(
            f"{manifest} lacks the column {', '.join(missing)}: its header must have {', '.join(required)}"
        )
    clips = (_clip(row, manifest, dataset, required) for row in rows.to_dict("records"))
    return clip_table(clips, origin=manifest, root=resolved(manifest.parent))


def _read(manifest: Path) -> pd.DataFrame:
    if is_irregular(manifest):
        raise MefusionError(f"{manifest} is no regular file: data.root must be the folder of a manifest.csv")
    try:
        content = manifest.read_bytes()
    except FileNotFoundError as error:
        raise MefusionError(f"{manifest} is not there: data.root must be the folder of a manifest.csv") from error
    if b"\0" in content:  # some versions of pandas read a value up to it
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise MefusionError(f"{manifest} has a NUL character in line {line}: correct it, or save it as CSV in UTF-8")
    try:
        # Read everything as text: pandas would change the subject 006 to the number 6.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # raised if a row has more values than the header
            options: dict[str, Any] = {"dtype": str, "keep_default_na": False, "skipinitialspace": True}
            rows = pd.read_csv(io.BytesIO(content), index_col=False, **options)
            header = pd.read_csv(io.BytesIO(content), header=None, nrows=1, **options)  # pandas renames equal names
    except pd.errors.ParserWarning as error:
        raise MefusionError(
            f"{manifest} has a row with more values than its header has columns: put values with commas in quotes"
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise MefusionError(
            f"{manifest} cannot be read as a CSV file ({str(error).strip()}): save it as CSV in UTF-8"
        ) from error
    names = header.iloc[0].str.strip().tolist()
    if twice := [column for column in COLUMNS if names.count(column) > 1]:
        raise MefusionError(f"{manifest} has the column {', '.join(twice)} twice: keep one")
    return rows.rename(columns=str.strip).map(str.strip)


def _clip(
    row: dict[str, str], manifest: Path, default_dataset: str, required: Sequence[str] = REQUIRED
) -> dict[str, object]:
    for column in required:
        if not row[column]:
            raise MefusionError(f"{manifest} has no {column} for the clip '{row['clip_id']}': fill it in")
    dataset = row.get("dataset") or default_dataset
    return {
        "dataset": dataset,
        "subject": f"{dataset}/{row['subject']}",
        "clip_id": row["clip_id"],
        "path": _path(row, "path", manifest),
        "emotion": row.get("emotion", "").lower() or None,
        "landmarks": _path(row, "landmarks", manifest) if row.get("landmarks") else None,
        **facs.columns(row.get("action_units")),
    } | {column: _number(row, column, manifest) for column in NUMBERS}


def _path(row: dict[str, str], column: str, manifest: Path) -> str:
    root = resolved(manifest.parent)
    try:
        path = resolved(root / row[column])
    except MefusionError as error:
        raise MefusionError(f"{manifest}: the {column} of clip {row['clip_id']}: {error}") from error
    if not path.is_relative_to(root):
        raise MefusionError(
            f"{manifest}: the {column} '{row[column]}' of clip {row['clip_id']} is outside {root}: move it inside"
        )
    return str(path)


def _number(row: dict[str, str], column: str, manifest: Path) -> float | int | None:
    text = row.get(column, "")
    if not text:
        return None
    # Frame numbers of more than nine digits, and frame rates that are no finite number, are mistakes.
    pattern = r"\d+(\.\d+)?" if column == "fps" else r"\d{1,9}"
    if not re.fullmatch(pattern, text):
        raise MefusionError(
            f"{manifest}: {column} of clip {row['clip_id']} is '{text}': give a number or leave it empty"
        )
    return float(text) if column == "fps" else int(text)
