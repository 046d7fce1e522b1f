"""Compare prepared landmarks, alignment and flow with the exact ones of rendered clips."""

import dataclasses
from collections.abc import Iterable, Mapping

import cv2
import numpy as np

from mefusion.faces.alignment import eye_centres, transform
from mefusion.synthetic.render import Clip
from mefusion.synthetic.warps import pixel_grid, sample

CONTOUR = slice(0, 17)  # points along the jaw, which mark no feature of the face
INNER = slice(17, 68)


def compare(clips: Iterable[tuple[Clip, Mapping[str, np.ndarray], int]]) -> list[str]:
    """Lines of text: error of the landmarks, head motion that is left after alignment, error of the flow on the face.

    Args:
        clips: for each clip the exact clip, its prepared arrays (see `prepare_clip`), and the stride of its windows.
    """
    landmarks, head, flow = [], [], []
    for clip, arrays, stride in clips:
        landmarks.append(landmark_errors(clip, arrays).mean(0))
        head.append(head_motion(clip, arrays, stride))
        flow.append(flow_errors(clip, arrays, first=0, second=stride))
        last = min(max(clip.apex, stride), len(arrays["frames"]) - 1)
        flow.append(flow_errors(clip, arrays, first=last - stride, second=last))
    each = np.mean(landmarks, axis=0)
    error, motion = np.mean(flow, axis=0)
    return [
        f"landmarks against the truth: {each.mean():.1f} % of the inter-ocular distance "
        f"({each[INNER].mean():.1f} % without the contour, {each[CONTOUR].mean():.1f} % on it)",
        f"head motion that alignment left: {np.mean(head):.2f} px from one frame of a window to the next",
        f"flow against the truth, on the face: {error:.2f} px where zero flow is {motion:.2f} px off "
        f"({error / motion:.2f} of it)",
    ]


def landmark_errors(clip: Clip, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Error of each landmark in every frame, [n, 68], per cent of the inter-ocular distance."""
    exact = np.stack([transform(clip.landmarks(t), m) for t, m in enumerate(arrays["matrices"])])
    eyes = np.array([eye_centres(points) for points in exact])
    distance = np.linalg.norm(arrays["landmarks"] - exact, axis=-1)
    return 100 * distance / np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=-1)[:, None]


def head_motion(clip: Clip, arrays: Mapping[str, np.ndarray], stride: int) -> float:
    """Mean motion of the landmarks from frame f to f + stride by the head alone, px of the aligned frames."""
    rest = dataclasses.replace(clip, course=np.zeros_like(clip.course), blink_course=np.zeros_like(clip.blink_course))
    still = [transform(rest.landmarks(t), m) for t, m in enumerate(arrays["matrices"])]
    return float(np.linalg.norm(np.subtract(still[stride:], still[:-stride]), axis=-1).mean())


def flow_errors(clip: Clip, arrays: Mapping[str, np.ndarray], *, first: int, second: int) -> tuple[float, float]:
    """Mean end-point error of the flow on the face, and that of zero flow, px of the aligned frames.

    Args:
        clip: exact clip.
        arrays: prepared arrays; the flow from frame `first` must go to frame `second`.
        first, second: indices of frames, from 0.
    """
    exact, face = exact_flow(clip, arrays, first=first, second=second)
    estimated = arrays["flow"][first].astype(np.float64)
    error, motion = (np.linalg.norm(field, axis=0)[face].mean() for field in (estimated - exact, exact))
    return float(error), float(motion)


def exact_flow(
    clip: Clip, arrays: Mapping[str, np.ndarray], *, first: int, second: int
) -> tuple[np.ndarray, np.ndarray]:
    """Exact flow [2, size, size] px between aligned frames, and which pixels [size, size] show the face.

    Args:
        clip: exact clip.
        arrays: prepared arrays, of which frames and matrices are used.
        first, second: indices of frames, from 0.
    """
    start, end = (arrays["matrices"][t].astype(np.float64) for t in (first, second))
    canvas = arrays["frames"].shape[-1]
    grid = pixel_grid(canvas)
    seen = transform(grid, cv2.invertAffineTransform(start))
    moved = seen + sample(np.ascontiguousarray(clip.flow(first, second).transpose(1, 2, 0)), seen)
    exact = transform(moved, end) - grid
    hull = cv2.convexHull(transform(clip.landmarks(first), start).astype(np.int32))
    face = cv2.fillConvexPoly(np.zeros((canvas, canvas), np.uint8), hull, 1).astype(bool)
    return exact.transpose(2, 0, 1), face
