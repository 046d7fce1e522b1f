"""From a clip's raw frames to what the models read: detect, align, compute the targets, keep."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from mefusion.data.cache import read_metadata, save_arrays, settings_hash
from mefusion.data.faces import (
    FaceBackend,
    alignment_matrix,
    backend_version,
    make_backend,
    stabilised_matrices,
    transform,
    warp,
)
from mefusion.data.motion import tvl1_flow
from mefusion.data.parallel import parallel_map
from mefusion.data.records import KEY, file_name
from mefusion.data.video import frame_place, list_frames, read_clip
from mefusion.errors import MefusionError
from mefusion.files import write_table

PREPARATION = 2  # raise it when the same settings come to give other arrays
ALIGNMENTS = ("stabilised", "frame")
SHORT_CLIPS = ("interpolate", "leave_out")
MISSING_APEX = ("midpoint", "largest_motion")


@dataclass(frozen=True)
class PreparationSettings:
    """How clips are prepared; the cache's folder is named by it.

    Attributes:
        faces: landmark backend, a name that `make_backend` knows.
        clip_length: frames T of a window.
        canvas: side of the aligned frames that MOL crops from, px.
        small: side of the aligned frames of FDP, px.
        enlarge: see `alignment_matrix`.
        alignment: `stabilised`, see `stabilised_matrices`, or `frame`, each frame by its own landmarks as published.
        short_clips: what becomes of clips shorter than T: `interpolate` in time, or `leave_out`.
        missing_apex: what stands for an apex that is unknown, outside the clip or its onset: the `midpoint` between
            first and last frame, or the frame of `largest_motion`, that differs most from the first.
    """

    faces: str = "dlib"
    clip_length: int = 8
    canvas: int = 144
    small: int = 64
    enlarge: float = 2.5
    short_clips: str = "interpolate"
    alignment: str = "stabilised"
    missing_apex: str = "midpoint"

    def __post_init__(self) -> None:
        if self.clip_length < 2:
            raise MefusionError(f"clip_length={self.clip_length}: a window needs at least 2 frames")
        if self.alignment not in ALIGNMENTS:
            raise MefusionError(f"faces.alignment={self.alignment}: choose from {', '.join(ALIGNMENTS)}")
        if self.short_clips not in SHORT_CLIPS:
            raise MefusionError(f"short_clips={self.short_clips}: choose from {', '.join(SHORT_CLIPS)}")
        if self.missing_apex not in MISSING_APEX:
            raise MefusionError(f"missing_apex={self.missing_apex}: choose from {', '.join(MISSING_APEX)}")


@dataclass(frozen=True)
class Outcome:
    """What became of a clip: a row of the index, or the sentence that says why there is none."""

    row: Mapping[str, object] | None = None
    problem: str | None = None
    note: str | None = None


def prepare_clip(
    frames: Sequence[np.ndarray], backend: FaceBackend, settings: PreparationSettings, *, apex: int | None = None
) -> dict[str, np.ndarray]:
    """Aligned frames and targets of one clip.

    Of n frames the first T s make windows, s = n // T. Window j is the frames i s + j, so that its flow from
    frame f goes to frame f + s.

    Args:
        frames: n >= T pictures [H, W, 3] uint8 RGB.
        backend: finds the landmarks.
        settings: sizes and clip length.
        apex: place of the apex among the frames, None where it is unknown.

    Returns:
        frames [T s, 144, 144] uint8, frames_small [T s, 64, 64] uint8, landmarks [T s, 68, 2] float32 px on
        the 144 canvas, flow [(T - 1) s, 2, 144, 144] float16 px, onset_apex_flow [2, 144, 144] float16
        px, matrices [T s, 2, 3] float32 from the picture to the canvas; apex_place [] among the n frames.

    Raises:
        MefusionError: no face is found.
    """
    stride = len(frames) // settings.clip_length
    used = slice(stride * settings.clip_length)
    landmarks = backend.landmarks(frames)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]

    def align(size: int) -> tuple[np.ndarray, np.ndarray]:
        if settings.alignment == "stabilised":
            matrices = stabilised_matrices(landmarks, size=size, enlarge=settings.enlarge)
        else:
            each = [alignment_matrix(points, size=size, enlarge=settings.enlarge) for points in landmarks]
            matrices = np.stack(each)
        return np.stack([warp(g, m, size=size) for g, m in zip(grey, matrices, strict=True)]), matrices

    canvas, matrices = align(settings.canvas)
    points = np.stack([transform(p, m) for p, m in zip(landmarks, matrices, strict=True)]).astype(np.float32)
    if not apex:
        apex = largest_motion(canvas) if settings.missing_apex == "largest_motion" else len(canvas) // 2
    pairs = zip(canvas[used][:-stride], canvas[used][stride:], strict=True)
    return {
        "frames": canvas[used],
        "frames_small": align(settings.small)[0][used],
        "landmarks": points[used],
        "flow": np.stack([tvl1_flow(first, second) for first, second in pairs]).astype(np.float16),
        "onset_apex_flow": tvl1_flow(canvas[0], canvas[apex]).astype(np.float16),
        "matrices": matrices[used].astype(np.float32),
        "apex_place": np.array(apex),
    }


def largest_motion(frames: np.ndarray) -> int:
    """Place of the frame that differs most from the first, by its mean absolute difference; frames [n, H, W]."""
    return int(np.abs(frames.astype(np.int16) - frames[0]).mean(axis=(1, 2)).argmax())


def interpolate_in_time(frames: Sequence[np.ndarray], length: int) -> list[np.ndarray]:
    """`length` frames evenly spread over a clip, blended linearly between neighbours."""
    positions = np.linspace(0, len(frames) - 1, length)
    lower = np.minimum(positions.astype(int), max(len(frames) - 2, 0))
    stack = np.stack(frames).astype(np.float32)
    weight = (positions - lower)[:, None, None, None]
    upper = np.minimum(lower + 1, len(frames) - 1)
    return list(np.rint(stack[lower] * (1 - weight) + stack[upper] * weight).astype(np.uint8))


def prepare_clips(
    table: pd.DataFrame, folder: Path, settings: PreparationSettings, *, workers: int | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Prepare every clip of a table into a cache folder, in parallel; those that are there are kept.

    Args:
        table: clip table.
        folder: the cache's folder, which receives clips/, index.parquet and failures.csv.
        settings: how.
        workers: number of processes; None is one a core.

    Returns:
        The index, the failures (dataset, subject, clip_id, path, problem) and remarks on clips that were mended.

    Raises:
        MefusionError: the face backend is not usable.
    """
    make_backend(settings.faces)  # fails here, once and clearly, rather than in every process
    clips = table.to_dict("records")
    outcomes = parallel_map(
        functools.partial(_prepare, folder=folder, settings=settings),
        range(len(clips)),
        description="Preparing",
        workers=workers,
        initialise=_share,
        arguments=(clips, settings.faces),
    )
    done = dict(sorted(outcomes))
    rows = [outcome.row for outcome in done.values() if outcome.row]
    index = pd.DataFrame(
        rows, columns=[*table.columns, "file", "content", "n_frames", "stride", "apex_from", "apex_place"]
    )
    failed = [{**clips[i], "problem": outcome.problem} for i, outcome in done.items() if outcome.problem]
    failures = pd.DataFrame(failed, columns=[*KEY, "path", "problem"])
    write_table(folder / "failures.csv", failures)
    write_table(folder / "index.parquet", index.astype(table.dtypes.to_dict()))
    return index, failures, [outcome.note for outcome in done.values() if outcome.note]


_clips: list[dict[str, object]] = []
_backend: FaceBackend | None = None


def _share(clips: list[dict[str, object]], faces: str) -> None:
    """Give a worker process the clips and one face backend for all of them."""
    global _backend
    _clips[:] = clips
    _backend = make_backend(faces)


def _prepare(number: int, *, folder: Path, settings: PreparationSettings) -> Outcome:
    clip = _clips[number]
    assert _backend is not None
    try:
        return _prepare_or_raise(clip, _backend, folder, settings)
    except MefusionError as error:
        sentence = str(error)
        return Outcome(problem=sentence if str(clip["path"]) in sentence else f"{clip['path']}: {sentence}")
    except Exception as error:  # one bad clip never stops the rest
        return Outcome(problem=f"{clip['path']}: {type(error).__name__}: {error}")


def _prepare_or_raise(
    clip: dict[str, object], backend: FaceBackend, folder: Path, settings: PreparationSettings
) -> Outcome:
    path, numbers = Path(str(clip["path"])), {name: _integer(clip[name]) for name in ("onset", "apex", "offset")}
    names = (str(clip["dataset"]), str(clip["subject"]).split("/", 1)[-1], f"{clip['clip_id']}.safetensors")
    target = folder.joinpath("clips", *map(file_name, names))
    state = _fingerprint(path, numbers)
    metadata = read_metadata(target)
    if metadata.get("state") != state or "apex_place" not in metadata:  # older files do not tell it
        limits = {"onset": numbers["onset"], "offset": numbers["offset"]}
        frames, note = read_clip(path, **limits), ""
        content = hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()[:16]
        apex = frame_place(path, numbers["apex"], **limits)
        if len(frames) < settings.clip_length:
            fact = f"{path} has {len(frames)} frames, fewer than a window's {settings.clip_length}"
            if settings.short_clips == "leave_out":
                return Outcome(note=f"{fact}: left out")
            if apex:
                apex = round(apex * (settings.clip_length - 1) / (len(frames) - 1))
            frames, note = interpolate_in_time(frames, settings.clip_length), f"{fact}: interpolated in time"
        arrays = prepare_clip(frames, backend, settings, apex=apex)
        metadata = {
            "state": state,
            "content": content,
            "note": note,
            "n_frames": str(len(frames)),
            "apex": "table" if apex else settings.missing_apex,
            "apex_place": str(arrays.pop("apex_place")),
        }
        save_arrays(target, arrays, metadata)
    n_frames = int(metadata["n_frames"])
    row = {
        **clip,
        "file": str(target.relative_to(folder)),
        "content": metadata["content"],
        "n_frames": n_frames,
        "stride": n_frames // settings.clip_length,
        "apex_from": metadata["apex"],
        "apex_place": int(metadata["apex_place"]),
    }
    return Outcome(row=row, note=metadata["note"] or None)


def _integer(value: object) -> int | None:
    return None if pd.isna(value) else int(value)  # type: ignore[call-overload]


def _fingerprint(path: Path, numbers: Mapping[str, int | None]) -> str:
    """Changes when the clip's files, limits or apex do, so that a stale cache file is made again."""
    files = list(list_frames(path).values()) if path.is_dir() else [path] if path.is_file() else []
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return settings_hash({"files": facts, **numbers})


def cache_folder(cache_dir: Path, settings: PreparationSettings, *, data: str, source: Mapping[str, object]) -> Path:
    """Where clips of a source are kept: `<cache>/<data>/<hash of source and preparation settings>`."""
    facts = {
        "preparation": asdict(settings) | {"version": PREPARATION},
        "source": source,
        "backend": backend_version(settings.faces),
    }
    return cache_dir / data / settings_hash(facts)
