"""The square of a segment's pictures that shows the speaker's face."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Crop:
    """A square part of a picture, and how large it is shown.

    Attributes:
        left, top: of the square, px of the picture; below 0 where it reaches out of it.
        side: of the square, px of the picture.
        size: of what is shown, px, even; never more than the side.
    """

    left: int
    top: int
    side: int
    size: int

    @classmethod
    def around(cls, boxes: np.ndarray, *, width: int, height: int, times: float, size: int) -> "Crop":
        """The square around all boxes of a face: it stays where it is while the face moves in it.

        Args:
            boxes: [n, 4] left, top, right, bottom, px.
            width, height: of the picture, px; the square is moved into it, as far as it fits.
            times: side of the square by that of the boxes' union.
            size: largest side of what is shown, px.
        """
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        side = max(2 * round(times * float((high - low).max()) / 2), 2)
        corner = [
            min(max(round(middle - side / 2), 0), room - side) if side <= room else round((room - side) / 2)
            for middle, room in zip((low + high) / 2, (width, height), strict=True)
        ]
        return cls(corner[0], corner[1], side, min(side, size - size % 2))

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The crop [size, size, ...] of a picture [H, W, ...]; black where it reaches out of the picture."""
        height, width = image.shape[:2]
        left, top = max(self.left, 0), max(self.top, 0)
        right, bottom = min(self.left + self.side, width), min(self.top + self.side, height)
        part = image[top:bottom, left:right]
        if part.shape[:2] != (self.side, self.side):
            edges = (top - self.top, self.top + self.side - bottom, left - self.left, self.left + self.side - right)
            part = cv2.copyMakeBorder(part, *edges, cv2.BORDER_CONSTANT)
        if self.size == self.side:
            return np.ascontiguousarray(part)
        return cv2.resize(part, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def moved(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of the picture in px of the crop."""
        return (points - (self.left, self.top) + 0.5) * (self.size / self.side) - 0.5
