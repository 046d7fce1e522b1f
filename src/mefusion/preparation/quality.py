"""How well a clip was prepared: what its landmarks and its flow show, and what to look at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from skimage.transform import estimate_transform

from mefusion.faces.alignment import eye_centres, transform

EDGE = 0.1  # inter-ocular distances; landmarks that are nearer to the picture's edge are often guessed
SHAPE = 0.12  # inter-ocular distances; faces are up to 0.1 from the mean shape, landmarks beside a face more than 0.15
JUMP = 0.04  # inter-ocular distances; about 0.01 in a micro-expression, 0.07 and more where something covers the face
STILL = 0.05  # px; less than the noise between two pictures of a camera gives (0.1): pictures are repeated
HEAD = 0.3  # px; faces.alignment=stabilised leaves about 0.1


def eye_distance(arrays: Mapping[str, np.ndarray]) -> float | None:
    """Distance of the eye centres in the pictures that a clip was prepared from, px: the median over its frames.

    Args:
        arrays: `landmarks` and `matrices` of `mefusion.preparation.arrays.prepare_clip`.

    Returns:
        The distance; None if the clip has no landmarks.
    """
    if "landmarks" not in arrays:
        return None
    left, right = arrays["landmarks"][:, 36:42].mean(1), arrays["landmarks"][:, 42:48].mean(1)
    scales = np.sqrt(np.abs(np.linalg.det(arrays["matrices"][:, :, :2])))
    return float(np.median(np.linalg.norm(right - left, axis=1) / scales))


WARNINGS = {
    "damaged": "The clip's file in the cache cannot be read.",
    "faces": "There are several faces in the picture: the largest is taken.",
    "edge": "The face touches the edge of the picture, or is cut off by it.",
    "landmarks": "The landmarks are implausible: they differ much from the mean shape of all clips, or jump from one "
    "frame to the next. The face may be covered, turned, or another thing.",
    "interpolated": "Landmarks of frames without a face are interpolated, or frames of a clip that is too short.",
    "past_end": "The offset lies past the end of the clip: the frames that are there are used.",
    "still": "Nothing moves in the face.",
    "head": "The head still moves after alignment.",
}
"""Kinds of warnings, and what they mean."""


@dataclass(frozen=True)
class Measures:
    """What the arrays of a prepared clip show.

    Attributes:
        shapes: landmarks [T, 68, 2] px of a window's frames; None without landmarks.
        motion: motion on the face from one frame of a window to the next, px: the 95th percentile over the face, of
            the two frames where it is largest; None without flow.
        head: motion of the whole face, px, mean over the same pairs of frames.
    """

    shapes: np.ndarray | None = None
    motion: float | None = None
    head: float | None = None

    @property
    def jump(self) -> float:
        """Largest change of the landmarks' shape from one frame to the next, inter-ocular distances."""
        pairs = [] if self.shapes is None else zip(self.shapes[:-1], self.shapes[1:], strict=True)
        return max((shape_distance(after, before) for before, after in pairs), default=0.0)


def measure(arrays: Mapping[str, np.ndarray], stride: int) -> Measures:
    """Measure a prepared clip on its first window.

    Args:
        arrays: see `mefusion.preparation.arrays.prepare_clip`; those of a flow image show nothing that is measured.
        stride: frames from one of a window to the next.
    """
    if "flow" not in arrays:
        return Measures()
    shapes = arrays["landmarks"][::stride].astype(np.float64) if "landmarks" in arrays else None
    moved = [
        _motion(flow.astype(np.float32), None if shapes is None else shapes[t])
        for t, flow in enumerate(arrays["flow"][::stride])
    ]
    motion, head = np.array(moved).T
    return Measures(shapes, motion=float(motion.max()), head=float(head.mean()))


def _motion(flow: np.ndarray, landmarks: np.ndarray | None) -> tuple[float, float]:
    """Motion on the face and of the whole face, px, of a flow [2, H, W]; without landmarks all of it is the face."""
    face = np.ones(flow.shape[1:], np.uint8)
    if landmarks is not None:
        face = cv2.fillConvexPoly(np.zeros_like(face), cv2.convexHull(landmarks.astype(np.int32)), 1)
    rows, columns = np.nonzero(face)
    vectors = flow[:, rows, columns].T
    if not len(vectors):  # a face outside the canvas
        return 0.0, 0.0
    few = slice(None, None, max(len(vectors) // 300, 1))
    start = np.stack([columns, rows], axis=1)[few].astype(np.float32)
    # Least median of squares: less than half of the face shows an expression, the rest follows the head.
    matrix, _ = cv2.estimateAffinePartial2D(start, start + vectors[few], method=cv2.LMEDS)
    whole = 0.0 if matrix is None else np.linalg.norm(transform(start, matrix) - start, axis=1).mean()
    return float(np.percentile(np.linalg.norm(vectors, axis=1), 95)), float(whole)


def edge_distance(landmarks: np.ndarray, *, height: int, width: int) -> float:
    """Smallest distance of landmarks [n, 68, 2] px from a picture's edge, inter-ocular distances; outside below 0."""
    inside = np.minimum(landmarks, np.array([width - 1, height - 1]) - landmarks).min(axis=(1, 2))
    return float((inside / [_eye_distance(points) for points in landmarks]).min())


def mean_shape(shapes: Sequence[np.ndarray]) -> np.ndarray:
    """Mean shape [68, 2] of faces [68, 2]: the median of all after each is moved, turned and scaled to it."""
    mean = np.median(shapes, axis=0)
    for _ in range(2):
        mean = np.median([_fitted(shape, mean) for shape in shapes], axis=0)
    return mean


def shape_distance(landmarks: np.ndarray, shape: np.ndarray) -> float:
    """How far landmarks [68, 2] are from a shape [68, 2] that is moved, turned and scaled to them.

    Returns:
        The root of the mean squared distance, inter-ocular distances.
    """
    apart = landmarks - _fitted(shape, landmarks)
    return float(np.sqrt((apart**2).sum(axis=1).mean()) / _eye_distance(landmarks))


def _fitted(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    return transform(points, estimate_transform("similarity", points, target).params[:2])


def _eye_distance(landmarks: np.ndarray) -> float:
    left, right = eye_centres(landmarks)
    return max(float(np.linalg.norm(right - left)), 1e-6)


def warnings_of(clip: Mapping[str, object], measures: Measures, mean: np.ndarray | None) -> Iterator[tuple[str, str]]:
    """What to look at in a clip.

    Args:
        clip: row of the cache's index.
        measures: of the clip.
        mean: `mean_shape` of all clips, None where they have no landmarks.

    Yields:
        A key of `WARNINGS`, and a sentence with numbers.
    """

    def recorded(name: str) -> float:
        value = clip.get(name)
        return float("nan") if value is None or pd.isna(value) else float(value)  # type: ignore[arg-type]

    if recorded("faces") > 1:
        yield "faces", f"{recorded('faces'):.0f} faces in the picture"
    if (edge := recorded("edge")) < EDGE:
        where = "outside the picture" if edge < 0 else f"{edge:.2f} eye distances from its edge"
        yield "edge", f"a landmark is {where}"
    if mean is not None and measures.shapes is not None:
        distances = [shape_distance(points, mean) for points in measures.shapes]
        if max(distances) > SHAPE:
            yield "landmarks", f"the landmarks are {max(distances):.2f} eye distances from the mean shape"
        if measures.jump > JUMP:
            yield "landmarks", f"the landmarks' shape jumps by {measures.jump:.2f} eye distances"
    if (without := recorded("frames_without_face")) > 0:
        yield "interpolated", f"{without:.0f} of {clip['n_frames']} frames without a face"
    if (read := recorded("frames_read")) < int(str(clip["n_frames"])):
        yield "interpolated", f"{read:.0f} frames stretched to {clip['n_frames']}"
    if (past := recorded("frames_past_end")) > 0:
        yield "past_end", f"the clip ends {past:.0f} frames before its offset"
    if measures.motion is not None and measures.motion < STILL:
        yield "still", f"the largest motion is {measures.motion:.2f} px"
    if measures.head is not None and measures.head > HEAD:
        yield "head", f"the head moves by {measures.head:.2f} px from frame to frame"
