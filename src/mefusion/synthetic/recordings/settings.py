"""Settings of a rendered recording."""

import math
from dataclasses import dataclass

from mefusion.common.errors import MefusionError
from mefusion.synthetic.mixtures import MIXTURES
from mefusion.synthetic.scene import MIN_SIZE

_RATES = (
    "micro_per_minute",
    "macro_per_minute",
    "blinks_per_minute",
    "speech_per_minute",
    "head_motion",
    "light",
    "noise",
)


@dataclass(frozen=True)
class RecordingSettings:
    """Settings of a rendered recording; equal settings give equal frames.

    Attributes:
        seconds: length.
        fps: frames per second, 5 to 1000.
        width, height: size of the picture, px, even numbers.
        face_size: side of the square that shows one head with space around it, px; the eyes are 0.22 of it apart.
        faces: number of faces, side by side.
        subject: number of the pseudo-subject that the first face belongs to; the others have the numbers after it.
        take: number of the recording of these subjects; another number gives other events.
        scheme: which emotions the subjects act, a key of `MIXTURES`.
        amplitude: motion of the landmark that moves most in a micro-expression, px of the aligned crop of 128 px. Each
            event has 0.7 to 1.3 of it.
        macro_amplitude: the same for macro-expressions.
        micro_per_minute, macro_per_minute: expressions of each face. A micro-expression lasts 0.1 to 0.5 s, a
            macro-expression longer than that, up to 4 s.
        blinks_per_minute: blinks of each face, 0.1 to 0.3 s; the eyes close fully.
        speech_per_minute: stretches of 1 to 4 s of each face in which the mouth opens 3 to 6 times a second.
        head_motion: strength of drift and turns of the heads; 0 means none, 1 turns of up to ten pixels.
        light: strength of the changes of light; 0 means none, 1 changes of up to a sixth.
        noise: standard deviation of the sensor's noise, of 255.
        leaves: how often each face leaves the picture, and comes back.
        variable_rate: whether the time between frames varies, as in videos of phones; `fps` is then the mean.
        seed: seed of subjects and events.
        portraits: folder of photographs with one face each; None means a public-domain portrait of scikit-image.
    """

    seconds: float = 30
    fps: float = 30
    width: int = 640
    height: int = 480
    face_size: int = 256
    faces: int = 1
    subject: int = 0
    take: int = 0
    scheme: str = "seven"
    amplitude: float = 2.5
    macro_amplitude: float = 4.0
    micro_per_minute: float = 6
    macro_per_minute: float = 6
    blinks_per_minute: float = 15
    speech_per_minute: float = 2
    head_motion: float = 1
    light: float = 1
    noise: float = 1
    leaves: int = 0
    variable_rate: bool = False
    seed: int = 0
    portraits: str | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "amplitude", "macro_amplitude"):
            _check(name, getattr(self, name), (int, float), above=0)
        for name in ("width", "height", "face_size", "faces"):
            _check(name, getattr(self, name), int, above=0)
        for name in ("subject", "take", "leaves", "seed"):
            _check(name, getattr(self, name), int, least=0)
        for name in _RATES:
            _check(name, getattr(self, name), (int, float), least=0)
        if not isinstance(self.fps, int | float) or not 5 <= self.fps <= 1000:
            raise MefusionError(f"fps={self.fps}: give a number of frames per second from 5 to 1000")
        if self.scheme not in MIXTURES:
            raise MefusionError(f"scheme={self.scheme}: choose from {', '.join(MIXTURES)}")
        if self.width % 2 or self.height % 2:
            raise MefusionError(f"width={self.width}, height={self.height}: give even numbers, as videos have them")
        if self.face_size < MIN_SIZE or self.face_size > self.height or self.faces * self.face_size > self.width:
            raise MefusionError(
                f"face_size={self.face_size}: {self.faces} faces do not fit side by side into a picture of "
                f"{self.width}x{self.height} px; give {MIN_SIZE} to {min(self.height, self.width // self.faces)}"
            )

    @property
    def length(self) -> int:
        """Number of frames."""
        return max(round(self.seconds * self.fps), 1)


def _check(
    name: str, value: object, kind: type | tuple[type, ...], *, above: float = -math.inf, least: float = -math.inf
) -> None:
    number = isinstance(value, kind) and not isinstance(value, bool)
    if not number or not above < value < math.inf or value < least:  # type: ignore[operator]
        bound = f"above {above:g}" if math.isfinite(above) else f"from {least:g} up"
        what = "a whole number" if kind is int else "a number"
        raise MefusionError(f"{name}={value}: give {what} {bound}")
