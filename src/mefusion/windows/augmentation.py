"""Random augmentation of training windows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mefusion.common.errors import MefusionError
from mefusion.windows.cutting import Span

if TYPE_CHECKING:
    from mefusion.windows.views import View

MID_GREY = 128  # aligned frames also have it outside the picture, so a change of contrast does not change it there


@dataclass
class Augmentation:
    """Random augmentation of a training window; everything is off by default.

    Attributes:
        crop_jitter: largest distance of the crop from the centre, px; the crops of 128 px allow at most 8.
        flip: mirror half of the windows.
        temporal_jitter: largest number of frames by which the first frame of a window is moved, and independently the
            last.
        contrast: each grey level's difference from mid grey is multiplied by a number from 1 - contrast to
            1 + contrast, the same for all frames of a window.
        brightness: a number from -brightness to brightness is added to the grey levels, the same for all frames of a
            window.
        noise: standard deviation of Gaussian noise, in grey levels; independent for each pixel.
        rotation: largest angle by which a flow image is turned, degrees.
        scale: a flow image is scaled by a number from 1 - scale to 1 + scale.
        shift: largest distance by which a flow image is moved to each side, px of the image.
        amplitude: flow and strain are multiplied by exp(amplitude x), with x of the standard normal distribution.

    Raises:
        MefusionError: a value is out of range.
    """

    crop_jitter: int = 0
    flip: bool = False
    temporal_jitter: int = 0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    amplitude: float = 0.0

    def __post_init__(self) -> None:
        for name in ("temporal_jitter", "brightness", "noise", "rotation", "shift", "amplitude"):
            if not 0 <= getattr(self, name) < 256:
                raise MefusionError(f"model.training.{name}={getattr(self, name)}: choose from 0 to 255")
        for name in ("contrast", "scale"):
            if not 0 <= getattr(self, name) < 1:
                raise MefusionError(f"model.training.{name}={getattr(self, name)}: choose from 0 to below 1")

    @property
    def changes_grey(self) -> bool:
        """Whether contrast, brightness or noise is on."""
        return bool(self.contrast or self.brightness or self.noise)

    @property
    def changes_flow(self) -> bool:
        """Whether rotation, scale, shift or amplitude is on."""
        return bool(self.rotation or self.scale or self.shift or self.amplitude)

    @property
    def changes_pixels(self) -> bool:
        """Whether the values of the inputs change, not only which are cut."""
        return self.changes_grey or self.changes_flow

    def check_view(self, view: "View") -> None:
        """Check that the windows of a view can be augmented in this way.

        Raises:
            MefusionError: grey levels should change, but the inputs are flow, or the other way round; or windows
                should move in time, but the targets are prepared for fixed windows only.
        """
        if self.changes_grey and not view.grey:
            name = next(name for name in ("contrast", "brightness", "noise") if getattr(self, name))
            raise MefusionError(
                f"model.training.{name}={getattr(self, name)} changes grey levels, but this model's input is flow: "
                "give 0"
            )
        if self.changes_flow and view.grey:
            name = next(name for name in ("rotation", "scale", "shift", "amplitude") if getattr(self, name))
            raise MefusionError(
                f"model.training.{name}={getattr(self, name)} changes flow images, but this model's input is frames: "
                "give 0"
            )
        if self.temporal_jitter and not view.allows_temporal_jitter:
            raise MefusionError(
                f"model.training.temporal_jitter={self.temporal_jitter}: this model needs flow, which is prepared "
                "between fixed frames only: give 0, and use windows=random to vary the first frame of a window"
            )

    def move_ends(self, span: Span, rng: np.random.Generator, *, end: int, length: int) -> Span:
        """Move the first and the last frame of a span at random, within frames 0 to `end`.

        The span keeps at least `length` frames, so that a window shows no frame twice. If it has fewer, it does not
        get shorter.
        """
        if not self.temporal_jitter:
            return span
        later = rng.integers(-self.temporal_jitter, self.temporal_jitter + 1, size=2)
        least = min(length - 1, span.last - span.first)
        first = int(np.clip(span.first + later[0], 0, end - least))
        return Span(first, int(np.clip(span.last + later[1], first + least, end)))

    def change_grey(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change contrast and brightness of a window's frames and add noise.

        Args:
            frames: grey levels 0..255, of any shape.
            rng: draws the random numbers.

        Returns:
            float32 of the same shape, 0..255.
        """
        scale = 1 + self.contrast * rng.uniform(-1, 1)
        shift = self.brightness * rng.uniform(-1, 1)
        changed = (frames.astype(np.float32) - MID_GREY) * np.float32(scale) + np.float32(MID_GREY + shift)
        if self.noise:
            changed += np.float32(self.noise) * rng.standard_normal(frames.shape, dtype=np.float32)
        return changed.clip(0, 255)

    def change_flow(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Turn, scale and move a flow image about its centre, and change how strong its motion is.

        The directions of the flow turn with the image, and a larger face moves by more pixels. What comes in from
        outside repeats the edge.

        Args:
            image: [3, S, S]: horizontal flow, vertical flow and strain; 0 is no motion.
            rng: draws the random numbers.

        Returns:
            float32 of the same shape.
        """
        import cv2  # here, since every command reads the settings in this module when it starts

        angle, zoom = self.rotation * rng.uniform(-1, 1), 1 + self.scale * rng.uniform(-1, 1)
        size = image.shape[-1]
        matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, zoom)
        matrix[:, 2] += self.shift * rng.uniform(-1, 1, size=2)
        pixels = np.ascontiguousarray(image.transpose(1, 2, 0), np.float32)
        moved = cv2.warpAffine(pixels, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
        moved[..., :2] = moved[..., :2] @ matrix[:, :2].T
        gain = np.float32(np.exp(self.amplitude * rng.standard_normal()))
        return np.ascontiguousarray(gain * moved.transpose(2, 0, 1))
