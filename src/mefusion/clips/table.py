"""The clip table: one labelled micro-expression a row."""

import hashlib
import re
from collections.abc import Iterable, Mapping

import pandas as pd

from mefusion.common.errors import MefusionError

KEY = ["dataset", "subject", "clip_id"]
"""Columns that together name a clip."""

CLIP_DTYPES: Mapping[str, str] = {
    "dataset": "string",
    "subject": "string",  # namespaced by dataset, as in "casme2/sub01"
    "clip_id": "string",  # unique within the subject
    "path": "string",  # a folder of frames or a video file
    "onset": "Int64",  # frame numbers as in the file names; of a video, counted from 0
    "apex": "Int64",
    "offset": "Int64",
    "emotion": "string",
    "objective_class": "string",  # of the action units alone, where a dataset has it
    "action_units": "string",  # as `mefusion.datasets.reading.facs` writes them
    "action_unit_remarks": "string",  # what of the coding is no action unit
    "fps": "Float64",
    "landmarks": "string",  # a file of landmarks, for faces=precomputed
    "root": "string",  # folder that the clip's files may not leave through links
    "notes": "string",  # what was mended; it stays with the clip, so that every result can tell
}


def clip_table(rows: Iterable[Mapping[str, object]], *, origin: object, root: object) -> pd.DataFrame:
    """Typed clip table, sorted by subject and clip, columns as in `CLIP_DTYPES`.

    Args:
        rows: one mapping a clip; columns that are left out are missing values.
        origin: the file the rows come from, for messages.
        root: folder of the clips' files.

    Raises:
        MefusionError: there is no clip, or two have the same subject and id.
    """
    table = pd.DataFrame(list(rows), columns=list(CLIP_DTYPES)).assign(root=str(root)).astype(dict(CLIP_DTYPES))
    if table.empty:
        raise MefusionError(f"{origin} lists no clip: add a row for each clip")
    twice = table[table.duplicated(KEY)]
    if len(twice):
        first = twice.iloc[0]
        raise MefusionError(
            f"{origin} lists the clip {first.subject}/{first.clip_id} twice: give each clip an id of its own"
        )
    return table.sort_values(KEY, ignore_index=True)


def clip_notes(table: pd.DataFrame) -> list[str]:
    """A sentence for each clip that was mended, with the clip's name."""
    noted = table.dropna(subset="notes")
    return [f"{row.subject}/{row.clip_id}: {row.notes}" for row in noted.itertuples()]


def frame_number(value: object) -> int | None:
    """A frame number of the clip table; None where it is missing."""
    return None if pd.isna(value) else int(value)  # type: ignore[call-overload]


def file_name(text: str) -> str:
    """A name that is safe as a file name, the same for the same text and different for another."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")
    return safe if safe == text else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
