"""Read what a row of a clip table names: frames, apex and landmarks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mefusion.clips.table import frame_number
from mefusion.clips.video import frame_place, frames_past_end, read_clip
from mefusion.common.errors import MefusionError
from mefusion.faces.landmark_files import clip_landmarks
from mefusion.preparation.settings import PreparationSettings


@dataclass(frozen=True)
class RawClip:
    """A clip as it was recorded.

    Attributes:
        frames: from onset to offset, [H, W, 3] uint8 RGB each.
        apex: index of the apex among the frames; None if it is unknown, or not among them.
        landmarks: [n, 68, 2] px, NaN in frames without a face; None unless they come from a file.
        past_end: number of frames that the offset lies past the last frame.
    """

    frames: list[np.ndarray]
    apex: int | None
    landmarks: np.ndarray | None
    past_end: int


def frame_numbers(clip: Mapping[str, object]) -> dict[str, int | None]:
    """Onset, apex and offset of a row of a clip table."""
    return {name: frame_number(clip[name]) for name in ("onset", "apex", "offset")}


def read_raw_clip(clip: Mapping[str, object], settings: PreparationSettings) -> RawClip:
    """Read the frames of a row of a clip table, with their landmarks if these come from a file.

    Raises:
        MefusionError: frames or landmarks cannot be read, or do not fit each other.
    """
    path, numbers, file = Path(str(clip["path"])), frame_numbers(clip), landmark_file(clip, settings)
    limits = {"onset": numbers["onset"], "offset": numbers["offset"]}
    frames = read_clip(path, **limits)
    apex = frame_place(path, numbers["apex"], **limits)
    return RawClip(
        frames=frames,
        apex=None if apex is None or apex >= len(frames) else apex,
        landmarks=clip_landmarks(file, path, frames, **limits) if file else None,
        past_end=frames_past_end(path, count=len(frames), **limits),
    )


def landmark_file(clip: Mapping[str, object], settings: PreparationSettings) -> Path | None:
    """The landmark file of a row of a clip table; None if landmarks are not read from files.

    Raises:
        MefusionError: they are, and the row names none.
    """
    if settings.backend != "precomputed":
        return None
    if pd.isna(clip["landmarks"]):
        raise MefusionError("the manifest has no landmarks for this clip, and faces=precomputed needs them: add a file")
    return Path(str(clip["landmarks"]))
