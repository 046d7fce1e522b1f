"""Pictures of an event: the face at onset, apex and offset, its motion as arrows, and its motion magnified."""

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mefusion.clips.stream import Frame
from mefusion.faces.alignment import stabilised_matrices, transform, warp
from mefusion.report.recording.tables import Face

SIDE = 224
"""Side of a picture, px."""

PHASES = ("onset", "apex", "offset")

_QUALITY = 82  # of JPEG
_FAR = 18  # px that the largest motion of an event has after magnification
_LEAST, _MOST = 2, 20  # magnifications: above, the noise of the flow shows
_LONGEST = 24  # px of an arrow
_GRID = 14  # px between two arrows
_SMOOTHING = 3.5  # px, standard deviation, before magnification: a flow with jumps would tear the picture

Key = tuple[int, int]  # track and event
Read = Callable[[Sequence[int]], Iterable[Frame]]


@dataclass(frozen=True)
class Strip:
    """Pictures of an event, base64 JPEG, `SIDE` px.

    Attributes:
        pictures: by phase, and `magnified`: the onset's picture, its motion to the apex magnified.
        factor: of the magnification.
        arrows: SVG path of the motion from onset to apex, on the apex's picture.
        unit: length of a motion for the arrows' key, px of the recording.
        unit_length: length of its arrow, px of the picture.
        largest: largest motion on the face, px of the recording.
    """

    pictures: Mapping[str, str]
    factor: int
    arrows: str
    unit: float
    unit_length: float
    largest: float


@dataclass(frozen=True)
class _View:
    """How the face is aligned in the frames of an event.

    Attributes:
        matrices: [2, 3] from frame to picture, by phase.
        landmarks: [68, 2] px of the picture, at onset.
    """

    matrices: Mapping[str, np.ndarray]
    landmarks: np.ndarray


def make_strips(events: Sequence[Mapping[str, Any]], faces: Iterable[Face], read: Read) -> dict[Key, Strip | str]:
    """Pictures of events, for which the video is read once.

    Args:
        events: rows of the events table.
        faces: all faces of their frames.
        read: gives the frames of some numbers; those that it cannot read are missing.

    Returns:
        By track and event: the strip, or a sentence that says why there is none.
    """
    views = _views(events, faces)
    cuts: dict[Key, dict[str, np.ndarray]] = {key: {} for key in views}
    wanted: dict[int, list[tuple[Key, str]]] = {}
    for event in events:
        for phase in PHASES:
            wanted.setdefault(int(event[f"{phase}_frame"]), []).append((key_of(event), phase))
    for frame in read(sorted(wanted)):
        for key, phase in wanted.get(frame.number, ()):  # only the faces are kept: frames of 4K would fill the memory
            if isinstance(view := views[key], _View):
                cuts[key][phase] = warp(frame.image, view.matrices[phase], size=SIDE)
    return {key: _strip(view, cuts[key]) if isinstance(view, _View) else view for key, view in views.items()}


def frames_of(events: Iterable[Mapping[str, Any]]) -> set[int]:
    """Numbers of all frames of events."""
    return {number for event in events for number in range(event["onset_frame"], event["offset_frame"] + 1)}


def key_of(event: Mapping[str, Any]) -> Key:
    """Track and number of an event."""
    return int(event["track"]), int(event["event"])


def _views(events: Sequence[Mapping[str, Any]], faces: Iterable[Face]) -> dict[Key, _View | str]:
    by_track: dict[int, dict[int, np.ndarray]] = {}
    for face in faces:
        by_track.setdefault(face.track, {})[face.frame] = face.landmarks
    return {key_of(event): _view(event, by_track.get(int(event["track"]), {})) for event in events}


def _view(event: Mapping[str, Any], landmarks: Mapping[int, np.ndarray]) -> _View | str:
    """All frames of the event count, since landmarks tremble from frame to frame."""
    inside = range(event["onset_frame"], event["offset_frame"] + 1)
    seen = [n for n in inside if n in landmarks and np.isfinite(landmarks[n]).all()]
    if not seen:
        return "No pictures: the frames table has no landmarks of this face in the event's frames."
    points = np.stack([landmarks[n] for n in seen])
    try:
        matrices = stabilised_matrices(points, size=SIDE)
    except ValueError as error:
        return f"No pictures: {error}."
    nearest = {phase: int(np.argmin(np.abs(np.array(seen) - event[f"{phase}_frame"]))) for phase in PHASES}
    onset = nearest["onset"]
    return _View(
        matrices={phase: matrices[place] for phase, place in nearest.items()},
        landmarks=transform(points[onset], matrices[onset]),
    )


def _strip(view: _View, cuts: Mapping[str, np.ndarray]) -> Strip | str:
    if missing := [phase for phase in PHASES if phase not in cuts]:
        return f"No pictures: the frame of {' and '.join(missing)} cannot be read from the video."
    flow, face = _motion(view, cuts["onset"], cuts["apex"])
    largest = max(float(np.percentile(np.linalg.norm(flow, axis=2)[face], 99)), 1e-3)
    factor = int(np.clip(round(_FAR / largest), _LEAST, _MOST))
    scale = float(np.sqrt(np.abs(np.linalg.det(view.matrices["onset"][:, :2]))))
    unit = _round_below(largest / scale)
    lengthen = _LONGEST / largest
    pictures = {**cuts, "magnified": magnify(cuts["onset"], flow, face, factor)}
    return Strip(
        pictures={name: _jpeg(picture) for name, picture in pictures.items()},
        factor=factor,
        arrows=_arrows(flow, face, lengthen=lengthen, shortest=largest / 5),
        unit=unit,
        unit_length=round(unit * scale * lengthen, 1),
        largest=largest / scale,
    )


def _motion(view: _View, onset: np.ndarray, apex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Motion [H, W, 2] px from onset to apex without that of the head, and the mask [H, W] of the face."""
    first, second = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (onset, apex))
    # DIS (Kroeger et al. 2016): a hundredth of TV-L1's time, and good enough to look at.
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)
    x, y = np.clip(np.rint(view.landmarks[27:31]).astype(int), 0, SIDE - 1).T
    flow -= np.median(flow[y, x], axis=0)  # the bridge of the nose moves with the head only
    # The landmarks end at the brows: the forehead above belongs to the face too.
    brows = view.landmarks[17:27] - [0, 0.12 * SIDE]
    hull = cv2.convexHull(np.rint(np.vstack([view.landmarks, brows])).astype(np.int32))
    return flow, cv2.fillConvexPoly(np.zeros((SIDE, SIDE), np.uint8), hull, 1).astype(bool)


def magnify(picture: np.ndarray, flow: np.ndarray, face: np.ndarray, factor: float) -> np.ndarray:
    """Move the pixels of a picture along a flow, several times as far (linear motion magnification).

    A pixel at x goes to x + factor * flow(x). The picture is read at the inverse, y - d(y) with
    d(y) = factor * flow(y - d(y)), which is found by iteration.

    Args:
        picture: [H, W, 3] uint8.
        flow: [H, W, 2] px.
        face: [H, W] mask; outside it nothing moves.
        factor: how many times as far.
    """
    share = cv2.GaussianBlur(face.astype(np.float32), (0, 0), 4)[..., None]
    scaled = cv2.GaussianBlur((factor * share * flow).astype(np.float32), (0, 0), _SMOOTHING)
    height, width = face.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    moved = scaled
    for _ in range(8):
        moved = cv2.remap(
            scaled, x - moved[..., 0], y - moved[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    source = (x - moved[..., 0], y - moved[..., 1])
    return cv2.remap(picture, *source, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _arrows(flow: np.ndarray, face: np.ndarray, *, lengthen: float, shortest: float) -> str:
    """SVG path of arrows on a grid, each as long as the motion there, times `lengthen`."""
    y, x = np.mgrid[_GRID // 2 : SIDE : _GRID, _GRID // 2 : SIDE : _GRID].reshape(2, -1)
    vectors = flow[y, x]
    shown = face[y, x] & (np.linalg.norm(vectors, axis=1) >= shortest)
    starts = np.column_stack([x, y])[shown]
    return "".join(_arrow(*start, *vector) for start, vector in zip(starts, lengthen * vectors[shown], strict=True))


def _arrow(x: float, y: float, dx: float, dy: float) -> str:
    length, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    head = min(0.4 * length, 4)
    (a, b), (c, d) = (head * np.array([np.cos(angle + turn), np.sin(angle + turn)]) for turn in (2.6, -2.6))
    return f"M{x} {y}l{dx:.1f} {dy:.1f}l{a:.1f} {b:.1f}m{-a:.1f} {-b:.1f}l{c:.1f} {d:.1f}"


def _round_below(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above a value."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)))


def _jpeg(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
