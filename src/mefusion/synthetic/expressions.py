"""Facial action units as landmark displacements.

Displacements are in face coordinates: x away from the nose on either side, y down; one unit is the largest
displacement that the action unit causes. Points are those of the left half of the image (iBUG numbering);
their mirror points move in the same way. Each side can have its own intensity.
Sources: Ekman, Friesen and Hager, Facial Action Coding System, 2002; and the mean flow of real expressions: in a smile
the cheek goes mostly outwards, a raised cheek moves both lids, the upper lid follows a lowered brow.
"""

from collections.abc import Mapping

import numpy as np

from mefusion.faces.alignment import LANDMARK_MIRROR

# Skin between the landmarks moves too: these control points follow the 68 landmarks.
CHEEK, CHEEK_RIGHT, FOREHEAD, FOREHEAD_RIGHT = 68, 69, 70, 71
CONTROL_MIRROR = np.array([*LANDMARK_MIRROR, CHEEK_RIGHT, CHEEK, FOREHEAD_RIGHT, FOREHEAD])

# action unit -> point -> (outwards, downwards)
ACTION_UNITS: Mapping[int, Mapping[int, tuple[float, float]]] = {
    1: {21: (0, -1), 20: (0, -0.9), 19: (0, -0.4), FOREHEAD: (0, -0.4)},
    2: {17: (0, -0.9), 18: (0, -1), 19: (0, -0.6), FOREHEAD: (0, -0.3)},
    4: {21: (-0.4, 0.9), 20: (-0.4, 0.9), 19: (-0.3, 0.8), 18: (-0.1, 0.5), 17: (0, 0.3), FOREHEAD: (0, 0.3),
        37: (0, 0.45), 38: (0, 0.45)},
    5: {37: (0, -0.8), 38: (0, -0.8)},
    6: {40: (0, -0.6), 41: (0, -0.7), 36: (-0.2, -0.1), 37: (0, 0.3), 38: (0, 0.3), CHEEK: (0.15, -0.55)},
    7: {37: (0, 0.7), 38: (0, 0.7), 40: (0, -0.25), 41: (0, -0.25)},
    9: {31: (0.2, -0.8), 32: (0, -0.5), 33: (0, -0.3), 29: (0, -0.3), 21: (-0.2, 0.4), 50: (0, -0.5), CHEEK: (0, -0.4)},
    10: {49: (0, -0.5), 50: (0, -1), 51: (0, -0.8), 61: (0, -0.8), 62: (0, -0.7), 31: (0, -0.2)},
    12: {48: (0.7, -0.8), 60: (0.6, -0.7), 49: (0.4, -0.5), 59: (0.4, -0.4), CHEEK: (0.5, -0.35),
         3: (0.4, -0.2), 4: (0.4, -0.3)},
    14: {48: (0.8, 0.1), 60: (0.6, 0.1), 49: (0.4, 0), 59: (0.4, 0)},
    15: {48: (0.2, 1), 60: (0.2, 0.8), 59: (0.1, 0.5), 49: (0, 0.4)},
    17: {57: (0, -0.7), 58: (0, -0.6), 66: (0, -0.5), 67: (0, -0.4), 8: (0, -0.7), 7: (0, -0.5), 59: (0, -0.2)},
    20: {48: (0.9, 0.3), 60: (0.7, 0.2), 59: (0.5, 0.2), 49: (0.4, 0.1)},
    23: {48: (-0.4, 0), 49: (-0.3, 0.3), 50: (-0.1, 0.5), 51: (0, 0.5),
         59: (-0.3, -0.3), 58: (-0.1, -0.5), 57: (0, -0.5)},
    24: {50: (0, 0.5), 51: (0, 0.6), 61: (0, 0.5), 58: (0, -0.5), 57: (0, -0.6), 67: (0, -0.5)},
    26: {57: (0, 1), 58: (0, 0.9), 59: (0, 0.5), 66: (0, 0.9), 67: (0, 0.8),
         8: (0, 1), 7: (0, 0.9), 6: (0, 0.7), 5: (0, 0.4)},
}  # fmt: skip

# How the eyelids close, in units of the height of the open eye.
BLINK: Mapping[int, tuple[float, float]] = {37: (0, 1), 38: (0, 1)}


def displacement(motion: Mapping[int, tuple[float, float]], *, left: float = 1.0, right: float = 1.0) -> np.ndarray:
    """Displacement of every control point, for an intensity of each side.

    Points on the midline move with the mean of both intensities.

    Returns:
        [72, 2] (right, down) in face coordinates of the image.
    """
    field = np.zeros((len(CONTROL_MIRROR), 2))
    for point, (outwards, downwards) in motion.items():
        mirror = CONTROL_MIRROR[point]
        if mirror == point:
            field[point] = (0, 0.5 * (left + right) * downwards)
        else:
            field[point] = (-left * outwards, left * downwards)
            field[mirror] = (right * outwards, right * downwards)
    return field
