"""Segments: stretches of speech of one person."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mefusion.annotation.extraction.settings import SegmentSettings

Span = tuple[float, float]  # start and end, s


@dataclass(frozen=True)
class Segment:
    """A stretch of speech of one person.

    Attributes:
        name: `<video>-<number>`, unique in the run.
        video: name of the video's folder below `videos/`.
        path: of the video.
        start, end: s, on the video's clock.
        track: number of the speaker's face track.
        subject: identity of the speaker.
        transcript: what is said, empty if unknown.
        articulation, sync: scores of the speaker, see `mefusion.annotation.extraction.speaker`.
    """

    name: str
    video: str
    path: Path
    start: float
    end: float
    track: int
    subject: str
    transcript: str = ""
    articulation: float = float("nan")
    sync: float = float("nan")


def cut_segments(speech: Sequence[Span], cuts: Sequence[float], end: float, settings: SegmentSettings) -> list[Span]:
    """Speech within one scene, joined across short gaps, in pieces of allowed length.

    Args:
        speech: stretches of speech in the order of time.
        cuts: times of the first frames of the second and later scenes, s.
        end: of the picture, s.
        settings: of segments.

    Returns:
        Segments of at least the shortest and at most the longest length.
    """
    edges = [0.0, *cuts, end]
    found: list[Span] = []
    for first, last in itertools.pairwise(edges):
        inside = [(max(a, first), min(b, last)) for a, b in speech if a < last and b > first]
        found += _joined(inside, settings)
    return [(a, b) for a, b in found if b - a >= settings.shortest - 1e-6]


def _joined(speech: Sequence[Span], settings: SegmentSettings) -> list[Span]:
    """Join stretches across short gaps, as long as they do not become too long together; halve what is too long."""
    joined: list[Span] = []
    for start, end in speech:
        before = joined[-1] if joined else None
        if before and start - before[1] < settings.gap and end - before[0] <= settings.longest:
            joined[-1] = (before[0], end)
        else:
            joined.append((start, end))
    return [piece for span in joined for piece in _divided(span, settings.longest)]


def _divided(span: Span, longest: float) -> list[Span]:
    count = int(np.ceil((span[1] - span[0]) / longest - 1e-9))
    edges = np.linspace(*span, max(count, 1) + 1).tolist()
    return [*itertools.pairwise(edges)]
