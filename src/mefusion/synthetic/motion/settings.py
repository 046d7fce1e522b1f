"""Settings of a set of rendered motion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mefusion.common.errors import MefusionError
from mefusion.synthetic.mixtures import MIXTURES

SCHEME = "three"  # whose emotions are shown
SIZES = (28, 56, 112)
RANGES = ("eyes", "mouth", "interocular")


@dataclass(frozen=True)
class MotionSettings:
    """Settings of a set of rendered motion; equal settings give equal images.

    Attributes:
        subjects: number of pseudo-subjects.
        clips_per_class: number of clips of each emotion for each subject.
        size: side of the images, px; one of `SIZES`.
        amplitude: motion of the landmark that moves most, where the nuisances are those of 1. Smaller is harder.
        noise: how much of the nuisances (blinks, head, errors of the flow); 0 gives the expression's motion alone.
        eyes, mouth: smallest and largest height of the eyes and of the mouth in the image, 0 (top) to 1.
        interocular: smallest and largest distance between the eyes, in widths of the image.
        seed: seed of subjects and clips.
        portraits: folder of photographs whose landmarks are used; None means a public-domain portrait of scikit-image.
    """

    subjects: int = 50
    clips_per_class: int = 12
    size: int = 28
    amplitude: float = 1.0
    noise: float = 1.0
    eyes: Sequence[float] = (0.18, 0.40)
    mouth: Sequence[float] = (0.60, 0.74)
    interocular: Sequence[float] = (0.34, 0.62)
    seed: int = 0
    portraits: str | None = None

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions of the set."""
        return tuple(MIXTURES[SCHEME])

    def __post_init__(self) -> None:
        for name in ("subjects", "clips_per_class"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise MefusionError(f"data.{name}={value}: give a whole number from 1 up")
        if self.size not in SIZES:
            raise MefusionError(f"data.size={self.size}: choose from {', '.join(map(str, SIZES))}")
        if not isinstance(self.amplitude, int | float) or not 0 < self.amplitude < math.inf:
            raise MefusionError(f"data.amplitude={self.amplitude}: give a number above 0")
        if not isinstance(self.noise, int | float) or not 0 <= self.noise < math.inf:
            raise MefusionError(f"data.noise={self.noise}: give a number from 0 up")
        if type(self.seed) is not int or self.seed < 0:
            raise MefusionError(f"data.seed={self.seed}: give a whole number from 0 up")
        if not isinstance(self.portraits, str | None):
            raise MefusionError(f"data.portraits={self.portraits}: give a folder of photographs, or null")
        for name in RANGES:
            object.__setattr__(self, name, _range(f"data.{name}", getattr(self, name)))
        if max(self.eyes) >= min(self.mouth):
            raise MefusionError(
                f"data.eyes={list(self.eyes)} with data.mouth={list(self.mouth)}: the mouth must be below the eyes"
            )


def _range(name: str, given: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = map(float, given)
    except (TypeError, ValueError) as error:
        raise MefusionError(f"{name}={given}: give the smallest and the largest value, such as [0.2,0.3]") from error
    if not 0 < low <= high < 1:
        raise MefusionError(f"{name}={[low, high]}: give the smallest and the largest value, between 0 and 1")
    return low, high
