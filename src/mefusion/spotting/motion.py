"""How far the regions of a face have moved since a reference frame, without the head's own motion.

After the winner of MEGC 2022 (He et al.). The crop is scaled so that 1 px of it is 1 % of the inter-ocular distance:
results do not depend on the camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from mefusion.faces.alignment import eye_centres

SCALE = 100  # px of the crop for an inter-ocular distance
WIDTH, HEIGHT = 240, 300  # px of the crop
EYES = (120, 90)  # place in the crop of the middle between the eyes, px
PATCH = 20  # px, side of a patch around a landmark
STRONGEST = 0.2  # share of a patch's pixels, those with the strongest flow, whose mean is its displacement

REGIONS: Mapping[str, tuple[int, ...]] = {
    "brow_left": (18, 19, 20),
    "brow_middle": (21, 22),
    "brow_right": (23, 24, 25),
    "nose": (31, 35),
    "mouth_left": (48,),
    "mouth_upper": (51, 62),
    "mouth_right": (54,),
    "mouth_lower": (57,),
}
"""Regions, each with the landmarks (iBUG) around which its patches lie; left and right are those of the picture."""

NOSE = (28, 29, 30)  # landmarks around which the head's motion is measured
NOSE_STRONGEST = 0.7
NOSE_HALF = 13  # px around these
MOVE_AT = 1.0  # px of head motion above which the crop is moved
MOVES = 4  # times that it is moved at most


@dataclass
class Reference:
    """A face in one frame, with which later frames are compared.

    Attributes:
        matrix: [2, 3] from the picture to the crop; moves with the head.
        grey: [HEIGHT, WIDTH] uint8, the crop.
        patches: [regions] of row and column numbers of the patches' pixels, each [patches, PATCH^2].
        nose: first row, last row, first column and last column of the patch on the nose.
    """

    matrix: np.ndarray
    grey: np.ndarray
    patches: list[tuple[np.ndarray, np.ndarray]]
    nose: tuple[slice, slice]
    _flow: Any = field(default_factory=lambda: cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM))  # type: ignore[attr-defined]

    @classmethod
    def of(cls, grey: np.ndarray, landmarks: np.ndarray) -> "Reference":
        """Make the reference from a frame.

        Args:
            grey: [H, W] uint8.
            landmarks: [68, 2] px of the face.
        """
        matrix = crop_matrix(landmarks)
        points = landmarks @ matrix[:, :2].T + matrix[:, 2]
        patches = [_pixels(points[list(numbers)]) for numbers in REGIONS.values()]
        left, top = np.floor(points[list(NOSE)].min(0) - NOSE_HALF).astype(int)
        right, bottom = np.ceil(points[list(NOSE)].max(0) + NOSE_HALF).astype(int)
        nose = (slice(max(top, 0), min(bottom, HEIGHT)), slice(max(left, 0), min(right, WIDTH)))
        return cls(matrix, _crop(grey, matrix), patches, nose)

    def displacement(self, grey: np.ndarray) -> np.ndarray:
        """Displacement of each region in a later frame, after following the head.

        Args:
            grey: [H, W] uint8.

        Returns:
            [regions] % of the inter-ocular distance, 0 and more.
        """
        for _ in range(MOVES):
            head = self._head(_crop(grey, self.matrix)[self.nose])
            if np.abs(head).max() <= MOVE_AT:
                break
            self.matrix = self.matrix - np.column_stack([np.zeros((2, 2)), head])
        crop = _crop(grey, self.matrix)
        flow = self._flow.calc(self.grey, crop, None)
        flow = flow - _mean_of_strongest(flow[self.nose].reshape(1, -1, 2), NOSE_STRONGEST)[0]
        return np.array(
            [
                np.linalg.norm(_mean_of_strongest(flow[rows, columns], STRONGEST), axis=-1).mean()
                for rows, columns in self.patches
            ]
        )

    def _head(self, nose: np.ndarray) -> np.ndarray:
        """Motion (right, down) px of the patch on the nose."""
        flow = cv2.calcOpticalFlowFarneback(self.grey[self.nose], nose, None, 0.5, 3, 15, 5, 7, 1.5, 0)
        return _mean_of_strongest(flow.reshape(1, -1, 2), NOSE_STRONGEST)[0]


def crop_matrix(landmarks: np.ndarray) -> np.ndarray:
    """Similarity from a picture to the crop: eyes level, `SCALE` px apart, their middle at `EYES`.

    Args:
        landmarks: [68, 2] px.

    Returns:
        [2, 3].
    """
    left, right = eye_centres(landmarks)
    along = (right - left) * SCALE / np.square(right - left).sum()
    turned = np.array([[along[0], along[1]], [-along[1], along[0]]])
    return np.column_stack([turned, EYES - turned @ ((left + right) / 2)])


def _crop(grey: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(grey, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _pixels(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers [n, PATCH^2] of the square patches around points [n, 2], moved inside the crop."""
    corner = np.rint(points).astype(int) - PATCH // 2
    corner = np.clip(corner, 0, (WIDTH - PATCH, HEIGHT - PATCH))
    down, right = (axis.ravel() for axis in np.mgrid[:PATCH, :PATCH])
    return corner[:, 1:] + down, corner[:, :1] + right


def _mean_of_strongest(flow: np.ndarray, share: float) -> np.ndarray:
    """Mean [n, 2] of the strongest vectors of each patch's flow [n, pixels, 2]."""
    count = max(round(share * flow.shape[1]), 1)
    squares = np.square(flow).sum(axis=-1)
    strongest = np.argpartition(squares, -count, axis=1)[:, -count:]
    return np.take_along_axis(flow, strongest[..., None], axis=1).mean(axis=1)
