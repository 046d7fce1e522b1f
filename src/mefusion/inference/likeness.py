"""How a clip is unlike those that a network was trained on: its answer may then be worthless."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from mefusion.faces.alignment import alignment_matrix, eye_centres, warp
from mefusion.preparation.settings import PreparationSettings

UNLIKE = 1.5  # times larger or smaller than any in the training: then it is told
ENLARGED = 1.2  # a face that has to be enlarged by more shows less than the network's pictures
TURNED = 0.3  # difference of the nose's distances from the outer corners of the eyes, by their sum
CELLS, MOVING = 28, 98  # on each side of the picture; percentile of the motion of cells
BLURRED = 12.0  # variance of the Laplacian of the aligned face, grey levels squared; sharp ones have 40 and more


def differences(
    data: Mapping[str, Any],
    settings: PreparationSettings,
    picture: np.ndarray,
    landmarks: np.ndarray,
    fps: float | None,
) -> list[str]:
    """How a clip is unlike the clips of a training, in words.

    Args:
        data: what is known of those, `data` of `bundle.json`.
        settings: how clips are prepared.
        picture: [H, W, 3] uint8 RGB, from the middle of the clip.
        landmarks: [68, 2] px in it.
        fps: frame rate, frames/s; None if it is unknown.
    """
    eyes = float(np.linalg.norm(np.subtract(*eye_centres(landmarks))))
    told = []
    for value, known, unit in ((fps, data["fps"], "frames/s"), (eyes, data["eye_distance"], "px between the eyes")):
        if value and known and not known[0] / UNLIKE <= value <= known[1] * UNLIKE:
            low, high = (f"{end:.0f}" for end in known)
            told.append(f"{value:.0f} {unit}, trained on {low if low == high else f'{low} to {high}'}")
    matrix = alignment_matrix(landmarks, size=settings.canvas, enlarge=settings.faces.enlarge)
    if np.sqrt(abs(np.linalg.det(matrix[:, :2]))) > ENLARGED:
        told.append(f"the face is smaller than the network's pictures of {settings.canvas} px")
    left, right = (float(np.linalg.norm(landmarks[30] - landmarks[corner])) for corner in (36, 45))
    if abs(left - right) / (left + right) > TURNED:
        told.append("the face is turned to the side")
    face = warp(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), matrix, size=settings.canvas)
    if cv2.Laplacian(face, cv2.CV_64F).var() < BLURRED:
        told.append("the face is blurred")
    return told


def motion_size(flow: np.ndarray) -> float:
    """How far a face moves where it moves most, px of the aligned picture.

    The flow is averaged in cells, which takes away most of its noise, and counts about its median, which takes away the
    head's. It is the largest motion but for the 2 % of the cells that move most. A still face with sensor noise of a
    standard deviation of 4 grey levels has below .2 px.

    Args:
        flow: [2, S, S] px from onset to apex.
    """
    cells = cv2.resize(flow.transpose(1, 2, 0).astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return float(np.percentile(np.linalg.norm(cells - np.median(cells, axis=(0, 1)), axis=-1), MOVING))
