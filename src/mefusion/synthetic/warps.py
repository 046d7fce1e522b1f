"""Thin-plate splines, and the inversion of dense warps."""

import cv2
import numpy as np


def pixel_grid(size: int) -> np.ndarray:
    """Coordinates (x, y) of every pixel of a square image, [size, size, 2] float32."""
    axis = np.arange(size, dtype=np.float32)
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def spline_basis(controls: np.ndarray, points: np.ndarray, *, scale: float, smoothing: float = 0.0) -> np.ndarray:
    """Matrix that maps values at control points to the values of their thin-plate spline at other points.

    A thin-plate spline is linear in the values at its control points, so one matrix serves all displacements of the
    same control points (Bookstein 1989).

    Args:
        controls: [n, 2] px, distinct.
        points: [m, 2] px.
        scale: unit of length for `smoothing`, px, such as the size of the image.
        smoothing: with 0 the spline interpolates. A larger number gives a smoother spline, which does not follow
            close control points with different values exactly; skin behaves like this (Wahba 1990).

    Returns:
        [m, n] float32.
    """
    from scipy.interpolate import RBFInterpolator  # takes long, and a complete study is to say so at once

    spline = RBFInterpolator(controls / scale, np.eye(len(controls)), smoothing=smoothing, kernel="thin_plate_spline")
    return spline(points / scale).astype(np.float32)


def sample(field: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of a field [H, W, 2] at points [..., 2] px; outside, the values of its border.

    This is not `scipy.ndimage.map_coordinates` because that rounds differently, and changes pixels of rendered frames.
    """
    limit = np.array([field.shape[1] - 1, field.shape[0] - 1], np.float32)
    inside = np.clip(points, 0, limit)
    corner = np.minimum(inside.astype(np.int32), limit.astype(np.int32) - 1)
    (x, y), (u, v) = np.moveaxis(corner, -1, 0), np.moveaxis((inside - corner.astype(np.float32))[..., None, :], -1, 0)
    top = field[y, x] * (1 - u) + field[y, x + 1] * u
    bottom = field[y + 1, x] * (1 - u) + field[y + 1, x + 1] * u
    return top * (1 - v) + bottom * v


def steepest(field: np.ndarray) -> float:
    """Largest slope of a displacement [H, W, 2]; the warp cannot fold below 1."""
    slopes = np.stack(np.gradient(field, axis=(0, 1)), axis=-1)  # [H, W, 2, 2]
    return float(np.linalg.norm(slopes, ord=2, axis=(-2, -1)).max())


def invert(field: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Solve x + field(x) = target for x by fixed-point iteration.

    Most steps use OpenCV's remap, which is fast but rounds positions to 1/32 px. The last two steps are exact.

    Args:
        field: displacement [H, W, 2] px. The norm of its gradient must be below 1, so that the iteration converges.
        targets: [H, W, 2] px.

    Returns:
        [H, W, 2] px, exact to about 0.01 px.

    Raises:
        ArithmeticError: the iteration has not converged after 100 steps, since the warp folds.
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
