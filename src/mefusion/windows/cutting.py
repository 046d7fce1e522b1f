"""Pixels and frames of a prepared clip that make a window."""

from dataclasses import dataclass, replace

import numpy as np

Times = slice | np.ndarray  # indices of a window's frames; evenly spaced ones are a slice, which copies nothing


@dataclass(frozen=True)
class Crop:
    """Square of `size` px at (top, left) of the prepared pictures; `flip` mirrors it."""

    top: int
    left: int
    size: int
    flip: bool = False

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Cut the square from pictures [..., H, W], and mirror it left to right if `flip` is set.

        Only pixels are moved: the sign of a flow, for example, is not changed.
        """
        cut = pictures[..., self.top : self.top + self.size, self.left : self.left + self.size]
        return cut[..., ::-1] if self.flip else cut


def centre_crop(canvas: int, size: int) -> Crop:
    """Crop of `size` px in the centre of prepared pictures of `canvas` px."""
    start = (canvas - size) // 2
    return Crop(top=start, left=start, size=size)


def centre_crops(canvas: int, size: int, *, mirrored: bool) -> list[Crop]:
    """Crops that a test window is predicted from: that in the centre, and its mirror image if `mirrored` is set."""
    centre = centre_crop(canvas, size)
    return [centre, replace(centre, flip=True)] if mirrored else [centre]


@dataclass(frozen=True)
class Span:
    """First and last frame of a window, as indices of the prepared clip; its T frames are spread evenly between."""

    first: int
    last: int

    def times(self, length: int) -> Times:
        """Indices of the window's `length` frames."""
        stride, rest = divmod(self.last - self.first, length - 1)
        if stride and not rest:
            return slice(self.first, self.last + 1, stride)
        return np.rint(np.linspace(self.first, self.last, length)).astype(int)


def strided_spans(stride: int, length: int) -> list[Span]:
    """Spans of the windows of a clip of `stride * length` frames.

    A window takes every `stride`-th frame; one window begins at each of the first `stride` frames. So each frame of
    the clip is in one window.
    """
    return [Span(phase, phase + (length - 1) * stride) for phase in range(stride)]
