"""Prepared clips on disk: one safetensors file for each clip, an index, and checksums of both.

Each clip's file holds the CRC-32 of its arrays, which is compared when an array is read; `source.txt` holds the SHA-256
of the index. Caches of version 0.1 have neither: they are read without, and `mefusion-prepare` adds both.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mefusion.clips.table import KEY
from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing, write_text

PREPARED_COLUMNS = ("file", "content", "n_frames", "stride", "apex_from", "apex_place")
"""Columns that a cache's index has in addition to the clip table's: the clip's file, the hash of its frames, their
number, the stride of its windows, and where its apex comes from and its index. Where landmarks come from files, the
hash covers them too."""

PICTURES = "pictures"
"""Further column of a cache's index: the hash of a clip's frames alone, which is the same wherever landmarks come from.
Caches of older versions lack it."""

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

_USED_COLUMNS = ("path", "emotion", "objective_class", "notes")  # of the clip table, once clips are prepared

_CHECKSUMS = "checksums"
_METADATA = ""  # name of the metadata's own checksum, beside those of the arrays; older files have none
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, NotImplementedError)  # what pyarrow and pandas raise


def settings_hash(settings: Mapping[str, object]) -> str:
    """Hash of settings: ten hex digits, which do not depend on the order of the settings."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file completely or not at all, even if the process is killed."""
    whole = save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, dict(metadata))
    with replacing(path) as temporary:
        temporary.write_bytes(whole)


@dataclass(frozen=True)
class ClipHeader:
    """What a prepared clip's file says of itself; all of it is empty if the file is missing or damaged.

    Attributes:
        metadata: what `save_clip` was given.
        checksums: CRC-32 of each array; a file of version 0.1 has none.
        arrays: type and shape of each array, as safetensors names them: `("U8", (8, 144, 144))`.
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, int] = field(default_factory=dict)
    arrays: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)


def save_clip(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a prepared clip with its metadata and checksums; the same clip gives the same bytes.

    Both are stored as one JSON text, since safetensors writes several entries in changing order.
    """
    checksums = {name: _checksum(array) for name, array in arrays.items()} | {_METADATA: _text_checksum(metadata)}
    save_arrays(path, arrays, {"clip": json.dumps({**metadata, _CHECKSUMS: checksums}, sort_keys=True)})


def load_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of a prepared clip: those of `names` that the file has, or all.

    Raises:
        MefusionError: the file is missing or damaged: an array differs from its checksum or, where there is none, is
            not finite.
    """
    try:
        with safe_open(path, framework="np") as file:
            there = file.keys()
            arrays = {name: file.get_tensor(name) for name in names or there if name in there}
            checksums = _description(file).get(_CHECKSUMS)
    except (OSError, SafetensorError) as error:
        raise MefusionError(f"{path} cannot be read ({error}): delete it and run mefusion-prepare again") from error
    for name, array in arrays.items():
        # Finite arrays alone are given checksums, so those of version 0.1 alone are looked through.
        whole = is_finite(array) if checksums is None else checksums.get(name) == _checksum(array)
        if not whole:
            reason = "has values that are not finite" if checksums is None else "is not what was written"
            raise MefusionError(f"{path} is damaged (its {name} {reason}): run mefusion-prepare, which makes it anew")
    return arrays


def read_header(path: Path) -> ClipHeader:
    """What a prepared clip's file says of itself, without reading its arrays."""
    try:
        with safe_open(path, framework="np") as file:
            metadata = _description(file)
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
            arrays = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except (OSError, SafetensorError):
        return ClipHeader()
    return ClipHeader(checksums=metadata.pop(_CHECKSUMS, {}), metadata=metadata, arrays=arrays)


def read_metadata(path: Path) -> Mapping[str, str]:
    """Read the metadata of a prepared clip; empty if the file is missing or damaged."""
    return read_header(path).metadata


def is_finite(array: np.ndarray) -> bool:
    """Whether all values of an array are finite numbers."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _description(file: Any) -> dict[str, Any]:
    """Metadata and checksums of an open file; empty if there are none or they are damaged."""
    try:
        found = json.loads((file.metadata() or {})["clip"])
    except (KeyError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not isinstance(checksums := found.get(_CHECKSUMS, {}), dict):
        return {}
    recorded = checksums.pop(_METADATA, None)
    metadata = {name: value for name, value in found.items() if name != _CHECKSUMS}
    whole = all(isinstance(value, str) for value in metadata.values())
    return found if whole and recorded in (None, _text_checksum(metadata)) else {}


def _checksum(array: np.ndarray) -> int:
    """CRC-32 of an array's type, shape and values; the cheapest checksum there is, 3 GB a second."""
    return zlib.crc32(np.ascontiguousarray(array).data, zlib.crc32(f"{array.dtype} {array.shape}".encode()))


def _text_checksum(metadata: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(metadata, sort_keys=True).encode())


def record_source(folder: Path, digest: str | None) -> None:
    """Record what a cache was prepared from, once its index is written: the source's digest and the index's."""
    write_text(folder / "source.txt", f"{digest}\n{_sha256((folder / 'index.parquet').read_bytes())}\n")


def recorded_source(folder: Path, *, command: str) -> str | None:
    """Digest of the source that a cache was prepared from; None if it is not known.

    Raises:
        MefusionError: the record cannot be read.
    """
    lines = _read_record(folder, command)
    return lines[0] if lines else None


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
        left_out = pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise MefusionError(f"{path} is broken: delete it and run mefusion-prepare again") from error
    if missing := [name for name in (*KEY, "problem") if name not in left_out]:
        raise MefusionError(f"{path} has no column {missing[0]!r}: delete it and run mefusion-prepare again")
    return left_out


def read_index(folder: Path, *, command: str) -> pd.DataFrame:
    """Read the index of a cache: the clip table with `PREPARED_COLUMNS` and `PICTURES`.

    Args:
        folder: the cache's folder.
        command: the command that makes the cache, for error messages.

    Raises:
        MefusionError: the index is missing, damaged or not as it was written; the message says how to make it.
    """
    path = folder / "index.parquet"
    if not path.exists():
        raise MefusionError(f"{path} is not there: prepare the data first with {command}")
    digests = _read_record(folder, command)[1:]  # version 0.1 recorded none
    try:
        content = path.read_bytes()
        if digests and digests != [_sha256(content)]:
            raise MefusionError(
                f"{path} is not as mefusion-prepare wrote it: run {command}, which lists the clips anew"
            )
        index = pd.read_parquet(io.BytesIO(content))
        fault = _fault(index)  # in here: text is decoded where it is first looked at
    except _UNREADABLE as error:
        raise MefusionError(f"{path} is broken: delete it and run {command}") from error
    if fault:
        raise MefusionError(f"{path} {fault}: delete it and run {command}, which makes it anew")
    if index.empty:
        raise MefusionError(f"{path} lists no clip: {folder / 'failures.csv'} says why; mend that and run {command}")
    return index if PICTURES in index else index.assign(**{PICTURES: index["content"]})


def _fault(index: pd.DataFrame) -> str | None:
    """What is wrong with an index, or None."""
    if missing := [name for name in (*PREPARED_COLUMNS, *KEY, *_USED_COLUMNS) if name not in index]:
        return f"has no column {missing[0]!r}"
    texts, numbers = (*KEY, "file", "content"), ("n_frames", "stride", "apex_place")
    for name in texts:
        if not all(isinstance(value, str) for value in index[name]):
            return f"has a value in column {name!r} that is no text"
    for name in numbers if len(index) else ():
        if not is_integer_dtype(index[name]) or index[name].isna().any():
            broken = index[pd.to_numeric(index[name], errors="coerce") % 1 != 0]
            clip = f", for the clip {broken.iloc[0].subject}/{broken.iloc[0].clip_id}" if len(broken) else ""
            return f"has a value in column {name!r} that is no whole number{clip}"
    for row in index[index.duplicated(KEY)].itertuples():
        return f"lists the clip {row.subject}/{row.clip_id} twice"
    frames, apex = index["n_frames"], index["apex_place"]
    for row in index[(frames < 1) | (index["stride"] < 1) | (apex < 0) | (apex >= frames)].itertuples():
        return (
            f"gives the clip {row.subject}/{row.clip_id} {row.n_frames} frames with the stride {row.stride} and the "
            f"apex at {row.apex_place}, which cannot be"
        )
    return None


def _read_record(folder: Path, command: str) -> list[str]:
    path = folder / "source.txt"
    try:
        return path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise MefusionError(f"{path} is broken: delete it and run {command}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
