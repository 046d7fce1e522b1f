"""Eyes that close. The upper lid slides down over the eyeball and covers it, which no smooth warp can show."""

from dataclasses import dataclass

import numpy as np

from mefusion.faces.alignment import transform

# Landmarks of each eye: corner, upper lid, corner, lower lid, from left to right in the picture.
EYES = (((36, 37, 38, 39), (36, 41, 40, 39)), ((42, 43, 44, 45), (42, 47, 46, 45)))
BROWS = (slice(17, 22), slice(22, 27))
FOLD = 0.6  # of the way from the lid's edge to the brow: the skin that stretches when the lid comes down
LASHES = 0.2  # the lid's dark rim, which does not stretch, as a share of the eye's height
OVERLAP = 0.2  # the lid covers the lower landmarks too, by this share of the eye's height: they lie on the rim


@dataclass(frozen=True)
class Eyelid:
    """Upper lid of one eye of a neutral picture.

    Positions are (along, down): along the line from corner to corner, 0..1, and down at right angles to it, in px.

    Attributes:
        to_eye: similarity from the picture to a system with the left corner at (0, 0), the right one at (width, 0), px.
        width: distance of the corners, px.
        upper, lower: polynomials, highest power first: edge of the upper and of the lower lid, along -> down.
        fold: height of the skin above the edge that stretches, px.
    """

    to_eye: np.ndarray
    width: float
    upper: np.ndarray
    lower: np.ndarray
    fold: float

    @classmethod
    def of(cls, landmarks: np.ndarray, side: int) -> "Eyelid":
        """The upper lid of an eye; `side` is 0 for the eye on the left of the picture, 1 for the one on its right."""
        upper, lower = EYES[side]
        corner, along = landmarks[upper[0]], landmarks[upper[3]] - landmarks[upper[0]]
        width = float(np.linalg.norm(along))
        rotation = np.array([along, (-along[1], along[0])]) / width
        to_eye = np.concatenate([rotation, -(rotation @ corner)[:, None]], axis=1)
        curves = []
        for points in (upper, lower):
            x, y = transform(landmarks[list(points)], to_eye).T
            curves.append(np.polyfit(x / width, y, 3))  # through all four
        brow = transform(landmarks[BROWS[side]], to_eye)[:, 1].mean()
        fold = FOLD * abs(brow - np.polyval(curves[0], 0.5))
        return cls(to_eye, width, curves[0], curves[1], float(fold))

    def moved(self, points: np.ndarray, closed: float) -> np.ndarray:
        """Where points [n, 2] on the lid's edge are if it is closed by `closed`, 0..1."""
        along = transform(points, self.to_eye)[:, 0] / self.width
        return points + (closed * self._opening(along))[:, None] * self.to_eye[1, :2]

    def cover(self, sources: np.ndarray, closed: float) -> tuple[np.ndarray, np.ndarray]:
        """What pixels show where the lid covers the eye.

        Args:
            sources: the points of the neutral picture that pixels show with the eye open, [..., 2] px.
            closed: how far the lid is closed, 0..1.

        Returns:
            The points that they show where they are covered, [..., 2] px; and how much they are, 0..1, [...].
        """
        eye = transform(sources, self.to_eye)
        along, down = np.clip(eye[..., 0] / self.width, 0, 1), eye[..., 1]
        edge, opening, height = np.polyval(self.upper, along), self._opening(along), float(self._opening(0.5))
        overlap = OVERLAP * height * np.sqrt(4 * along * (1 - along))
        slid = closed * (opening + overlap)  # how far the edge has come down
        top, rim = edge - self.fold, LASHES * height
        skin = (self.fold - rim) / (self.fold - rim + slid)  # how much it is stretched, as 1 / factor
        shown = np.where(down < edge + slid - rim, top + (down - top) * skin, down - slid)
        shift = (shown - down)[..., None] * self.to_eye[1, :2]
        covered = np.where(down > top, np.clip(edge + slid - down + 0.5, 0, 1), 0) * (slid > 0)
        return (sources + shift).astype(np.float32), covered.astype(np.float32)

    def _opening(self, along: np.ndarray | float) -> np.ndarray:
        """Height of the open eye, px."""
        return np.maximum(np.polyval(self.lower, along) - np.polyval(self.upper, along), 0)
