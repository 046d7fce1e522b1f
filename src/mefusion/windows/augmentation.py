"""Random changes of training windows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mefusion.common.errors import MefusionError
from mefusion.windows.cutting import Span

if TYPE_CHECKING:
    from mefusion.windows.views import View

MID_GREY = 128  # also what lies outside the picture, so that it stays the same when the contrast changes


@dataclass
class Augmentation:
    """What is drawn at random for a training window; all of it is off by default.

    Attributes:
        crop_jitter: largest distance of the crop from the centre, px; 8 on a 144 canvas reaches its borders.
        flip: mirror half of the windows.
        temporal_jitter: most frames by which a window's first and its last frame are moved, each on its own.
        contrast: grey levels are multiplied about mid grey, by 1 - contrast to 1 + contrast ...
        brightness: ... and raised by -brightness to brightness levels, the same for all frames of a window.
        noise: standard deviation of Gaussian noise, grey levels, of each pixel on its own.

    Raises:
        MefusionError: a value is out of its range.
    """

    crop_jitter: int = 0
    flip: bool = False
    temporal_jitter: int = 0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("temporal_jitter", "brightness", "noise"):
            if not 0 <= getattr(self, name) < 256:
                raise MefusionError(f"model.training.{name}={getattr(self, name)}: choose from 0 to 255")
        if not 0 <= self.contrast < 1:
            raise MefusionError(f"model.training.contrast={self.contrast}: choose from 0 to below 1")

    @property
    def changes_grey(self) -> bool:
        """Whether grey levels are changed."""
        return bool(self.contrast or self.brightness or self.noise)

    def check_view(self, view: "View") -> None:
        """Stop where a view cannot be changed so.

        Raises:
            MefusionError: its inputs are no grey levels, or its targets are known for its own windows only.
        """
        if self.changes_grey and not view.grey:
            name = next(name for name in ("contrast", "brightness", "noise") if getattr(self, name))
            raise MefusionError(
                f"model.training.{name}={getattr(self, name)} changes grey levels, and this model sees flow: give 0"
            )
        if self.temporal_jitter and not view.allows_temporal_jitter:
            raise MefusionError(
                f"model.training.temporal_jitter={self.temporal_jitter}: this model sees flow that is prepared between "
                "fixed frames; give 0, and windows=random varies where a window begins"
            )

    def move_ends(self, span: Span, rng: np.random.Generator, *, end: int, length: int) -> Span:
        """The span with its ends moved within frames 0 to `end`.

        It keeps at least `length` frames, so that a window shows none twice, or all that it has where they are fewer.
        """
        if not self.temporal_jitter:
            return span
        later = rng.integers(-self.temporal_jitter, self.temporal_jitter + 1, size=2)
        least = min(length - 1, span.last - span.first)
        first = int(np.clip(span.first + later[0], 0, end - least))
        return Span(first, int(np.clip(span.last + later[1], first + least, end)))

    def change_grey(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Frames of one window, grey levels of any shape, with contrast, brightness and noise: float32 in 0..255."""
        scale = 1 + self.contrast * rng.uniform(-1, 1)
        shift = self.brightness * rng.uniform(-1, 1)
        changed = (frames.astype(np.float32) - MID_GREY) * np.float32(scale) + np.float32(MID_GREY + shift)
        if self.noise:
            changed += np.float32(self.noise) * rng.standard_normal(frames.shape, dtype=np.float32)
        return changed.clip(0, 255)
