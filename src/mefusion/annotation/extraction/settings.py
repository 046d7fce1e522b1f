"""Settings of extraction and export; conf/annotate has a group for each of the first four."""

from dataclasses import dataclass, field
from enum import StrEnum

from mefusion.common.errors import MefusionError


class Vad(StrEnum):
    """What tells speech from other sound, see `mefusion.annotation.extraction.speech`."""

    silero = "silero"
    webrtc = "webrtc"


class Speaker(StrEnum):
    """What tells whose speech it is, see `mefusion.annotation.extraction.speaker`."""

    mouth = "mouth"
    onnx = "onnx"


class Identity(StrEnum):
    """What a subject is: a person who is known again by the face, or all faces of a video."""

    dlib = "dlib"
    none = "none"


class Transcript(StrEnum):
    """Where the words come from: nowhere, subtitles beside the video, or faster-whisper on this machine."""

    none = "none"
    files = "files"
    faster_whisper = "faster_whisper"


class Events(StrEnum):
    """Which frames of a segment are a clip: a window around the largest motion, or each event of spotting."""

    window = "window"
    spot = "spot"


@dataclass
class VadSettings:
    """conf/annotate/vad.

    Attributes:
        name: see `Vad`.
        threshold: of silero's probability, 0..1.
        mode: of webrtc: how much is taken for no speech, 0 to 3.
        silence: shorter silences are part of the speech, s.
        padding: of speech at both ends, s.
    """

    name: Vad = Vad.silero
    threshold: float = 0.5
    mode: int = 2
    silence: float = 0.3
    padding: float = 0.1

    def __post_init__(self) -> None:
        _require("vad.threshold", self.threshold, 0 < self.threshold < 1, "a number between 0 and 1")
        _require("vad.mode", self.mode, 0 <= self.mode <= 3, "0, 1, 2 or 3")
        _require("vad.silence", self.silence, 0 <= self.silence <= 10, "seconds from 0 to 10")
        _require("vad.padding", self.padding, 0 <= self.padding <= 1, "seconds from 0 to 1")


@dataclass
class SpeakerSettings:
    """conf/annotate/speaker.

    Attributes:
        name: see `Speaker`.
        articulation: least motion of a speaker's outer lips, of the inter-ocular distance.
        score: least mean score of `onnx`.
        path: of `onnx`, the network's file.
        coverage: least share of a segment's frames in which a speaker is seen.
    """

    name: Speaker = Speaker.mouth
    articulation: float = 0.02
    score: float = 0.0
    path: str | None = None
    coverage: float = 0.9

    def __post_init__(self) -> None:
        _require("speaker.articulation", self.articulation, self.articulation >= 0, "a number from 0 up")
        _require("speaker.coverage", self.coverage, 0 < self.coverage <= 1, "a number above 0, at most 1")
        if self.name == Speaker.onnx and not self.path:
            raise MefusionError("speaker=onnx needs the network's file: give speaker.path=FILE")


@dataclass
class IdentitySettings:
    """conf/annotate/identity.

    Attributes:
        name: see `Identity`.
        distance: mean distance of two tracks' faces below which they are one person's (dlib's 128 numbers).
        doubtful: pairs of people from here on up to `distance` and as far above it are listed to be looked at.
    """

    name: Identity = Identity.dlib
    distance: float = 0.5
    doubtful: float = 0.4

    def __post_init__(self) -> None:
        _require("identity.distance", self.distance, 0 < self.distance <= 2, "a number above 0, at most 2")
        _require(
            "identity.doubtful", self.doubtful, 0 < self.doubtful <= self.distance, "a number up to identity.distance"
        )


@dataclass
class TranscriptSettings:
    """conf/annotate/transcript.

    Attributes:
        name: see `Transcript`.
        model: of `faster_whisper`: the folder of a model, or a name that faster-whisper downloads.
        language: of `faster_whisper`; None means that it is recognised.
    """

    name: Transcript = Transcript.none
    model: str = "small"
    language: str | None = None


@dataclass
class SegmentSettings:
    """How speech is cut to segments.

    Attributes:
        gap: speech across shorter gaps is joined, s.
        shortest, longest: limits of a segment, s.
    """

    gap: float = 0.6
    shortest: float = 2.0
    longest: float = 12.0

    def __post_init__(self) -> None:
        _require("segments.gap", self.gap, 0 <= self.gap <= 60, "seconds from 0 to 60")
        _require("segments.shortest", self.shortest, self.shortest >= 0.5, "seconds from 0.5 up")
        _require(
            "segments.longest", self.longest, self.shortest < self.longest <= 600, "seconds above segments.shortest"
        )


@dataclass
class ExtractSettings:
    """What makes segments of a video; what was extracted with other settings is extracted anew.

    Attributes:
        vad, speaker, transcript, segments: see there.
        allow_broken: whether a video that cannot be read to its end is used up to there.
    """

    vad: VadSettings = field(default_factory=VadSettings)
    speaker: SpeakerSettings = field(default_factory=SpeakerSettings)
    transcript: TranscriptSettings = field(default_factory=TranscriptSettings)
    segments: SegmentSettings = field(default_factory=SegmentSettings)
    allow_broken: bool = False


@dataclass
class ExportSettings:
    """How segments become clips.

    Attributes:
        events: see `Events`.
        window_s: length of the window around the largest motion, s.
        size: largest side of a clip's picture, px.
        around: side of the picture by that of the face's boxes.
    """

    events: Events = Events.window
    window_s: float = 1.0
    size: int = 512
    around: float = 1.6

    def __post_init__(self) -> None:
        _require("export.window_s", self.window_s, 0.1 <= self.window_s <= 60, "seconds from 0.1 to 60")
        _require("export.size", self.size, 64 <= self.size <= 4096, "pixels from 64 to 4096")
        _require("export.around", self.around, 1 <= self.around <= 4, "a number from 1 to 4")


def _require(key: str, value: object, allowed: bool, wanted: str) -> None:
    if not allowed:
        raise MefusionError(f"{key}={value}: give {wanted}")
