"""Measure the faces of a segment of a recording: landmarks in its frames, and curves of regional displacement."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from mefusion.clips.stream import Frame
from mefusion.faces.tracking import Face, FaceTracker
from mefusion.spotting.eyes import eye_aspect, mouth_opening
from mefusion.spotting.motion import REGIONS, Reference

WINDOW = 200  # moments; displacement is measured from a window's first frame
STEP = 100  # moments from one window to the next
LONGEST_GAP = 0.25  # s; a curve is not interpolated over longer gaps between frames


@dataclass
class Curve:
    """Displacement of a face's regions since the first frame of a window.

    Attributes:
        person: number of the person.
        piece: see `mefusion.faces.tracking.Face`.
        window: number of the window in the recording.
        reference: the face in the first frame.
        times: s of the measured frames.
        values: their displacements [regions], % of the inter-ocular distance.
    """

    person: int
    piece: int
    window: int
    reference: Reference
    times: list[float] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        """Measure the next frame."""
        self.times.append(frame.time)
        self.values.append(self.reference.displacement(frame.grey))

    def pieces(self, rate: float) -> Iterator[tuple[int, np.ndarray]]:
        """The curve at equal distances in time, without its longer gaps.

        Yields:
            For each unbroken piece: number of its first moment, where moment m is at m / rate s; and values
            [n, regions].
        """
        times, values = np.array(self.times), np.array(self.values)
        breaks = np.flatnonzero(np.diff(times) > LONGEST_GAP) + 1
        for part in np.split(np.arange(len(times)), breaks):
            first, last = (int(np.ceil(times[part[0]] * rate - 1e-6)), int(times[part[-1]] * rate + 1e-6))
            if last > first:
                moments = np.arange(first, last + 1) / rate
                columns = [np.interp(moments, times[part], column) for column in values[part].T]
                yield first, np.stack(columns, axis=1)


@dataclass
class Segment:
    """What was measured in consecutive frames.

    Attributes:
        frames: number and time of each frame.
        faces: for each face in a measured frame: index in `frames`, person, box (4), landmarks (136: x then y), eye
            aspect ratio, opening of the mouth.
        curves: of each window.
    """

    frames: list[tuple[int, float]] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def measure(frames: Iterable[Frame], tracker: FaceTracker, *, rate: float, first: int, last: int) -> Segment:
    """Measure a segment, a frame at a time.

    Args:
        frames: of the segment and, for its last windows, of the next one.
        tracker: of faces.
        rate: at most this many frames in a second are measured.
        first, last: numbers of the segment's first and last window.
    """
    segment, before = Segment(), None
    active: list[Curve] = []
    for frame in frames:
        segment.frames.append((frame.number, frame.time))
        moment = int(frame.time * rate + 1e-6)
        if moment == before:
            continue
        before = moment
        faces = tracker.update(frame)
        segment.faces += [_row(len(segment.frames) - 1, face) for face in faces]
        windows = range(max(first, (moment - WINDOW) // STEP + 1), min(last, moment // STEP) + 1)
        active = _go_on(active, faces, frame, windows)
        begun = _begin(active, faces, frame, windows)
        active += begun
        segment.curves += begun
    return segment


def _go_on(active: list[Curve], faces: list[Face], frame: Frame, windows: range) -> list[Curve]:
    """Add a frame to the curves whose window and face go on; returns these."""
    seen = {(face.person, face.piece) for face in faces}
    going = [curve for curve in active if curve.window in windows and (curve.person, curve.piece) in seen]
    for curve in going:
        curve.add(frame)
    return going


def _begin(active: list[Curve], faces: list[Face], frame: Frame, windows: range) -> list[Curve]:
    """Begin a curve for each face and window that have none yet; returns the new ones."""
    have = {(curve.window, curve.person, curve.piece) for curve in active}
    return [
        Curve(
            face.person,
            face.piece,
            window,
            Reference.of(frame.grey, face.landmarks),
            [frame.time],
            [np.zeros(len(REGIONS))],
        )
        for window in windows
        for face in faces
        if (window, face.person, face.piece) not in have
    ]


def _row(index: int, face: Face) -> np.ndarray:
    points = face.landmarks
    return np.array(
        [index, face.person, *face.box, *points[:, 0], *points[:, 1], eye_aspect(points), mouth_opening(points)]
    )
