"""Where a window is cut from a prepared clip: which pixels, and which frames."""

from dataclasses import dataclass

import numpy as np

Times = slice | np.ndarray  # places of a window's frames; a slice where they are a stride apart, which copies nothing


@dataclass(frozen=True)
class Crop:
    """Square of `size` px at (top, left) of the prepared pictures, mirrored if asked."""

    top: int
    left: int
    size: int
    flip: bool = False

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """The square of pictures [..., H, W], mirrored left to right if asked; no more than that changes."""
        cut = pictures[..., self.top : self.top + self.size, self.left : self.left + self.size]
        return cut[..., ::-1] if self.flip else cut


@dataclass(frozen=True)
class Span:
    """First and last frame of a window, by their places in the prepared clip; its T frames lie evenly between."""

    first: int
    last: int

    def times(self, length: int) -> Times:
        """Places of its `length` frames."""
        stride, rest = divmod(self.last - self.first, length - 1)
        if stride and not rest:
            return slice(self.first, self.last + 1, stride)
        return np.rint(np.linspace(self.first, self.last, length)).astype(int)


def strided_spans(stride: int, length: int) -> list[Span]:
    """Windows of `length` frames a stride apart, one from each of the first `stride` frames: every frame is in one."""
    return [Span(phase, phase + (length - 1) * stride) for phase in range(stride)]
