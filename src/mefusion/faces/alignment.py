"""68 landmarks (iBUG order), and alignment by them."""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from skimage.transform import estimate_transform

from mefusion.common.errors import MefusionError

# Landmark i becomes LANDMARK_MIRROR[i] when the picture is flipped left to right.
LANDMARK_MIRROR = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])  # fmt: skip


def eye_centres(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the two eyes, (x, y) px, the one on the picture's left first; landmarks [68, 2] px."""
    return landmarks[36:42].mean(0), landmarks[42:48].mean(0)


def alignment_matrix(landmarks: np.ndarray, *, size: int, enlarge: float = 2.5) -> np.ndarray:
    """Similarity that levels the eyes and fits eyes, nose tip and mouth corners into a square.

    Rotate so that the eye centres are level; bounding box of the eye centres, nose tip (30) and mouth
    corners (48, 54) after the rotation; half size = 0.5 x enlarge x the larger side; scale =
    (size - 1) / 2 / half size. As in MOL (arXiv 2506.14511).

    Args:
        landmarks: [68, 2] px.
        size: side of the aligned picture, px.
        enlarge: side of the square in sides of the bounding box.

    Returns:
        [2, 3] matrix from picture to aligned coordinates.

    Raises:
        ValueError: the eye centres or the five points coincide.
    """
    left, right = eye_centres(landmarks)
    dx, dy = right - left
    length = np.hypot(dx, dy)
    if not length > 0:
        raise ValueError("the two eye centres coincide, so the face cannot be aligned")
    rotation = np.array([[dx, dy], [-dy, dx]]) / length
    points = np.array([left, right, landmarks[30], landmarks[48], landmarks[54]]) @ rotation.T
    low, high = points.min(0), points.max(0)
    half = 0.5 * enlarge * (high - low).max()
    scale = (size - 1) / 2 / half
    return np.column_stack([scale * rotation, scale * (half - (low + high) / 2)])


# Eye corners, ridge and base of the nose: facial action units hardly move them.
RIGID = [36, 39, 42, 45, 27, 28, 29, 30, 33]


def stabilised_matrices(landmarks: np.ndarray, *, size: int, enlarge: float = 2.5) -> np.ndarray:
    """Alignment of a clip's frames that takes out the head's motion and leaves the face's.

    Aligning each frame by its own landmarks moves the picture by their error, which is as large as a
    micro-expression, and with the mouth corners that an expression moves. Here the clip's mean landmarks give
    one alignment, and a similarity a frame, fitted by least squares to points that hold still and smoothed
    over neighbouring frames (standard deviation one frame), brings the head back to its mean place.

    Args:
        landmarks: [n, 68, 2] px.
        size, enlarge: see `alignment_matrix`.

    Returns:
        [n, 2, 3] matrices from picture to aligned coordinates.

    Raises:
        ValueError: see `alignment_matrix`.
    """
    mean = landmarks.mean(0)
    aligned = transform(mean, alignment_matrix(mean, size=size, enlarge=enlarge))
    smooth = gaussian_filter1d(landmarks, sigma=1, axis=0, mode="nearest")
    return np.stack([estimate_transform("similarity", points[RIGID], aligned[RIGID]).params[:2] for points in smooth])


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [..., 2] under a matrix [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(image: np.ndarray, matrix: np.ndarray, *, size: int) -> np.ndarray:
    """Picture [H, W(, 3)] under a matrix [2, 3], `size` px, linear, 128 beyond its border."""
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))


def align_face(
    image: np.ndarray, landmarks: np.ndarray, size: int, enlarge: float = 2.5
) -> tuple[np.ndarray, np.ndarray]:
    """Align one picture by its own landmarks.

    Args:
        image: [H, W] or [H, W, 3] uint8.
        landmarks: [68, 2] px, iBUG order.
        size: side of the aligned picture, px.
        enlarge: side of the square in sides of the bounding box of eyes, nose tip and mouth corners.

    Returns:
        The aligned picture [size, size(, 3)] and the landmarks [68, 2] in its pixels.

    Raises:
        ValueError: the eye centres coincide.
    """
    matrix = alignment_matrix(landmarks, size=size, enlarge=enlarge)
    return warp(image, matrix, size=size), transform(landmarks, matrix)


def has_eyes(landmarks: np.ndarray) -> bool:
    """Whether landmarks [68, 2] are numbers with the eyes apart, as alignment needs."""
    left, right = eye_centres(landmarks)
    return bool(np.isfinite(landmarks).all() and np.linalg.norm(right - left) > 1)


def fill_missing(landmarks: np.ndarray, *, limit: int) -> np.ndarray:
    """Landmarks of every frame: where they are missing, linear between neighbours and copied at the ends.

    Args:
        landmarks: [n, 68, 2] px, NaN in frames without a face.
        limit: most frames in a row that may be missing.

    Returns:
        [n, 68, 2] px without NaN; the same array where nothing is missing.

    Raises:
        MefusionError: more are missing in a row, or all.
    """
    seen = ~np.isnan(landmarks).any(axis=(1, 2))
    if seen.all():
        return landmarks
    edges = np.flatnonzero(np.concatenate([[True], seen, [True]]))  # of the runs between frames that are seen
    longest, start = max((int(run) - 1, int(edge)) for run, edge in zip(np.diff(edges), edges[:-1], strict=True))
    if longest > limit or not seen.any():
        raise MefusionError(
            f"no face is found in {longest} of its {len(seen)} frames in a row, from the {start + 1}. on, more than "
            f"faces.max_missing={limit}: raise that, correct onset and offset, or go on without the clip"
        )
    times, flat = np.arange(len(seen)), landmarks.reshape(len(seen), -1)
    filled = [np.interp(times, times[seen], values[seen]) for values in flat.T]
    return np.stack(filled, axis=1).reshape(landmarks.shape)
