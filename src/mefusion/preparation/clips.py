"""From a clip's raw frames to what the models read: detect, align, compute the targets, keep."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mefusion.clips.cache import PREPARED_COLUMNS, is_finite, read_header, save_clip, settings_hash
from mefusion.clips.table import KEY, file_name, frame_number
from mefusion.clips.video import IMAGES, frame_place, list_frames, read_clip, read_image
from mefusion.common.errors import MefusionError
from mefusion.common.files import leads_outside, remove_leftovers, write_table
from mefusion.common.parallel import parallel_map
from mefusion.faces.alignment import fill_missing
from mefusion.faces.detectors import FaceBackend, backend_version, make_backend
from mefusion.faces.landmark_files import KnownLandmarks, clip_landmarks, with_landmark_files
from mefusion.preparation.arrays import blend_in_time, flow_image_arrays, interpolate_in_time, prepare_clip
from mefusion.preparation.checking import is_whole, stride_of
from mefusion.preparation.settings import PreparationSettings, ShortClips

PREPARATION = 2  # raise it when the same settings come to give other arrays


@dataclass(frozen=True)
class Outcome:
    """What became of a clip: a row of the index, or the sentence that says why there is none."""

    row: Mapping[str, object] | None = None
    problem: str | None = None
    note: str | None = None


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
    make_backend(settings.backend)  # fails here, once and clearly, rather than in every process
    if settings.backend == "precomputed":
        table = with_landmark_files(table, settings.faces.folder)
    remove_leftovers(folder)
    clips = table.to_dict("records")
    outcomes = parallel_map(
        functools.partial(_prepare, folder=folder, settings=settings),
        range(len(clips)),
        description="Preparing",
        workers=workers,
        initialise=_initialise_worker,
        arguments=(clips, settings.backend),
    )
    done = dict(sorted(outcomes))
    rows = [outcome.row for outcome in done.values() if outcome.row]
    index = pd.DataFrame(rows, columns=[*table.columns, *PREPARED_COLUMNS])
    failed = [{**clips[i], "problem": outcome.problem} for i, outcome in done.items() if outcome.problem]
    failures = pd.DataFrame(failed, columns=[*KEY, "path", "problem"])
    write_table(folder / "failures.csv", failures)
    write_table(folder / "index.parquet", index.astype(table.dtypes.to_dict()))
    return index, failures, [outcome.note for outcome in done.values() if outcome.note]


_clips: list[dict[str, object]] = []
_backend: FaceBackend | None = None


def _initialise_worker(clips: list[dict[str, object]], faces: str) -> None:
    """Give a worker process the clips and one face backend for all of them."""
    global _backend
    _clips[:] = clips
    _backend = make_backend(faces)


def _prepare(number: int, *, folder: Path, settings: PreparationSettings) -> Outcome:
    clip = _clips[number]
    try:
        return _prepare_or_raise(clip, _backend, folder, settings)
    except MefusionError as error:
        sentence = str(error)
        return Outcome(problem=sentence if str(clip["path"]) in sentence else f"{clip['path']}: {sentence}")
    except Exception as error:  # one bad clip never stops the rest
        return Outcome(problem=f"{clip['path']}: {type(error).__name__}: {error}")


def _prepare_or_raise(
    clip: dict[str, object], backend: FaceBackend | None, folder: Path, settings: PreparationSettings
) -> Outcome:
    path, numbers = Path(str(clip["path"])), {name: frame_number(clip[name]) for name in ("onset", "apex", "offset")}
    names = (str(clip["dataset"]), str(clip["subject"]).split("/", 1)[-1], f"{clip['clip_id']}.safetensors")
    target = folder.joinpath("clips", *map(file_name, names))
    landmarks = _landmark_file(clip, settings)
    files = _files([path] if landmarks is None else [path, landmarks], root=Path(str(clip["root"])))
    state = _fingerprint(files, numbers)
    header = read_header(target)
    metadata = header.metadata
    if metadata.get("state") != state or not is_whole(target, header, settings):
        if path.suffix.lower() in IMAGES:
            arrays, facts = _from_flow_image(path)
        else:
            limits = {"onset": numbers["onset"], "offset": numbers["offset"]}
            frames = read_clip(path, **limits)
            if len(frames) < settings.clip_length and settings.short_clips == ShortClips.leave_out:
                return Outcome(note=f"{_too_few_frames(path, len(frames), settings)}: left out")
            apex = frame_place(path, numbers["apex"], **limits)
            points = clip_landmarks(landmarks, path, used=len(frames), **limits) if landmarks else None
            arrays, facts = _from_frames(path, frames, points, backend, settings, apex=apex)
        metadata = facts | {"state": state}
        if broken := [name for name, array in arrays.items() if not is_finite(array)]:
            raise MefusionError(f"its {broken[0]} came out with values that are not finite")
        save_clip(target, arrays, metadata)
    n_frames = int(metadata["n_frames"])
    row = {
        **clip,
        "file": str(target.relative_to(folder)),
        "content": metadata["content"],
        "n_frames": n_frames,
        "stride": stride_of(n_frames, settings),
        "apex_from": metadata["apex"],
        "apex_place": int(metadata["apex_place"]),
    }
    return Outcome(row=row, note=metadata["note"] or None)


def _from_frames(
    path: Path,
    frames: list[np.ndarray],
    points: np.ndarray | None,
    backend: FaceBackend | None,
    settings: PreparationSettings,
    *,
    apex: int | None,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays of a clip and facts about it; `points` are the landmarks [n, 68, 2] px where they are known."""
    content, note = hashlib.sha256(b"".join(frame.tobytes() for frame in frames)), ""
    if points is not None:
        content.update(points.tobytes())
        points = fill_missing(points, limit=settings.faces.max_missing)
    if len(frames) < settings.clip_length:
        note = f"{_too_few_frames(path, len(frames), settings)}: interpolated in time"
        if apex:
            apex = round(apex * (settings.clip_length - 1) / (len(frames) - 1))
        frames = interpolate_in_time(frames, settings.clip_length)
        points = None if points is None else blend_in_time(points, settings.clip_length)
    arrays = prepare_clip(frames, backend if points is None else KnownLandmarks(points), settings, apex=apex)
    facts = {
        "n_frames": str(len(frames)),
        "apex": "table" if apex else str(settings.missing_apex),
        "apex_place": str(arrays.pop("apex_place")),
    }
    return arrays, facts | {"content": content.hexdigest()[:16], "note": note}


def _from_flow_image(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays of a clip that is a flow image already, and facts about it."""
    image = read_image(path)
    content = hashlib.sha256(image.tobytes()).hexdigest()[:16]
    return flow_image_arrays(image), {
        "content": content,
        "note": "",
        "n_frames": "1",
        "apex": "table",
        "apex_place": "0",
    }


def _too_few_frames(path: Path, count: int, settings: PreparationSettings) -> str:
    return f"{path} has {count} frames, fewer than a window's {settings.clip_length}"


def _landmark_file(clip: Mapping[str, object], settings: PreparationSettings) -> Path | None:
    if settings.backend != "precomputed":
        return None
    if pd.isna(clip["landmarks"]):
        raise MefusionError("the manifest names no landmarks for it and faces=precomputed needs them: add their file")
    return Path(str(clip["landmarks"]))


def _files(paths: Sequence[Path], *, root: Path) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        files += list_frames(path).values() if path.is_dir() else [path] if path.is_file() else []
    for file in files:
        if file.is_symlink() and leads_outside(file, root):
            raise MefusionError(f"{file} is a link that leaves {root}: data.root must hold the files themselves")
    return files


def _fingerprint(files: Sequence[Path], numbers: Mapping[str, int | None]) -> str:
    """Changes when the clip's files, limits or apex do, so that a stale cache file is made again."""
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return settings_hash({"files": facts, **numbers})


def cache_folder(cache_dir: Path, settings: PreparationSettings, *, data: str, source: Mapping[str, object]) -> Path:
    """Where clips of a source are kept: `<cache>/<data>/<hash of source and preparation settings>`."""
    faces = asdict(settings.faces)
    # As it was first written, so that what was prepared stays where it is looked for.
    recorded = asdict(settings) | {name: faces[name] for name in ("enlarge", "alignment", "max_missing")}
    recorded |= {"faces": recorded.pop("backend"), "landmark_folder": faces["folder"], "version": PREPARATION}
    facts = {"preparation": recorded, "source": source, "backend": backend_version(settings.backend)}
    return cache_dir / data / settings_hash(facts)
