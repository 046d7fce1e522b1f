"""Find events in the curves of regional displacement (method `displacement`, after the winner of MEGC 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, minimum_filter1d
from scipy.signal import butter, sosfiltfilt

from mefusion.spotting.motion import REGIONS
from mefusion.spotting.settings import SpottingSettings

GAP = 0.1  # s; shorter gaps between moments of motion are closed
AROUND = 1.0  # s before and after, with whose minimum a displacement is compared
EXTEND_TO = 0.33  # of the peak; an event reaches to both sides until its displacement is below
RISE_AGAIN = 0.05  # of the peak; a side also ends where the displacement rises again by more than this
MERGE = 0.34  # overlap, by the shorter interval, above which two are one event
SHORTEST_PIECE = 0.5  # s; shorter pieces of a curve are not searched


@dataclass(frozen=True)
class Interval:
    """Motion of regions of one face.

    Attributes:
        onset, apex, offset: s.
        regions: names.
        strength: displacement at the apex, % of the inter-ocular distance.
        score: displacement by its threshold, 1 and more.
    """

    onset: float
    apex: float
    offset: float
    regions: tuple[str, ...]
    strength: float
    score: float

    @property
    def duration(self) -> float:
        """s."""
        return self.offset - self.onset


def smooth(curve: np.ndarray, settings: SpottingSettings) -> np.ndarray:
    """Low-pass a curve [n, ...] at equal distances in time, without shifting it in time."""
    sections = butter(2, settings.low_pass, fs=settings.rate, output="sos")
    length = min(len(curve) - 1, round(settings.rate))
    return sosfiltfilt(sections, curve, axis=0, padlen=length)


def rises(curve: np.ndarray, settings: SpottingSettings) -> np.ndarray:
    """How far smooth curves [n, regions] are above their minimum of the second before and after."""
    size = 2 * round(AROUND * settings.rate) + 1
    return curve - minimum_filter1d(curve, size, axis=0, mode="nearest")


def noise_of(curve: np.ndarray, smoothed: np.ndarray) -> np.ndarray:
    """Noise [regions] of curves [n, regions]: robust standard deviation of what smoothing takes away."""
    return 1.4826 * np.median(np.abs(curve - smoothed), axis=0)


def thresholds_of(noise: np.ndarray, settings: SpottingSettings) -> np.ndarray:
    """Threshold [regions] of the rises, for a noise [regions]; both % of the inter-ocular distance."""
    own = np.array([settings.thresholds.of(region) for region in REGIONS])
    return np.maximum(own, settings.thresholds.noise * noise)


def intervals_of(curve: np.ndarray, start: float, thresholds: np.ndarray, settings: SpottingSettings) -> list[Interval]:
    """Intervals of motion in each region of a smooth curve [n, regions] without gaps, from `start` s on."""
    above = curve - curve.min(axis=0)
    rise = rises(above, settings)
    keep = settings.thresholds.keep * np.maximum(
        thresholds / np.array([settings.thresholds.of(region) for region in REGIONS]), 1
    )
    found = []
    for number, region in enumerate(REGIONS):
        moving = _closed(above[:, number] >= keep[number], round(GAP * settings.rate))
        for first, last in _runs(moving & (rise[:, number] >= thresholds[number])):
            peak = first + int(above[first : last + 1, number].argmax())
            low, high = _extended(above[:, number], peak, first, last)
            found.append(
                Interval(
                    onset=start + low / settings.rate,
                    apex=start + peak / settings.rate,
                    offset=start + high / settings.rate,
                    regions=(region,),
                    strength=float(above[peak, number]),
                    score=float(rise[peak, number] / thresholds[number]),
                )
            )
    return found


def merge(intervals: Sequence[Interval]) -> list[Interval]:
    """Join intervals of one face that overlap by more than `MERGE` of the shorter one, in the order of time."""
    joined = sorted(intervals, key=lambda interval: (interval.onset, interval.offset))
    for _ in range(2):
        before, joined = joined, []
        for interval in before:
            partner = next((other for other in reversed(joined) if _overlap(other, interval) > MERGE), None)
            if partner is None:
                joined.append(interval)
            else:
                joined[joined.index(partner)] = _union(partner, interval)
    return joined


def _union(one: Interval, other: Interval) -> Interval:
    stronger = max(one, other, key=lambda interval: interval.score)
    names = {*one.regions, *other.regions}
    return Interval(
        onset=min(one.onset, other.onset),
        apex=stronger.apex,
        offset=max(one.offset, other.offset),
        regions=tuple(region for region in REGIONS if region in names),
        strength=max(one.strength, other.strength),
        score=stronger.score,
    )


def _overlap(one: Interval, other: Interval) -> float:
    shared = min(one.offset, other.offset) - max(one.onset, other.onset)
    return shared / max(min(one.duration, other.duration), 1e-9)


def _closed(moving: np.ndarray, gap: int) -> np.ndarray:
    """Close gaps of fewer than `gap` values between runs."""
    if gap < 2:
        return moving
    return binary_closing(np.pad(moving, gap), np.ones(gap))[gap:-gap] | moving


def _runs(chosen: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _extended(curve: np.ndarray, peak: int, first: int, last: int) -> tuple[int, int]:
    """Extend a run to both sides, down to a share of its peak or to where the curve rises again."""
    high = len(curve) - 1 - _reach(curve[::-1], len(curve) - 1 - peak, len(curve) - 1 - last)
    return _reach(curve, peak, first), high


def _reach(curve: np.ndarray, peak: int, edge: int) -> int:
    """How far to the left of a run's `edge` its motion reaches."""
    lowest = curve[edge]
    place = edge
    while place > 0 and curve[place] > EXTEND_TO * curve[peak]:
        if curve[place - 1] > lowest + RISE_AGAIN * curve[peak]:
            break
        place -= 1
        lowest = min(lowest, curve[place])
    return place
