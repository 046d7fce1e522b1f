"""Alignment of face pictures by their 68 landmarks (iBUG order)."""

import cv2
import numpy as np

from mefusion.common.errors import MefusionError

# When a picture is flipped left to right, landmark i becomes landmark LANDMARK_MIRROR[i].
LANDMARK_MIRROR = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])  # fmt: skip


def eye_centres(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the two eyes of landmarks [68, 2] px, as (x, y) px; first the eye on the left of the picture."""
    return landmarks[36:42].mean(0), landmarks[42:48].mean(0)


def alignment_matrix(landmarks: np.ndarray, *, size: int, enlarge: float = 2.5) -> np.ndarray:
    """Similarity that makes the eyes level and fits eyes, nose tip and mouth corners into a square.

    First rotate the face until the eye centres are level. Take the bounding box of the eye centres, nose tip (30) and
    mouth corners (48, 54) after this rotation. The square has the box's centre; half its side is 0.5 x enlarge x the
    box's larger side. It is scaled to `size`: scale = (size - 1) / 2 / half side. As in MOL (arXiv 2506.14511).

    Args:
        landmarks: [68, 2] px.
        size: side of the aligned picture, px.
        enlarge: side of the square, in units of the bounding box's larger side.

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


# Eye corners, ridge and base of the nose: facial expressions hardly move these points.
RIGID = [36, 39, 42, 45, 27, 28, 29, 30, 33]


def stabilised_matrices(landmarks: np.ndarray, *, size: int, enlarge: float = 2.5) -> np.ndarray:
    """Alignment of a clip's frames that removes the motion of the head and keeps that of the face.

    If each frame is aligned by its own landmarks, their errors move the picture, by as much as a micro-expression
    does; and so do the mouth corners, which expressions move. Here the mean landmarks of the clip define one alignment
    for all frames. In addition, each frame has a similarity that moves its head to the mean position. It is fitted by
    least squares to points that expressions hardly move, after smoothing them over time (standard deviation: one
    frame).

    Args:
        landmarks: [n, 68, 2] px.
        size, enlarge: see `alignment_matrix`.

    Returns:
        [n, 2, 3] matrices from picture to aligned coordinates.

    Raises:
        ValueError: see `alignment_matrix`.
    """
    from scipy.ndimage import gaussian_filter1d  # both take long, and most of what needs this module does not use them
    from skimage.transform import estimate_transform

    mean = landmarks.mean(0)
    aligned = transform(mean, alignment_matrix(mean, size=size, enlarge=enlarge))
    smooth = gaussian_filter1d(landmarks, sigma=1, axis=0, mode="nearest")
    return np.stack([estimate_transform("similarity", points[RIGID], aligned[RIGID]).params[:2] for points in smooth])


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Transform points [..., 2] by a matrix [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(image: np.ndarray, matrix: np.ndarray, *, size: int) -> np.ndarray:
    """Transform a picture [H, W(, 3)] by a matrix [2, 3] to `size` px, linearly; 128 where the picture ends."""
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))


def align_face(
    image: np.ndarray, landmarks: np.ndarray, size: int, enlarge: float = 2.5
) -> tuple[np.ndarray, np.ndarray]:
    """Align a picture by its own landmarks.

    Args:
        image: [H, W] or [H, W, 3] uint8.
        landmarks: [68, 2] px, iBUG order.
        size: side of the aligned picture, px.
        enlarge: see `alignment_matrix`.

    Returns:
        The aligned picture [size, size(, 3)] and the landmarks [68, 2] in its pixels.

    Raises:
        ValueError: the eye centres coincide.
    """
    matrix = alignment_matrix(landmarks, size=size, enlarge=enlarge)
    return warp(image, matrix, size=size), transform(landmarks, matrix)


def has_eyes(landmarks: np.ndarray) -> bool:
    """Whether landmarks [68, 2] px can be aligned: all are numbers, and the eye centres are more than 1 px apart."""
    left, right = eye_centres(landmarks)
    return bool(np.isfinite(landmarks).all() and np.linalg.norm(right - left) > 1)


def fill_missing(landmarks: np.ndarray, *, limit: int) -> np.ndarray:
    """Fill in missing landmarks: linearly between the frames around a gap; at the ends, from the nearest frame.

    Args:
        landmarks: [n, 68, 2] px, NaN in frames without a face.
        limit: longest gap that is filled in, frames.

    Returns:
        [n, 68, 2] px without NaN; the given array itself if nothing is missing.

    Raises:
        MefusionError: a gap is longer, or landmarks are missing in all frames.
    """
    seen = ~np.isnan(landmarks).any(axis=(1, 2))
    if seen.all():
        return landmarks
    # Frames with a face, and a mark before the first frame and after the last one; between them are the gaps.
    edges = np.flatnonzero(np.concatenate([[True], seen, [True]]))
    longest, start = max((int(run) - 1, int(edge)) for run, edge in zip(np.diff(edges), edges[:-1], strict=True))
    if longest > limit or not seen.any():
        raise MefusionError(
            f"no face is found in {longest} of its {len(seen)} frames in a row, from its frame {start + 1} on, more "
            f"than faces.max_missing={limit}: raise this limit, correct onset and offset, or leave the clip out"
        )
    times, flat = np.arange(len(seen)), landmarks.reshape(len(seen), -1)
    filled = [np.interp(times, times[seen], values[seen]) for values in flat.T]
    return np.stack(filled, axis=1).reshape(landmarks.shape)
