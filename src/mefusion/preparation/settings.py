"""Settings of the preparation of clips."""

from dataclasses import dataclass, field
from enum import StrEnum

from mefusion.common.errors import MefusionError


class Alignment(StrEnum):
    """Alignment of all frames of a clip together (`stabilised`), or of each by its own landmarks, as MOL does it.

    See `mefusion.faces.alignment`.
    """

    stabilised = "stabilised"
    frame = "frame"


class ShortClips(StrEnum):
    """Treatment of clips with fewer frames than a window: interpolate them in time, or leave them out."""

    interpolate = "interpolate"
    leave_out = "leave_out"


class MissingApex(StrEnum):
    """Frame that is used if the apex is unknown, outside the clip, or equal to the onset.

    It is the one in the middle of the clip, or the one that differs most from the first.
    """

    midpoint = "midpoint"
    largest_motion = "largest_motion"


class FlowMethod(StrEnum):
    """How optical flow is measured: Dual TV-L1, or quicker by dense inverse search or Farneback's method.

    See `mefusion.clips.motion`.
    """

    tvl1 = "tvl1"
    dis = "dis"
    farneback = "farneback"


@dataclass
class FaceSettings:
    """Settings that say how faces are found and aligned.

    Attributes:
        backend: name of the face backend; None means the default of the data source.
        enlarge: side of the aligned square, in units of the larger side of the bounding box of eyes, nose tip and mouth
            corners.
        alignment: how frames are aligned.
        max_missing: largest number of frames in a row without a face; their landmarks are interpolated.
        folder: folder of landmark files, for the backend `precomputed`.

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
    """Settings of the preparation; the name of the cache's folder has a hash of them.

    Attributes:
        backend: name of the face backend, see `mefusion.faces.detectors.make_backend`.
        faces: how faces are aligned.
        clip_length: number of frames T of a window.
        short_clips: treatment of clips with fewer than T frames.
        missing_apex: frame that is used if the apex is unknown.
        canvas: side of the aligned frames that MOL's inputs are cut from, px.
        small: side of the aligned frames for FDP, px.
        flow: how optical flow is measured.

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
    flow: FlowMethod = FlowMethod.tvl1

    def __post_init__(self) -> None:
        if self.clip_length < 2:
            raise MefusionError(f"clip_length={self.clip_length}: a window needs at least 2 frames")
