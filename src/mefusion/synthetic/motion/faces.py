"""Random faces from landmarks alone, and the dense motion of their skin in a cropped picture."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from mefusion.faces.alignment import LANDMARK_MIRROR, eye_centres
from mefusion.synthetic.expressions import CONTROL_MIRROR
from mefusion.synthetic.render import control_points, random_identity
from mefusion.synthetic.warps import spline_basis

MOUTH = slice(48, 68)
FEATURES = [*range(17, 27), *range(31, 68)]  # brows, nostrils, eyes, mouth
FEATURE_WIDTH = 0.18  # how far skin moves with them, in distances between the eyes
SMOOTHING = 3e-5  # a tenth of what pictures need: lids and brows part more sharply, since no picture can fold here


@dataclass(frozen=True)
class Framing:
    """Where a face is in a picture, in sides of the picture.

    Attributes:
        eyes, mouth: height of eyes and mouth, from the top.
        interocular: distance between the eyes.
        tilt: of the head, rad.
        shift: of the face, to the right.
    """

    eyes: float
    mouth: float
    interocular: float
    tilt: float = 0.0
    shift: float = 0.0


def random_face(landmarks: np.ndarray, rng: np.random.Generator, *, size: int) -> np.ndarray:
    """Another face's landmarks [68, 2] px, from those of a portrait of `size` px, mirrored at random."""
    if rng.random() < 0.5:
        landmarks = mirrored_face(landmarks, size=size)
    return landmarks + random_identity(landmarks, rng)


def mirrored_face(landmarks: np.ndarray, *, size: int) -> np.ndarray:
    """Landmarks [68, 2] px of the mirrored picture."""
    return (landmarks * (-1, 1) + (size - 1, 0))[LANDMARK_MIRROR]


class FramedFace:
    """A face in a cropped picture: from the motion of its control points to the flow of every pixel.

    Args:
        landmarks: [68, 2] px of a portrait.
        framing: where the face is in the picture.
        portrait_size: side of the portrait, px.
        size: side of the cropped picture, px.

    Attributes:
        size: side of the picture, px.
        landmarks: [68, 2] px of the picture.
        features: how near each pixel is to brows, eyes, nostrils or mouth, [size, size], 1 there and 0 far from them.
    """

    def __init__(self, landmarks: np.ndarray, framing: Framing, *, portrait_size: int, size: int):
        self.size = size
        left, right = eye_centres(landmarks)
        middle, mouth = (left + right) / 2, landmarks[MOUTH].mean(0)
        along = (right - left) / np.linalg.norm(right - left)
        level = np.array([along, (-along[1], along[0])])  # rows: along the eyes, and down the face
        height = (mouth - middle) @ level[1]
        stretch = np.diag([framing.interocular / np.linalg.norm(right - left), (framing.mouth - framing.eyes) / height])
        cos, sin = np.cos(framing.tilt), np.sin(framing.tilt)
        self._to_crop = size * np.array([[cos, -sin], [sin, cos]]) @ stretch
        axis = np.arange(size) + 0.5
        pixels = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        centre = size * np.array([0.5 + framing.shift, framing.eyes])
        back = np.linalg.inv(self._to_crop @ level)
        points = (pixels - centre) @ back.T + middle
        self.landmarks = (landmarks - middle) @ (self._to_crop @ level).T + centre - 0.5
        gaps = cdist(pixels - 0.5, self.landmarks[FEATURES]).min(axis=1) / (FEATURE_WIDTH * framing.interocular * size)
        self.features = np.exp(-0.5 * gaps**2).reshape(size, size).astype(np.float32)
        basis = spline_basis(
            control_points(landmarks, portrait_size),
            np.concatenate([points, landmarks]),
            scale=portrait_size,
            smoothing=SMOOTHING,
        )[:, : len(CONTROL_MIRROR)]
        self._dense, self._sparse = basis[: len(points)], basis[len(points) :]

    def flow(self, motion: np.ndarray) -> np.ndarray:
        """Flow of every pixel if the control points move.

        Args:
            motion: [n, 72, 2] in face coordinates, of any unit.

        Returns:
            [n, 2, size, size] float32 (right, down), scaled so that of each the landmark that moves most moves by 1.
        """
        pixels = motion @ self._to_crop.T
        landmarks = np.einsum("lc,ncd->nld", self._sparse, pixels)
        reach = np.linalg.norm(landmarks, axis=-1).max(axis=1)
        dense = np.einsum("pc,ncd->ndp", self._dense, pixels / reach[:, None, None], optimize=True)
        return dense.reshape(len(motion), 2, self.size, self.size).astype(np.float32)
