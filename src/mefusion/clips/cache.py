"""Prepared clips on disk: one safetensors file for each clip, and an index."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing

PREPARED_COLUMNS = ("file", "content", "n_frames", "stride", "apex_from", "apex_place")
"""Columns that a cache's index has in addition to the clip table's: the clip's file, the hash of its frames, their
number, the stride of its windows, and where its apex comes from and its index."""


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
