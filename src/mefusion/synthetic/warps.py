"""Thin-plate splines and the inversion of dense warps."""

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator


def pixel_grid(size: int) -> np.ndarray:
    """Coordinates (x, y) of every pixel of a square image, [size, size, 2] float32."""
    axis = np.arange(size, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def spline_basis(controls: np.ndarray, points: np.ndarray, *, scale: float, smoothing: float = 0.0) -> np.ndarray:
    """Matrix that takes values at control points to the thin-plate spline's values at other points.

    The spline is linear in its values, so one solution serves every displacement of the same controls
    (Bookstein 1989).

    Args:
        controls: [n, 2] px, distinct.
        points: [m, 2] px.
        scale: length in px that makes the system well conditioned, the image's size say.
        smoothing: 0 interpolates; above it, close controls with unlike values are compromised between,
            as skin does (Wahba 1990).

    Returns:
        [m, n] float32.
    """
    spline = RBFInterpolator(controls / scale, np.eye(len(controls)), smoothing=smoothing, kernel="thin_plate_spline")
    return spline(points / scale).astype(np.float32)


def sample(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear values of a dense field [H, W, 2] at points [..., 2] in px; the border value beyond it.

    By hand: `scipy.ndimage.map_coordinates` rounds otherwise, which changes a few pixels of the rendered frames.
    """
    limit = np.array([field.shape[1] - 1, field.shape[0] - 1], np.float32)
    inside = np.clip(points, 0, limit)
    corner = np.minimum(inside.astype(np.int32), limit.astype(np.int32) - 1)
    (x, y), (u, v) = np.moveaxis(corner, -1, 0), np.moveaxis((inside - corner.astype(np.float32))[..., None, :], -1, 0)
    top = field[y, x] * (1 - u) + field[y, x + 1] * u
    bottom = field[y + 1, x] * (1 - u) + field[y + 1, x + 1] * u
    return top * (1 - v) + bottom * v


def invert(field: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Solve x + field(x) = target by fixed-point iteration, which converges where the field contracts.

    OpenCV's remap does most steps, being fast; it rounds positions to 1/32 px, so exact steps end it.

    Args:
        field: displacement [H, W, 2] px, its gradient below 1 in norm.
        targets: [H, W, 2] px.

    Returns:
        [H, W, 2] px, to about a hundredth of a pixel.

    Raises:
        ArithmeticError: it has not converged after 100 steps, so the warp folds.
    """
    solution = targets
    for _ in range(100):
        moved = cv2.remap(field, solution, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        previous, solution = solution, targets - moved
        if np.abs(solution - previous).max() < 1 / 16:
            break
    else:
        raise ArithmeticError("the warp folds: its inversion does not converge")
    for _ in range(2):
        solution = targets - sample(field, solution)
    return solution
