"""Prepare clips: read the frames, find the face, align, compute the targets, and save them to a cache folder."""

import functools
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mefusion.clips.cache import (
    LEFT_OUT_COLUMNS,
    PICTURES,
    PREPARED_COLUMNS,
    RECORDED_COLUMNS,
    is_finite,
    read_header,
    save_clip,
    settings_hash,
)
from mefusion.clips.table import file_name
from mefusion.clips.video import IMAGES, list_frames, read_image
from mefusion.common.errors import MefusionError, WriteError
from mefusion.common.files import leads_outside, remove_leftovers, write_table
from mefusion.faces.alignment import fill_missing
from mefusion.faces.detectors import FaceFinder, make_backend
from mefusion.faces.landmark_files import KnownLandmarks, with_landmark_files
from mefusion.preparation.arrays import FLOWS, blend_in_time, flow_image_arrays, interpolate_in_time, prepare_clip
from mefusion.preparation.checking import is_whole, stride_of
from mefusion.preparation.quality import edge_distance
from mefusion.preparation.reading import frame_numbers, landmark_file, read_raw_clip
from mefusion.preparation.settings import PreparationSettings, ShortClips
from mefusion.processes.parallel import parallel_map


@dataclass(frozen=True)
class Outcome:
    """Result of one clip: a row of the index, or the problem that prevented it; and a note for the user.

    Attributes:
        row: of the index.
        problem: why the clip is left out.
        wanted: whether the settings ask for that, so that it is no failure.
        note: how the clip was changed.
    """

    row: Mapping[str, object] | None = None
    problem: str | None = None
    wanted: bool = False
    note: str | None = None


def prepare_clips(
    table: pd.DataFrame,
    folder: Path,
    settings: PreparationSettings,
    *,
    workers: int | None = None,
    flow_device: str | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Prepare the clips of a table in parallel and save them to a cache folder; clips already prepared are kept.

    Args:
        table: clip table.
        folder: the cache's folder; clips/, index.parquet and failures.csv (all clips left out) are written there.
        settings: how clips are prepared.
        workers: number of processes; None means one for each core.
        flow_device: see `measure_flow`.

    Returns:
        The index; the failures, with `LEFT_OUT_COLUMNS` and the table's other columns; and notes on clips that were
        interpolated, or left out because the settings ask for it.

    Raises:
        MefusionError: the face backend cannot be used.
        OSError: the cache's folder cannot be made.
    """
    make_backend(settings.backend)  # raises its error here once, instead of in each process
    if settings.backend == "precomputed":
        table = with_landmark_files(table, settings.faces.folder)
    folder.mkdir(parents=True, exist_ok=True)  # raises its error before the clips are prepared
    remove_leftovers(folder)
    clips = table.to_dict("records")
    outcomes = parallel_map(
        functools.partial(_prepare, folder=folder, settings=settings, flow_device=flow_device),
        range(len(clips)),
        description="Preparing",
        workers=workers,
        initialise=_initialise_worker,
        arguments=(clips, settings.backend),
    )
    done = dict(sorted(outcomes))
    rows = [outcome.row for outcome in done.values() if outcome.row]
    index = pd.DataFrame(rows, columns=[*table.columns, *PREPARED_COLUMNS, PICTURES, *RECORDED_COLUMNS])
    unused = {i: outcome for i, outcome in done.items() if outcome.problem}
    columns = dict.fromkeys([*LEFT_OUT_COLUMNS, *table.columns])
    left_out = pd.DataFrame([{**clips[i], "problem": o.problem} for i, o in unused.items()], columns=[*columns])
    wanted = np.array([outcome.wanted for outcome in unused.values()], dtype=bool)
    write_table(folder / "failures.csv", left_out)
    write_table(folder / "index.parquet", index.astype(table.dtypes.to_dict() | RECORDED_COLUMNS))
    remarks = [outcome.problem if outcome.wanted else outcome.note for outcome in done.values()]
    return index, left_out[~wanted].reset_index(drop=True), [remark for remark in remarks if remark]


_clips: list[dict[str, object]] = []
_backend: FaceFinder | None = None


def _initialise_worker(clips: list[dict[str, object]], faces: str) -> None:
    """Store the clips and one face backend in a worker process, for all clips that it prepares."""
    global _backend
    _clips[:] = clips
    _backend = make_backend(faces)


def _prepare(number: int, *, folder: Path, settings: PreparationSettings, flow_device: str | None) -> Outcome:
    clip = _clips[number]
    try:
        return _prepare_or_raise(clip, _backend, folder, settings, flow_device)
    except WriteError:  # no other clip can be written either
        raise
    except MefusionError as error:
        sentence = str(error)
        return Outcome(problem=sentence if str(clip["path"]) in sentence else f"{clip['path']}: {sentence}")
    except Exception as error:  # a clip that fails must not stop the others
        return Outcome(problem=f"{clip['path']}: {type(error).__name__}: {error}")


def _prepare_or_raise(
    clip: dict[str, object],
    backend: FaceFinder | None,
    folder: Path,
    settings: PreparationSettings,
    flow_device: str | None,
) -> Outcome:
    path, numbers = Path(str(clip["path"])), frame_numbers(clip)
    names = (str(clip["dataset"]), str(clip["subject"]).split("/", 1)[-1], f"{clip['clip_id']}.safetensors")
    target = folder.joinpath("clips", *map(file_name, names))
    landmarks = landmark_file(clip, settings)
    files = _files([path] if landmarks is None else [path, landmarks], root=Path(str(clip["root"])))
    state = _fingerprint(files, numbers)
    header = read_header(target)
    metadata = header.metadata
    complete = landmarks is None or PICTURES in metadata  # files of older versions are not
    if not complete or metadata.get("state") != state or not is_whole(target, header, settings):
        if path.suffix.lower() in IMAGES:
            arrays, facts = _from_flow_image(path)
        else:
            raw = read_raw_clip(clip, settings)
            frames, past_end = raw.frames, raw.past_end
            if len(frames) < settings.clip_length and settings.short_clips == ShortClips.leave_out:
                return Outcome(problem=f"{too_few_frames(path, len(frames), settings)}: left out", wanted=True)
            arrays, facts = prepare_frames(
                frames,
                backend,
                settings,
                apex=raw.apex,
                landmarks=raw.landmarks,
                origin=path,
                flow_device=flow_device,
            )
            facts["frames_past_end"] = str(past_end)
            if past_end:
                sentence = f"{path} ends {past_end} frames before the offset {numbers['offset']}: it is used to its end"
                facts["note"] = "; ".join(filter(None, (sentence, facts["note"])))
        metadata = facts | {"state": state}
        if broken := [name for name, array in arrays.items() if not is_finite(array)]:
            raise MefusionError(f"its {broken[0]} came out with values that are not finite")
        save_clip(target, arrays, metadata)
    n_frames = int(metadata["n_frames"])
    row = {
        **clip,
        "file": target.relative_to(folder).as_posix(),
        "content": metadata["content"],
        PICTURES: metadata.get(PICTURES, metadata["content"]),
        "n_frames": n_frames,
        "stride": stride_of(n_frames, settings),
        "apex_from": metadata["apex"],
        "apex_place": int(metadata["apex_place"]),
    } | {name: float(metadata[name]) if name in metadata else None for name in RECORDED_COLUMNS}
    return Outcome(row=row, note=metadata["note"] or None)


def prepare_frames(
    frames: list[np.ndarray],
    backend: FaceFinder | None,
    settings: PreparationSettings,
    *,
    apex: int | None = None,
    landmarks: np.ndarray | None = None,
    origin: object = "the clip",
    flows: Collection[str] = FLOWS,
    flow_device: str | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Prepare a clip in memory.

    Args:
        frames: n pictures [H, W, 3] uint8 RGB; fewer than T are interpolated in time.
        backend: finds the landmarks; None if the frames show only the face, or if the landmarks are given.
        settings: how clips are prepared.
        apex: index of the apex among the frames; None if it is unknown.
        landmarks: [n, 68, 2] px, NaN in frames without a face; None if they are to be found.
        origin: where the frames come from, for notes.
        flows, flow_device: see `prepare_clip`.

    Returns:
        The arrays of `prepare_clip`, without `apex_place`; and what is recorded of the clip: the metadata of its file
        in the cache, and of `RECORDED_COLUMNS` what its frames show.

    Raises:
        MefusionError: see `prepare_clip`.
    """
    points = landmarks
    content, note = hashlib.sha256(b"".join(frame.tobytes() for frame in frames)), ""
    recorded = {"frames_read": str(len(frames))}
    if points is not None:
        recorded[PICTURES] = content.hexdigest()[:16]
        content.update(points.tobytes())
        recorded |= _recorded_of(points, frames)
        points = fill_missing(points, limit=settings.faces.max_missing)
    if len(frames) < settings.clip_length:
        note = f"{too_few_frames(origin, len(frames), settings)}: interpolated in time"
        if apex:
            apex = round(apex * (settings.clip_length - 1) / (len(frames) - 1))
        frames = interpolate_in_time(frames, settings.clip_length)
        points = None if points is None else blend_in_time(points, settings.clip_length)
    if points is None and backend is not None:
        found = backend.find(frames)
        points = found.landmarks
        recorded |= {"faces": str(found.faces)} | _recorded_of(points, frames)
    known = None if points is None else KnownLandmarks(points)
    arrays = prepare_clip(frames, known, settings, apex=apex, flows=flows, flow_device=flow_device)
    facts = {
        "n_frames": str(len(frames)),
        "apex": "table" if apex else str(settings.missing_apex),
        "apex_place": str(arrays.pop("apex_place")),
    }
    return arrays, facts | recorded | {"content": content.hexdigest()[:16], "note": note}


def _recorded_of(points: np.ndarray, frames: Sequence[np.ndarray]) -> dict[str, str]:
    """What is recorded of found landmarks [n, 68, 2] px, NaN where there is no face; see `RECORDED_COLUMNS`."""
    seen = ~np.isnan(points).any(axis=(1, 2))
    if not seen.any():
        return {}
    height, width, _ = frames[0].shape
    edge = edge_distance(points[seen], height=height, width=width)
    return {"frames_without_face": str(int((~seen).sum())), "edge": f"{edge:.3f}"}


def _from_flow_image(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Make the arrays and metadata of a clip that is a flow image already."""
    image = read_image(path)
    content = hashlib.sha256(image.tobytes()).hexdigest()[:16]
    return flow_image_arrays(image), {
        "content": content,
        "note": "",
        "n_frames": "1",
        "apex": "table",
        "apex_place": "0",
    }


def too_few_frames(origin: object, count: int, settings: PreparationSettings) -> str:
    """Says that a clip has fewer frames than a window."""
    return f"{origin} has {count} frames, fewer than a window's {settings.clip_length}"


def _files(paths: Sequence[Path], *, root: Path) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        files += list_frames(path).values() if path.is_dir() else [path] if path.is_file() else []
    for file in files:
        if file.is_symlink() and leads_outside(file, root):
            raise MefusionError(f"{file} is a link that leaves {root}: data.root must hold the files themselves")
    return files


def _fingerprint(files: Sequence[Path], numbers: Mapping[str, int | None]) -> str:
    """Hash of a clip's files, onset, apex and offset; if it has changed, the clip is prepared again."""
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return settings_hash({"files": facts, **numbers})
