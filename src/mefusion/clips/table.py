"""The clip table: one row for each labelled micro-expression."""

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping

import pandas as pd

from mefusion.common.errors import MefusionError

KEY = ["dataset", "subject", "clip_id"]
"""Columns that together identify a clip."""

_IGNORES_CASE = sys.platform in ("win32", "darwin")  # of file names

CLIP_DTYPES: Mapping[str, str] = {
    "dataset": "string",
    "subject": "string",  # with its dataset, as in "casme2/sub01"
    "clip_id": "string",  # unique within the subject
    "path": "string",  # a folder of frames or a video file
    "onset": "Int64",  # frame number as in the file names; in a video, counted from 0
    "apex": "Int64",
    "offset": "Int64",
    "emotion": "string",
    "objective_class": "string",  # class by action units alone, if the dataset has it
    "action_units": "string",  # as `mefusion.datasets.reading.facs` writes them
    "action_unit_remarks": "string",  # parts of the coding that are no action units
    "fps": "Float64",
    "landmarks": "string",  # a file of landmarks, for faces=precomputed
    "root": "string",  # folder; links of the clip's files must not lead out of it
    "notes": "string",  # what was corrected in this row; kept, so that results can mention it
}


def clip_table(rows: Iterable[Mapping[str, object]], *, origin: object, root: object) -> pd.DataFrame:
    """Make a clip table: columns and types as in `CLIP_DTYPES`, sorted by dataset, subject and clip.

    Args:
        rows: one mapping for each clip; a column that it does not have is a missing value.
        origin: the file that the rows come from, for error messages.
        root: folder of the clips' files, for the column `root`.

    Raises:
        MefusionError: there is no clip, or two have the same subject and id; on Windows and macOS, whose file names do
            not tell upper from lower case, also if only the case differs.
    """
    table = pd.DataFrame(list(rows), columns=list(CLIP_DTYPES)).assign(root=str(root)).astype(dict(CLIP_DTYPES))
    if table.empty:
        raise MefusionError(f"{origin} lists no clip: add a row for each clip")
    names = table[KEY].apply(lambda column: column.str.casefold()) if _IGNORES_CASE else table[KEY]
    twice = table[names.duplicated()]
    if len(twice):
        first = twice.iloc[0]
        where = ", in upper or lower case" if _IGNORES_CASE else ""
        raise MefusionError(
            f"{origin} lists the clip {first.subject}/{first.clip_id} twice{where}: give each clip an id of its own"
        )
    return table.sort_values(KEY, ignore_index=True)


def clip_notes(table: pd.DataFrame) -> list[str]:
    """One sentence for each clip whose row was corrected, with the clip's name."""
    noted = table.dropna(subset="notes")
    return [f"{row.subject}/{row.clip_id}: {row.notes}" for row in noted.itertuples()]


def frame_number(value: object) -> int | None:
    """A frame number of the clip table as int; None if it is missing."""
    return None if pd.isna(value) else int(value)  # type: ignore[call-overload]


_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names of devices on Windows


def file_name(text: str, *, windows: bool = sys.platform == "win32") -> str:
    """A safe file name for a text; different texts get different names.

    Args:
        text: any text.
        windows: whether the name has to be one on Windows too, which has fewer; on other systems names stay as they
            have always been.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")
    if windows and (_RESERVED.fullmatch(safe) or safe.endswith(".")):
        safe = f"_{safe.rstrip('.')}"
    return safe if safe == text else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def folder_name(text: str, *, windows: bool = sys.platform == "win32") -> str:
    """A folder's name for a text that the user has chosen: the text, or on Windows `file_name`."""
    return file_name(text, windows=True) if windows else text
