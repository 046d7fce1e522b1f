"""Read landmarks from files that other programs have made: OpenFace's CSV files and NumPy arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mefusion.clips.video import used_frames
from mefusion.common.errors import MefusionError
from mefusion.common.files import leads_outside
from mefusion.faces.alignment import has_eyes

SUFFIXES = (".npy", ".csv")
_POINTS = [*(f"x_{i}" for i in range(68)), *(f"y_{i}" for i in range(68))]
COLUMNS = ["frame", "success", *_POINTS]


@dataclass(frozen=True)
class KnownLandmarks:
    """A `FaceBackend` that gives known landmarks: `points` [n, 68, 2] px of a clip's frames."""

    points: np.ndarray
    package = "precomputed"

    def landmarks(self, frames: object) -> np.ndarray:
        """See `FaceBackend.landmarks`."""
        return self.points


def with_landmark_files(table: pd.DataFrame, folder: str | None) -> pd.DataFrame:
    """Fill the column `landmarks` of a clip table: the landmark file of each clip.

    Args:
        table: clip table; without a folder, it must have the column already.
        folder: contains `<subject>/<clip_id>.npy` or `.csv`; for several datasets, `<dataset>/<subject>/...`.

    Raises:
        MefusionError: the folder does not exist, or neither folder nor column is given.
    """
    if folder is None:
        if table["landmarks"].isna().all():
            raise MefusionError(
                "faces=precomputed has no landmarks: name their files in the manifest's column landmarks, or set "
                "faces.folder=DIR, a folder with <subject>/<clip_id>.npy or .csv"
            )
        return table
    if not Path(folder).is_dir():
        raise MefusionError(f"faces.folder={folder} is no folder: give the folder with <subject>/<clip_id>.npy or .csv")

    several = len(set(table["subject"].str.partition("/")[0])) > 1

    def file(clip: pd.Series) -> str:
        subject = clip["subject"] if several else clip["subject"].split("/", 1)[-1]
        name = Path(subject, clip["clip_id"])
        below = Path(folder, name)
        if leads_outside(below, Path(folder)):
            raise MefusionError(
                f"the landmarks of clip {name} would lie outside faces.folder={folder}: rename the clip"
            )
        places = [below.with_name(below.name + suffix) for suffix in SUFFIXES]
        return str(next((place for place in places if place.is_file()), places[0]))

    return table.assign(landmarks=table.apply(file, axis=1).astype("string"))


def clip_landmarks(
    file: Path, clip: Path, frames: Sequence[np.ndarray], *, onset: int | None, offset: int | None
) -> np.ndarray:
    """Read the landmarks of the frames that `read_clip` gives.

    Args:
        file: see `read_landmarks`; has landmarks for each of these frames, or for every frame of the folder or video.
        clip: folder of frames or video file.
        frames: pictures [H, W, 3] that `read_clip` gives.
        onset, offset: as for `read_clip`.

    Returns:
        [used, 68, 2] px, NaN where no face was found.

    Raises:
        MefusionError: the file cannot be read, does not have as many frames as the clip, or its faces are not in the
            pictures.
    """
    landmarks = _of_used_frames(read_landmarks(file), file, clip, len(frames), onset=onset, offset=offset)
    height, width = frames[0].shape[:2]
    centres = landmarks.mean(1)
    outside = ((centres < 0) | (centres > (width, height))).any(1)
    if outside.any():
        x, y = centres[outside][0].round()
        raise MefusionError(
            f"{file} has a face around ({x:g}, {y:g}), outside the pictures of {width}x{height} px, in "
            f"{outside.sum()} of {len(frames)} frames: give landmarks in px of the pictures on disk"
        )
    return landmarks


def _of_used_frames(
    landmarks: np.ndarray, file: Path, clip: Path, used: int, *, onset: int | None, offset: int | None
) -> np.ndarray:
    if len(landmarks) == used:
        return landmarks
    places = used_frames(clip, count=len(landmarks), onset=onset, offset=offset)
    whole = len(used_frames(clip, count=len(landmarks)))
    if len(places) != used or whole != len(landmarks):
        raise MefusionError(
            f"{file} has landmarks of {len(landmarks)} frames and {clip} has {used} from onset to offset: give "
            "landmarks for each of these frames, or for every frame of the folder or video"
        )
    return landmarks[places]


def read_landmarks(file: Path) -> np.ndarray:
    """Read landmarks [n, 68, 2] in px of the pictures on disk, NaN where no face was found.

    Args:
        file: a NumPy array [n, 68, 2] (`.npy`), with NaN or equal numbers in frames without a face; or a table of
            OpenFace (`.csv`) with the columns frame, success, x_0 to x_67 and y_0 to y_67 and one row for each frame.

    Raises:
        MefusionError: the file does not exist, has another format, or misses some points of a face.
    """
    if not file.is_file():
        raise MefusionError(f"{file} is not there: faces=precomputed needs a landmark file for every clip")
    landmarks = _read_array(file) if file.suffix.lower() == ".npy" else _read_table(file)
    broken = ~(np.isfinite(landmarks).all((1, 2)) | np.isnan(landmarks).all((1, 2)))
    if broken.any():
        raise MefusionError(
            f"{file} lacks some points of a face, or has infinite ones, in {broken.sum()} of {len(landmarks)} frames "
            f"(frame {np.argmax(broken) + 1} is the first): give all 68 points of a face, or none"
        )
    missing = [not has_eyes(points) for points in landmarks]
    landmarks[missing] = np.nan
    return landmarks


def _read_array(file: Path) -> np.ndarray:
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MefusionError(f"{file} cannot be read as a NumPy array of numbers ({error}): write it again") from error
    if array.ndim != 3 or array.shape[1:] != (68, 2) or array.dtype.kind not in "fiu":
        raise MefusionError(
            f"{file} holds {array.dtype} of shape {list(array.shape)}: give numbers of shape [frames, 68, 2]"
        )
    return array.astype(np.float64)


def _read_table(file: Path) -> np.ndarray:
    try:
        rows = pd.read_csv(file, dtype=str, skipinitialspace=True, usecols=lambda name: name.strip() in COLUMNS)
        rows = rows.rename(columns=str.strip)
        missing = [column for column in COLUMNS if column not in rows]
        if missing:
            raise MefusionError(
                f"{file} lacks the column {missing[0]}: it must be a table of OpenFace with 2D landmarks"
            )
        numbers = rows[COLUMNS].astype(float)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise MefusionError(
            f"{file} cannot be read as OpenFace's table ({str(error).strip()}): write it again"
        ) from error
    numbers = numbers.sort_values("frame")
    steps = np.diff(numbers["frame"])
    if (steps != 1).any():
        first = numbers["frame"].iloc[int(np.argmax(steps != 1))]
        raise MefusionError(
            f"{file} does not have one row for each frame after frame {first:g}: keep one face, and every frame"
        )
    points = numbers[_POINTS].to_numpy().reshape(-1, 2, 68).transpose(0, 2, 1).copy()
    points[numbers["success"].to_numpy() != 1] = np.nan
    return points
