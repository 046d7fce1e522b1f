"""Prepared clips on disk: one safetensors file for each clip, and an index."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mefusion.clips.table import KEY
from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing

PREPARED_COLUMNS = ("file", "content", "n_frames", "stride", "apex_from", "apex_place")
"""Columns that a cache's index has in addition to the clip table's: the clip's file, the hash of its frames, their
number, the stride of its windows, and where its apex comes from and its index."""


RECORDED_COLUMNS = {
    "frames_read": "Int64",
    "frames_past_end": "Int64",
    "faces": "Int64",
    "frames_without_face": "Int64",
    "edge": "Float64",
}
"""Further columns of a cache's index, with their types: what only preparation can see of a clip. Missing in caches of
version 0.1, and where it does not apply. Frames from onset to offset; frames that the offset lies past the last one;
most faces in a picture; frames without a face, whose landmarks are interpolated; smallest distance of a landmark from
the picture's edge, in inter-ocular distances (below 0: outside)."""

LEFT_OUT_COLUMNS = [*KEY, "path", "problem"]
"""First columns of a cache's `failures.csv`: the clips that preparation left out, each with the reason."""


def settings_hash(settings: Mapping[str, object]) -> str:
    """Hash of settings: ten hex digits, which do not depend on the order of the settings."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file completely or not at all, even if the process is killed."""
    whole = save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, dict(metadata))
    with replacing(path) as temporary:
        temporary.write_bytes(whole)


def save_clip(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a prepared clip and its metadata, which `read_metadata` reads; the same clip gives the same bytes.

    The metadata are stored as one JSON text, since safetensors writes several entries in changing order.
    """
    save_arrays(path, arrays, {"clip": json.dumps(dict(metadata), sort_keys=True)})


def load_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of a prepared clip: those of `names` that the file has, or all.

    Raises:
        MefusionError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="np") as file:
            there = file.keys()
            return {name: file.get_tensor(name) for name in names or there if name in there}
    except (OSError, SafetensorError) as error:
        raise MefusionError(f"{path} cannot be read ({error}): delete it and run mefusion-prepare again") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a prepared clip; empty if the file is missing or damaged."""
    try:
        with safe_open(path, framework="np") as file:
            return json.loads((file.metadata() or {})["clip"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return {}


def read_left_out(path: Path) -> pd.DataFrame:
    """Clips that preparation left out of a cache, as text: `LEFT_OUT_COLUMNS`, then the clip table's others.

    Caches of version 0.1 have no others.

    Args:
        path: the cache's `failures.csv`; where it is not there, nothing was left out.

    Raises:
        MefusionError: the file is broken.
    """
    if not path.exists():
        return pd.DataFrame(columns=LEFT_OUT_COLUMNS)
    try:
        return pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise MefusionError(f"{path} is broken: delete it and run mefusion-prepare again") from error


def read_index(folder: Path, *, command: str) -> pd.DataFrame:
    """Read the index of a cache: the clip table with `PREPARED_COLUMNS`.

    Args:
        folder: the cache's folder.
        command: the command that makes the cache, for error messages.

    Raises:
        MefusionError: the index is missing or damaged; the message says how to make it.
    """
    path = folder / "index.parquet"
    if not path.exists():
        raise MefusionError(f"{path} is not there: prepare the data first with {command}")
    try:
        index = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise MefusionError(f"{path} is broken: delete it and run {command}") from error
    if missing := [name for name in PREPARED_COLUMNS if name not in index]:
        raise MefusionError(f"{path} has no column {missing[0]!r}: delete {folder} and run {command}")
    return index
