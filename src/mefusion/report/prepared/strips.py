"""A prepared clip as a strip of a few pictures with its landmarks, small enough for a page of hundreds."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from PIL import Image

from mefusion.plots.style import shown_frames

PICTURES = 6
_QUALITY = 70  # of JPEG; the pictures are for a look, not for measuring
_GAP = 2  # px between two pictures
_FINE = 2  # units of the drawing a pixel, so that landmarks between two pixels need no decimals


@dataclass(frozen=True)
class Strip:
    """Pictures side by side, as an SVG drawing shows them.

    Attributes:
        jpeg: the pictures, base64.
        width, height: of the drawing.
        dots: the landmarks as an SVG path of lines of length 0.
        shown: numbers of the frames that are shown, from 1.
    """

    jpeg: str
    width: int
    height: int
    dots: str
    shown: list[int]


def make_strip(arrays: Mapping[str, np.ndarray]) -> Strip:
    """Strip of a prepared clip: frames with their landmarks, or the three channels of a flow image.

    Args:
        arrays: see `mefusion.preparation.arrays.prepare_clip` and `flow_image_arrays`.
    """
    pictures = arrays.get("frames", arrays.get("flow_image"))
    assert pictures is not None
    shown = shown_frames(len(pictures), PICTURES)
    height, width = pictures.shape[1:]
    tiles = np.pad(pictures[shown], ((0, 0), (0, 0), (0, _GAP)), constant_values=255)
    side_by_side = rearrange(tiles, "t h w -> h (t w)")[:, :-_GAP]
    buffer = io.BytesIO()
    Image.fromarray(side_by_side).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    dots = [
        f"M{x}{y:+d}h0"
        for place, t in enumerate(shown if "landmarks" in arrays else ())
        for x, y in _drawn(arrays["landmarks"][t], width, height, left=place * (width + _GAP))
    ]
    return Strip(
        jpeg=base64.b64encode(buffer.getvalue()).decode(),
        width=_FINE * side_by_side.shape[1],
        height=_FINE * height,
        dots="".join(dots),
        shown=[t + 1 for t in shown],
    )


def _drawn(points: np.ndarray, width: int, height: int, *, left: int) -> np.ndarray:
    """Points [n, 2] px of a picture in units of the drawing, where it begins at `left` px; without those outside it."""
    corners = points.astype(np.float64) + 0.5  # a picture's first pixel has its centre at 0, a drawing its corner
    inside = ((corners >= 0) & (corners <= [width, height])).all(axis=1)
    return np.rint(_FINE * (corners[inside] + [left, 0])).astype(int)
