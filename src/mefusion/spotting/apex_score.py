"""Score the motion between frames a little apart (method `apex_score`): the features of SOFTNet without its network.

After Liong, See and Chan (ICIP 2021), with three changes:

- The flow is DIS in place of TV-L1, which takes a hundred times as long.
- The score is the length of the flow alone. It is not learned, so nothing weighs the strain against it.
- A pair of frames scores the moment between them. Published, it scores the first frame, and every interval comes early
  by half the distance.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from mefusion.clips.stream import Frame
from mefusion.faces.alignment import alignment_matrix, eye_centres, transform, warp
from mefusion.faces.tracking import Face
from mefusion.spotting.curves import LONGEST_GAP, at_equal_distances
from mefusion.spotting.events import MERGE, Interval, overlap

SIZE = 128  # px of the aligned face
HALVES = (0.2, 0.6)  # s between the frames of a pair: half of the mean micro- and macro-expression of CAS(ME)^2
NOSE, NOSE_SIDE = 28, 11  # landmark, and px of the patch around it, whose motion is the head's
EYES = (slice(36, 42), slice(42, 48))
EYE_MARGIN = 15  # px around the eyes that do not count
MARGIN = 12  # px around the landmarks of a region
PARTS = ("brow", "mouth")
FAR = 8.0  # px of the head in the aligned picture, from which on the face is aligned anew


@dataclass
class PairCurve:
    """Motion between pairs of frames over an unbroken piece of a face's track.

    Attributes:
        person, piece: see `mefusion.faces.tracking.Face`.
        matrix: [2, 3] from the picture to the aligned one.
        halves: distances in time between the frames of a pair, s.
        times: by distance, of the moments in the middle of pairs, s.
        values: by distance, the mean motion in each of `PARTS`, [2], % of the inter-ocular distance.
    """

    person: int
    piece: int
    matrix: np.ndarray
    halves: Sequence[float] = HALVES
    times: list[list[float]] = field(default_factory=lambda: [[] for _ in HALVES])
    values: list[list[np.ndarray]] = field(default_factory=lambda: [[] for _ in HALVES])
    _before: deque[tuple[float, np.ndarray, np.ndarray]] = field(default_factory=deque)
    _flow: Any = field(default_factory=lambda: cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM))  # type: ignore[attr-defined]

    @classmethod
    def begun(cls, frame: Frame, face: Face, *, halves: Sequence[float] = HALVES) -> "PairCurve":
        """A curve that begins with a face in a frame."""
        curve = cls(face.person, face.piece, alignment_matrix(face.landmarks, size=SIZE), halves)
        curve.add(frame, face)
        return curve

    def add(self, frame: Frame, face: Face) -> None:
        """Measure the face in the next frame."""
        if self._before and frame.time - self._before[-1][0] > LONGEST_GAP:
            self._before.clear()
        points = transform(face.landmarks, self.matrix)
        if self._before and np.abs(points[NOSE] - self._before[0][2][NOSE]).max() > FAR:
            self._align_anew(face.landmarks)
            points = transform(face.landmarks, self.matrix)
        now = warp(frame.grey, self.matrix, size=SIZE)
        for number, half in enumerate(self.halves):
            pair = self._at(frame.time - half)
            if pair is not None:
                time, earlier, landmarks = pair
                self.times[number].append((time + frame.time) / 2)
                self.values[number].append(motion_of_parts(self._flow.calc(earlier, now, None), landmarks))
        self._before.append((frame.time, now, points))
        while frame.time - self._before[0][0] > 1.5 * max(self.halves):
            self._before.popleft()

    def pieces(self, rate: float) -> list[tuple[int, np.ndarray]]:
        """The curve at equal distances in time, without its longer gaps.

        Returns:
            For each unbroken piece the number of its first moment, where moment m is at m / rate s; and values
            [n, distances, parts]. Towards the ends, where only one of a pair is in the piece, they are the nearest.
        """
        found = []
        for first, short in at_equal_distances(self.times[0], self.values[0], rate):
            moments = (first + np.arange(len(short))) / rate
            times, values = np.array(self.times[1]), np.array(self.values[1]).reshape(-1, len(PARTS))
            inside = (times >= moments[0]) & (times <= moments[-1])
            long = np.zeros_like(short)
            if inside.any():
                long = np.stack([np.interp(moments, times[inside], column[inside]) for column in values.T], axis=1)
            found.append((first, np.stack([short, long], axis=1)))
        return found

    def _at(self, time: float) -> tuple[float, np.ndarray, np.ndarray] | None:
        """The earlier frame that is nearest to a time; None if the curve begins after it."""
        if not self._before or self._before[0][0] > time + LONGEST_GAP / 4:
            return None
        return min(self._before, key=lambda before: abs(before[0] - time))

    def _align_anew(self, landmarks: np.ndarray) -> None:
        """Align by other landmarks, and move the pictures that are kept to there."""
        matrix = alignment_matrix(landmarks, size=SIZE)
        rows = np.array([(0, 0, 1)])
        change = (np.vstack([matrix, rows]) @ np.linalg.inv(np.vstack([self.matrix, rows])))[:2]
        self._before = deque(
            (time, warp(picture, change, size=SIZE), transform(points, change))
            for time, picture, points in self._before
        )
        self.matrix = matrix


def motion_of_parts(flow: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Mean motion around the brows and around the mouth, without the head's and without the eyes.

    Args:
        flow: [SIZE, SIZE, 2] px.
        landmarks: [68, 2] px of the aligned face.

    Returns:
        [PARTS], % of the inter-ocular distance.
    """
    left, right = eye_centres(landmarks)
    x, y = landmarks[:, 0], landmarks[:, 1]
    nose = flow[_box(x[NOSE], y[NOSE], x[NOSE], y[NOSE], NOSE_SIDE // 2)]
    length = np.linalg.norm(flow - (nose.mean(axis=(0, 1)) if nose.size else 0), axis=-1)
    length[_eyes(landmarks)] = 0
    boxes = (
        _box(x[17], min(y[19], y[24]), x[26], max(y[41], y[46]), MARGIN),
        _box(x[60], y[50], x[64], y[57], MARGIN),
    )
    means = [float(length[box].mean()) if length[box].size else 0.0 for box in boxes]
    return 100 * np.array(means) / max(float(np.linalg.norm(right - left)), 1.0)


def intervals_of_scores(
    values: np.ndarray, start: float, thresholds: np.ndarray, rate: float, *, halves: Sequence[float] = HALVES
) -> tuple[np.ndarray, list[Interval]]:
    """Intervals around the peaks of the scores; of two that overlap, the one with the higher score.

    Args:
        values: [n, distances, parts], see `PairCurve.pieces`.
        start: time of the first value, s.
        thresholds: [distances], see `thresholds_of_scores`.
        rate: values in a second.
        halves: see `PairCurve`.

    Returns:
        The score [n], the higher of both distances by their thresholds; and the intervals in the order of time.
    """
    scores = scores_of(values, rate, halves=halves) / thresholds
    found = []
    for number, half in enumerate(halves):
        steps = max(round(half * rate), 1)
        for peak in find_peaks(scores[:, number], height=1, distance=steps)[0]:
            part = int(values[peak, number].argmax())
            found.append(
                Interval(
                    onset=start + max(int(peak) - steps, 0) / rate,
                    apex=start + int(peak) / rate,
                    offset=start + min(int(peak) + steps, len(values) - 1) / rate,
                    regions=(PARTS[part],),
                    strength=float(values[peak, number, part]),
                    score=float(scores[peak, number]),
                )
            )
    kept: list[Interval] = []
    for interval in sorted(found, key=lambda each: -each.score):
        if all(overlap(interval, other) <= MERGE for other in kept):
            kept.append(interval)
    return scores.max(axis=1), sorted(kept, key=lambda interval: interval.onset)


def scores_of(values: np.ndarray, rate: float, *, halves: Sequence[float] = HALVES) -> np.ndarray:
    """Scores [n, distances]: the mean of the parts, and over twice the distance in time."""
    steps = [2 * max(round(half * rate), 1) + 1 for half in halves]
    means = values.mean(axis=2)
    return np.stack([uniform_filter1d(means[:, n], size, mode="nearest") for n, size in enumerate(steps)], axis=1)


def thresholds_of_scores(scores: np.ndarray, peak: float) -> np.ndarray:
    """Thresholds [distances] of scores [n, distances]: mean + peak (maximum - mean)."""
    mean = scores.mean(axis=0)
    return np.maximum(mean + peak * (scores.max(axis=0) - mean), 1e-9)


def _box(left: float, top: float, right: float, bottom: float, margin: int) -> tuple[slice, slice]:
    """Rows and columns of a box that is grown by a margin, inside the picture."""
    first = np.clip(np.rint([top - margin, left - margin]).astype(int), 0, SIZE)
    last = np.clip(np.rint([bottom + margin, right + margin]).astype(int) + 1, 0, SIZE)
    return slice(first[0], last[0]), slice(first[1], last[1])


def _eyes(landmarks: np.ndarray) -> np.ndarray:
    """Which pixels [SIZE, SIZE] lie in the eyes or close to them."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for eye in EYES:
        cv2.fillPoly(mask, [np.rint(landmarks[eye]).astype(np.int32)], 1)
    side = 2 * EYE_MARGIN + 1
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))).astype(bool)
