"""How clips are prepared, as a configuration says it."""

from dataclasses import dataclass, field
from enum import StrEnum

from mefusion.common.errors import MefusionError


class Alignment(StrEnum):
    """Frames are aligned a clip at a time, or each by its own landmarks as published; see `faces.alignment`."""

    stabilised = "stabilised"
    frame = "frame"


class ShortClips(StrEnum):
    """What becomes of clips with fewer frames than a window: they are interpolated in time, or left out."""

    interpolate = "interpolate"
    leave_out = "leave_out"


class MissingApex(StrEnum):
    """What stands for an apex that is unknown, outside the clip or its onset.

    The midpoint between first and last frame, or the frame that differs most from the first.
    """

    midpoint = "midpoint"
    largest_motion = "largest_motion"


@dataclass
class FaceSettings:
    """How faces are found and aligned.

    Attributes:
        backend: what finds them; None is the source's own.
        enlarge: side of the aligned square in sides of the bounding box of eyes, nose tip and mouth corners.
        alignment: of the frames.
        max_missing: most frames in a row without a face, whose landmarks are interpolated.
        folder: of landmark files, for `precomputed`.

    Raises:
        MefusionError: `max_missing` is below 0, or `enlarge` not above it.
    """

    backend: str | None = None
    enlarge: float = 2.5
    alignment: Alignment = Alignment.stabilised
    max_missing: int = 5
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.max_missing < 0:
            raise MefusionError(f"faces.max_missing={self.max_missing}: give a number of frames from 0 up")
        if self.enlarge <= 0:
            raise MefusionError(f"faces.enlarge={self.enlarge}: give a number above 0")


@dataclass
class PreparationSettings:
    """How clips are prepared; the cache's folder is named by it.

    Attributes:
        backend: what finds the faces, see `mefusion.faces.detectors.make_backend`.
        faces: how they are aligned.
        clip_length: frames T of a window.
        short_clips: what becomes of clips shorter than T.
        missing_apex: what stands for an unknown apex.
        canvas: side of the aligned frames that MOL crops from, px.
        small: side of the aligned frames of FDP, px.

    Raises:
        MefusionError: a window has fewer than 2 frames.
    """

    backend: str = "dlib"
    faces: FaceSettings = field(default_factory=FaceSettings)
    clip_length: int = 8
    short_clips: ShortClips = ShortClips.interpolate
    missing_apex: MissingApex = MissingApex.midpoint
    canvas: int = 144
    small: int = 64

    def __post_init__(self) -> None:
        if self.clip_length < 2:
            raise MefusionError(f"clip_length={self.clip_length}: a window needs at least 2 frames")
