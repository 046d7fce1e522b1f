"""Follow the faces of a recording from frame to frame."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from mefusion.clips.stream import Frame
from mefusion.faces.alignment import has_eyes
from mefusion.faces.detectors import Box, Detection, FaceFinder
from mefusion.faces.identity import SAME_PERSON, People, descriptor

DETECTION_SIDE = 640  # px; larger pictures are made smaller for the detector, so that 4K video stays fast
DETECT_EVERY = 0.5  # s between two detections
SEARCH_EVERY = 0.1  # s between two detections while a face that was followed is lost
SAME_FACE = 0.3  # intersection over union of a followed and a detected box
STEADY = 0.7  # overlap above which the followed box is kept, since landmarks jump if the box does
DRIFT = 0.06  # of the box's width; if the face has moved by more, the box moves with it
MISSES = 4  # detections in a row that may miss a face, for example a turned one, before it is given up
LARGER = 1.5  # a face has to be so many times larger, by area, to be followed in place of the present one
CUT_CHANGE, CUT_CORRELATION = 12.0, 0.5  # grey levels and correlation of small pictures at a change of scene


@dataclass(frozen=True)
class Face:
    """A face in a frame.

    Attributes:
        person: number of the person, from 1.
        piece: number of the unbroken piece of the person's track, from 0: it rises where the face was lost.
        box: px.
        landmarks: [68, 2] px.
        detected: whether the face was detected in this very frame, rather than followed.
    """

    person: int
    piece: int
    box: Box
    landmarks: np.ndarray
    detected: bool = False


@dataclass(eq=False)
class _Piece:
    """A face that is being followed."""

    number: int
    person: int
    detection: Detection
    centre: np.ndarray  # of the landmarks, relative to the box's corner, when the box was last placed
    landmarks: np.ndarray
    missed: int = 0

    @property
    def box(self) -> Box:
        return self.detection.box


@dataclass
class FaceTracker:
    """Finds the faces in the frames of a recording, one frame after the other.

    Faces are detected every half second, after a change of scene and where one is lost. Between detections the
    landmarks are found in the box of the frame before, which moves with the face. A new face is compared with the
    people who were seen before.

    Args:
        finder: finds faces and landmarks.
        people: those seen before; new ones are added.
        wanted: `largest` follows one face, the largest, until it is lost or another is half as large again; `all` every
            face; a number only this person.
        detect_every: s between two detections.
        misses: detections in a row that may miss a face that is followed before it is given up.
    """

    finder: FaceFinder
    people: People
    wanted: str | int = "largest"
    detect_every: float = DETECT_EVERY
    misses: int = MISSES
    _pieces: list[_Piece] = field(default_factory=list)
    _count: int = 0
    _detected: float = -np.inf
    _lost: bool = False
    _scene: np.ndarray | None = None

    def update(self, frame: Frame) -> list[Face]:
        """The followed faces in the next frame."""
        if self._is_other_scene(frame.grey):
            self._pieces.clear()
            self._detected = -np.inf
        lost = [piece for piece in self._pieces if not self._follow(piece, frame.grey)]
        self._lost = self._lost or bool(lost)
        wait = min(SEARCH_EVERY, self.detect_every) if self._lost else self.detect_every
        if frame.time - self._detected >= wait - 1e-6:
            self._detect(frame, lost)
        else:
            self._pieces = [piece for piece in self._pieces if piece not in lost]
        followed = [piece for piece in self._pieces if self.wanted in ("largest", "all", piece.person)]
        now = self._detected == frame.time
        return [
            Face(piece.person, piece.number, piece.box, piece.landmarks, now and piece.missed == 0)
            for piece in followed
        ]

    def _is_other_scene(self, grey: np.ndarray) -> bool:
        small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._scene = self._scene, small
        if before is None or np.abs(small - before).mean() < CUT_CHANGE:
            return False
        spread = small.std() * before.std()
        alike = float(((small - small.mean()) * (before - before.mean())).mean() / spread) if spread else 0.0
        return alike < CUT_CORRELATION

    def _follow(self, piece: _Piece, grey: np.ndarray) -> bool:
        """Find a piece's landmarks in the next frame; False if the face is lost."""
        if not piece.detection.still_visible(grey):
            return False
        points = self.finder.predict(grey, piece.box)
        if not (has_eyes(points) and piece.detection.surrounds(points)):
            return False
        piece.landmarks = points
        left, top, right, bottom = piece.box
        moved = points.mean(0) - (left, top) - piece.centre
        if np.abs(moved).max() > DRIFT * (right - left):
            box = (left + moved[0], top + moved[1], right + moved[0], bottom + moved[1])
            piece.detection = Detection(box, piece.detection.thumbnail)
        return True

    def _detect(self, frame: Frame, lost: Sequence[_Piece]) -> None:
        """Detect faces, go on with the pieces that are found again, and begin new ones."""
        self._detected, self._lost = frame.time, False
        found = detect(self.finder, frame.grey)
        pairs = {
            number: box
            for number, box in _match([piece.box for piece in self._pieces], found).items()
            if self._pieces[number] not in lost or self._shows(self._pieces[number].person, found[box], frame)
        }
        for number, piece in enumerate(self._pieces):
            self._confirm(piece, found[pairs[number]] if number in pairs else None, frame.grey)
        self._pieces = [
            piece for piece in self._pieces if piece.missed == 0 or (piece.missed <= self.misses and piece not in lost)
        ]
        new: Sequence[Box] = [box for number, box in enumerate(found) if number not in pairs.values()]
        if self.wanted == "largest":
            new = self._larger(new)
        for box in new:
            self._begin(box, frame)

    def _shows(self, person: int, box: Box, frame: Frame) -> bool:
        """Whether a box shows a person who is known."""
        points = self.finder.predict(frame.grey, box)
        return has_eyes(points) and self.people.distance(person, descriptor(frame.image, points)) < SAME_PERSON

    def _confirm(self, piece: _Piece, box: Box | None, grey: np.ndarray) -> None:
        if box is None:
            piece.missed += 1
            return
        piece.missed = 0
        if overlap(piece.box, box) < STEADY or not piece.detection.still_visible(grey):
            piece.landmarks = self.finder.predict(grey, box)
            piece.centre = piece.landmarks.mean(0) - box[:2]
        else:
            box = piece.box
        piece.detection = Detection.of(grey, box)

    def _larger(self, boxes: Sequence[Box]) -> Sequence[Box]:
        """The one box that is followed as the largest face; none if the face that is followed stays."""
        largest = max(boxes, key=_area, default=None)
        if largest is None or any(_area(largest) < LARGER * _area(piece.box) for piece in self._pieces):
            return []
        self._pieces.clear()
        return [largest]

    def _begin(self, box: Box, frame: Frame) -> None:
        points = self.finder.predict(frame.grey, box)
        if not has_eyes(points):
            return
        taken = [piece.person for piece in self._pieces]
        person = self.people.number(descriptor(frame.image, points), taken=taken)
        self._pieces.append(
            _Piece(self._count, person, Detection.of(frame.grey, box), points.mean(0) - box[:2], points)
        )
        self._count += 1


def detect(finder: FaceFinder, grey: np.ndarray) -> list[Box]:
    """Boxes of all faces in a grey picture [H, W]; a large picture is made smaller first."""
    scale = min(1.0, DETECTION_SIDE / max(grey.shape))
    small = grey if scale == 1 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return [tuple(edge / scale for edge in box) for box in finder.detect_all(small)]


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (_area(first) + _area(second) - width * height)


def _match(followed: Sequence[Box], found: Sequence[Box]) -> dict[int, int]:
    """For each followed box that is detected again, the number of the detected one."""
    overlaps = np.array([[overlap(one, other) for other in found] for one in followed])
    overlaps = overlaps.reshape(len(followed), len(found))
    rows, columns = linear_sum_assignment(-overlaps)
    return {
        int(row): int(column) for row, column in zip(rows, columns, strict=True) if overlaps[row, column] >= SAME_FACE
    }


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
