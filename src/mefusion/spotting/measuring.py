"""Measure the faces of a part of a recording: landmarks in its frames, and curves of their motion."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mefusion.clips.stream import Frame
from mefusion.faces.tracking import Face
from mefusion.spotting.curves import Begin, Curve, at_equal_distances
from mefusion.spotting.eyes import eye_aspect, mouth_opening
from mefusion.spotting.motion import OWNERS, Reference

RENEW = 200  # measured frames after which the reference is taken anew


class Follower(Protocol):
    """Gives the faces of frames, one frame after the other, as `mefusion.faces.tracking.FaceTracker` does."""

    def update(self, frame: Frame) -> list[Face]:
        """The faces in the next frame."""
        ...


@dataclass
class DisplacementCurve:
    """Displacement of a face's patches over an unbroken piece of its track.

    The displacement is measured from a reference frame. Every few seconds the present frame becomes the reference;
    what has been reached until then is added to what follows.

    Attributes:
        person, piece: see `mefusion.faces.tracking.Face`.
        reference: the face in the reference frame.
        reached: [patches, 2] displacement of the reference.
        times: s of the measured frames.
        values: their displacements [patches, 2], % of the inter-ocular distance.
    """

    person: int
    piece: int
    reference: Reference
    reached: np.ndarray
    times: list[float]
    values: list[np.ndarray]
    _age: int = 0

    @classmethod
    def begun(cls, frame: Frame, face: Face) -> "DisplacementCurve":
        """A curve that begins with a face in a frame."""
        still = np.zeros((len(OWNERS), 2))
        return cls(face.person, face.piece, Reference.of(frame.grey, face.landmarks), still, [frame.time], [still])

    def add(self, frame: Frame, face: Face) -> None:
        """Measure the face in the next frame."""
        now = self.reached + self.reference.displacement(frame.grey, face.landmarks)
        self.times.append(frame.time)
        self.values.append(now)
        self._age += 1
        if self._age == RENEW:
            self.reference, self.reached, self._age = Reference.of(frame.grey, face.landmarks), now, 0

    def pieces(self, rate: float) -> Iterator[tuple[int, np.ndarray]]:
        """The curve at equal distances in time, values [n, patches, 2]; see `at_equal_distances`."""
        return at_equal_distances(self.times, self.values, rate)


@dataclass
class Segment:
    """What was measured in consecutive frames.

    Attributes:
        frames: number and time of each frame.
        measured: indices in `frames` of those in which faces were looked for.
        faces: for each face in a measured frame: index in `frames`, person, box (4), landmarks (136: x then y), eye
            aspect ratio, opening of the mouth.
        curves: of each face, a curve for each unbroken piece of its track.
    """

    frames: list[tuple[int, float]] = field(default_factory=list)
    measured: list[int] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def measure(
    frames: Iterable[Frame], tracker: Follower, *, rate: float, begin: Begin = DisplacementCurve.begun
) -> Segment:
    """Measure frames, one at a time.

    Args:
        frames: in the order of time.
        tracker: of faces.
        rate: at most this many frames in a second are measured.
        begin: begins a curve of the method's kind.
    """
    segment, before = Segment(), None
    active: dict[tuple[int, int], Curve] = {}
    for frame in frames:
        segment.frames.append((frame.number, frame.time))
        moment = int(frame.time * rate + 1e-6)
        if moment == before:
            continue
        before, going = moment, active
        active = {}
        segment.measured.append(len(segment.frames) - 1)
        for face in tracker.update(frame):
            segment.faces.append(_row(len(segment.frames) - 1, face))
            if curve := going.get((face.person, face.piece)):
                curve.add(frame, face)
            else:
                curve = begin(frame, face)
                segment.curves.append(curve)
            active[face.person, face.piece] = curve
    return segment


def _row(index: int, face: Face) -> np.ndarray:
    points = face.landmarks
    opening = mouth_opening(points)
    return np.array([index, face.person, *face.box, *points[:, 0], *points[:, 1], eye_aspect(points), opening])
