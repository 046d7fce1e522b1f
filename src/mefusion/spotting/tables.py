"""From what was measured in a segment to rows of the frames table and intervals of motion."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mefusion.spotting.apex_score import HALVES, PARTS, intervals_of_scores, scores_of, thresholds_of_scores
from mefusion.spotting.events import (
    SHORTEST_PIECE,
    Interval,
    displacement_from_rest,
    intervals_of,
    mark_speech,
    noise_of,
    smooth,
    thresholds_of,
)
from mefusion.spotting.eyes import blinks, speech_spans
from mefusion.spotting.measuring import Segment
from mefusion.spotting.motion import OWNERS, REGIONS
from mefusion.spotting.settings import Method, SpottingSettings

BOX = ("left", "top", "right", "bottom")
LANDMARKS = (*(f"x_{n}" for n in range(68)), *(f"y_{n}" for n in range(68)))
MOTION = tuple(f"motion_{region}" for region in REGIONS)
PLACES = (*BOX, *LANDMARKS, "eye_aspect", "mouth_opening")
FRAME_COLUMNS = {
    "frame": "int64",
    "time": "float64",
    "track": "Int32",
    **dict.fromkeys((*BOX, *LANDMARKS), "float32"),
    "eye_aspect": "float32",
    "mouth_opening": "float32",
    "blink": "bool",
    **dict.fromkeys(MOTION, "float32"),
    "score": "float32",
}
"""Columns of `frames.parquet` with their types: a row for each frame and face, and one for a frame without a face."""

BROWS = [number for number, owner in enumerate(OWNERS) if [*REGIONS][owner].startswith("brow")]
"""Patches of the brows."""

LOWER_LIP = int(np.flatnonzero([*REGIONS].index("mouth_lower") == OWNERS)[0])
"""Patch of the lower lip."""


@dataclass
class Motion:
    """Motion of one person in a segment, at equal distances in time.

    Attributes:
        first: number of the first moment.
        displacement: [n, regions] from rest, % of the inter-ocular distance; NaN if not measured.
        score: [n], largest displacement by its threshold; NaN if not measured.
        thresholds: [regions], at which the score is 1, % of the inter-ocular distance.
        intervals: of its regions, not yet joined.
    """

    first: int
    displacement: np.ndarray
    score: np.ndarray
    thresholds: np.ndarray
    intervals: list[Interval] = field(default_factory=list)


def frame_rows(
    segment: Segment, motions: dict[int, Motion], settings: SpottingSettings, *, begin: float, end: float
) -> pd.DataFrame:
    """Rows of the frames table, with `FRAME_COLUMNS`.

    Args:
        segment: what was measured.
        motions: of each person.
        settings: of spotting.
        begin, end: the frames from `begin` to before `end` get rows, s.
    """
    numbers = np.array([number for number, _ in segment.frames])
    times = np.array([time for _, time in segment.frames])
    own = (times >= begin) & (times < end)
    parts, seen = [], np.zeros(len(times), bool)
    for person, rows in _by_person(segment).items():
        where, values = _spread(rows, np.array(segment.measured))
        seen[where] = True
        keep = own[where]
        where, values = where[keep], values[keep]
        table = pd.DataFrame(values, columns=[*PLACES]).assign(frame=numbers[where], time=times[where], track=person)
        table["blink"] = _at(times[where], _blinks(rows, times, settings), settings.rate) > 0.5
        motion = motions.get(person)
        for number, name in enumerate(MOTION):
            values_of = None if motion is None else (motion.first, motion.displacement[:, number])
            table[name] = _at(times[where], values_of, settings.rate)
        table["score"] = _at(times[where], None if motion is None else (motion.first, motion.score), settings.rate)
        parts.append(table)
    empty = own & ~seen
    parts.append(pd.DataFrame({"frame": numbers[empty], "time": times[empty], "blink": False}))
    joined = pd.concat([part for part in parts if len(part)] or parts).reindex(columns=[*FRAME_COLUMNS])
    joined["blink"] = joined["blink"].astype(bool)
    return joined.astype(FRAME_COLUMNS).sort_values(["frame", "track"], ignore_index=True)


def motions_of(segment: Segment, settings: SpottingSettings) -> dict[int, Motion]:
    """Search each person's curves for intervals of motion, and mark those that are speech."""
    times = np.array([time for _, time in segment.frames])
    rows = _by_person(segment)
    pieces: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    for curve in segment.curves:
        shortest = SHORTEST_PIECE * settings.rate
        pieces[curve.person] += [piece for piece in curve.pieces(settings.rate) if len(piece[1]) >= shortest]
    found = {}
    for person, curves in pieces.items():
        if not curves:
            continue
        spans = _speech(rows[person], times, settings)
        if settings.method == Method.apex_score:
            motion = _scored(curves, settings)
        else:
            spans += _lip_speech(curves, settings)
            blinking = _blinks(rows[person], times, settings)
            motion = _displaced([(first, _without_blinks(v, first, blinking)) for first, v in curves], settings)
        motion.intervals = mark_speech(motion.intervals, spans)
        found[person] = motion
    return found


def _displaced(pieces: Sequence[tuple[int, np.ndarray]], settings: SpottingSettings) -> Motion:
    """Motion by the displacement of regions; pieces have values [n, patches, 2]."""
    smoothed = [smooth(values, settings) for _, values in pieces]
    noise = np.median([noise_of(values, soft) for (_, values), soft in zip(pieces, smoothed, strict=True)], axis=0)
    motion = _still(pieces, thresholds_of(noise, settings))
    for (first, _), soft in zip(pieces, smoothed, strict=True):
        place = slice(first - motion.first, first - motion.first + len(soft))
        away = displacement_from_rest(soft, settings.rate, begins=first == 0)
        motion.displacement[place] = away
        motion.score[place] = (away / motion.thresholds).max(axis=1)
        motion.intervals += intervals_of(away, first / settings.rate, motion.thresholds, settings)
    return motion


def _scored(pieces: Sequence[tuple[int, np.ndarray]], settings: SpottingSettings) -> Motion:
    """Motion by the score of pairs of frames; pieces have values [n, distances, parts].

    What is shown for the regions is the mean motion around the brows or the mouth between frames of a pair.
    """
    halves = settings.k or HALVES
    scores = np.concatenate([scores_of(values, settings.rate, halves=halves) for _, values in pieces])
    thresholds = thresholds_of_scores(scores, settings.peak)
    motion = _still(pieces, np.full(len(REGIONS), thresholds[0]))
    for first, values in pieces:
        place = slice(first - motion.first, first - motion.first + len(values))
        for number, region in enumerate(REGIONS):
            if (part := region.partition("_")[0]) in PARTS:
                motion.displacement[place, number] = values[:, 0, PARTS.index(part)]
        score, intervals = intervals_of_scores(values, first / settings.rate, thresholds, settings.rate, halves=halves)
        motion.score[place] = score
        motion.intervals += intervals
    return motion


def _still(pieces: Sequence[tuple[int, np.ndarray]], thresholds: np.ndarray) -> Motion:
    """Nothing measured yet in the time of all pieces."""
    start = min(first for first, _ in pieces)
    length = max(first + len(values) for first, values in pieces) - start
    return Motion(start, np.full((length, len(REGIONS)), np.nan), np.full(length, np.nan), thresholds)


def _by_person(segment: Segment) -> dict[int, np.ndarray]:
    """For each person the rows [n, 1 + places]: index of the frame, and what `PLACES` names."""
    if not segment.faces:
        return {}
    faces = np.stack(segment.faces)
    return {int(person): np.delete(faces[faces[:, 1] == person], 1, axis=1) for person in np.unique(faces[:, 1])}


def _spread(rows: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate a person's rows to the frames between two measured ones that both show the person.

    Args:
        rows: see `_by_person`.
        measured: indices of the measured frames.

    Returns:
        Indices of frames [m], and the values there [m, places].
    """
    index = rows[:, 0].astype(int)
    breaks = np.flatnonzero(np.diff(np.searchsorted(measured, index)) > 1) + 1
    groups = np.split(index, breaks)
    where = np.concatenate([np.arange(group[0], group[-1] + 1) for group in groups])
    values = np.stack([np.interp(where, index, column) for column in rows[:, 1:].T], axis=1)
    return where, values


def _blinks(rows: np.ndarray, times: np.ndarray, settings: SpottingSettings) -> tuple[int, np.ndarray]:
    """Number of the first moment, and whether each moment from it on belongs to a person's blink (0 or 1)."""
    first, aspect = _place(rows, times, settings, "eye_aspect")
    return first, blinks(aspect, settings.rate).astype(float)


def _speech(rows: np.ndarray, times: np.ndarray, settings: SpottingSettings) -> list[tuple[float, float]]:
    """From when to when a person speaks by the landmarks, s."""
    first, opening = _place(rows, times, settings, "mouth_opening")
    start = first / settings.rate
    return [(start + begin, start + end) for begin, end in speech_spans(opening, settings.rate)]


def _lip_speech(pieces: Sequence[tuple[int, np.ndarray]], settings: SpottingSettings) -> list[tuple[float, float]]:
    """From when to when a person speaks by the displacement [n, patches, 2] of the lower lip, s.

    It shows smaller openings than the landmarks do.
    """
    spans = []
    for first, values in pieces:
        found = speech_spans(values[:, LOWER_LIP, 1], settings.rate)
        spans += [(first / settings.rate + begin, first / settings.rate + end) for begin, end in found]
    return spans


def _place(rows: np.ndarray, times: np.ndarray, settings: SpottingSettings, name: str) -> tuple[int, np.ndarray]:
    """Number of the first moment, and one of `PLACES` at each moment from it on, for a person's rows."""
    at = times[rows[:, 0].astype(int)]
    first, last = int(at[0] * settings.rate), int(np.ceil(at[-1] * settings.rate))
    moments = np.arange(first, last + 1) / settings.rate
    return first, np.interp(moments, at, rows[:, 1 + PLACES.index(name)])


def _without_blinks(values: np.ndarray, first: int, blinking: tuple[int, np.ndarray]) -> np.ndarray:
    """Replace the displacement [n, patches, 2] of the brows during blinks by a straight line."""
    moments = np.arange(first, first + len(values))
    closed = np.interp(moments, blinking[0] + np.arange(len(blinking[1])), blinking[1]) > 0.5
    if not closed.any() or closed.all():
        return values
    values = values.copy()
    for patch in BROWS:
        for axis in (0, 1):
            values[closed, patch, axis] = np.interp(moments[closed], moments[~closed], values[~closed, patch, axis])
    return values


def _at(times: np.ndarray, values: tuple[int, np.ndarray] | None, rate: float) -> np.ndarray:
    """Values at equal distances in time, of which the first moment's number is given, at other times; NaN outside."""
    if values is None:
        return np.full(len(times), np.nan)
    first, series = values
    return np.interp(times, (first + np.arange(len(series))) / rate, series, left=np.nan, right=np.nan)
