"""Find events in the curves of regional displacement (method `displacement`, after the winner of MEGC 2022)."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_closing, median_filter
from scipy.signal import butter, sosfiltfilt

from mefusion.spotting.motion import OWNERS, REGIONS
from mefusion.spotting.settings import SpottingSettings

GAP = 0.1  # s; shorter gaps between moments of motion are closed
AROUND = 5.0  # s before and after, whose median is the face at rest
BEGINNING = 0.2  # s of a short recording, whose median is the face at rest
RISE_AGAIN = 0.1  # of the peak; a side also ends where the displacement rises again by more than this
MERGE = 0.34  # overlap, by the shorter interval, above which two are one event
SHORTEST_PIECE = 0.5  # s; shorter pieces of a curve are not searched
SPOKEN = 0.5  # share of a motion that has to lie in a stretch of speech


@dataclass(frozen=True)
class Interval:
    """Motion of regions of one face.

    Attributes:
        onset, apex, offset: s.
        regions: names.
        strength: displacement at the apex, % of the inter-ocular distance.
        score: displacement by its threshold, 1 and more.
        speech: whether it is a stretch of speech.
    """

    onset: float
    apex: float
    offset: float
    regions: tuple[str, ...]
    strength: float
    score: float
    speech: bool = False

    @property
    def duration(self) -> float:
        """s."""
        return self.offset - self.onset


def smooth(curve: np.ndarray, settings: SpottingSettings) -> np.ndarray:
    """Low-pass a curve [n, ...] at equal distances in time, without shifting it in time."""
    sections = butter(2, settings.low_pass, fs=settings.rate, output="sos")
    return sosfiltfilt(sections, curve, axis=0, padlen=min(len(curve) - 1, round(settings.rate)))


def displacement_from_rest(curve: np.ndarray, rate: float, *, begins: bool = False) -> np.ndarray:
    """How far each region is from its place at rest, which is the median of the seconds around.

    A recording of less than `AROUND` may show an expression for longer than the face at rest: rest is then how it
    begins, as in the published method.

    Args:
        curve: [n, patches, 2] smooth, % of the inter-ocular distance.
        rate: values in a second.
        begins: whether the recording begins with the curve.

    Returns:
        [n, regions], the means over a region's patches.
    """
    if begins and len(curve) < AROUND * rate:
        rest = np.median(curve[: max(round(BEGINNING * rate), 1)], axis=0)
    else:
        rest = median_filter(curve, (2 * round(AROUND * rate) + 1, 1, 1), mode="reflect")
    return by_region(np.linalg.norm(curve - rest, axis=-1))


def by_region(values: np.ndarray) -> np.ndarray:
    """Mean [n, regions] of values [n, patches]."""
    return np.stack([values[:, number == OWNERS].mean(axis=1) for number in range(len(REGIONS))], axis=1)


def noise_of(curve: np.ndarray, smoothed: np.ndarray) -> np.ndarray:
    """Noise [regions] of curves [n, patches, 2]: robust standard deviation of what smoothing takes away."""
    return by_region(1.4826 * np.median(np.abs(curve - smoothed), axis=(0, 2))[None])[0]


def thresholds_of(noise: np.ndarray, settings: SpottingSettings) -> np.ndarray:
    """Threshold [regions] of the displacements, for a noise [regions]; both % of the inter-ocular distance."""
    own = np.array([settings.thresholds.of(region) for region in REGIONS])
    return np.maximum(own, settings.thresholds.noise * noise)


def intervals_of(
    displacement: np.ndarray, start: float, thresholds: np.ndarray, settings: SpottingSettings
) -> list[Interval]:
    """Intervals of motion in each region.

    Args:
        displacement: [n, regions] from rest, % of the inter-ocular distance.
        start: time of its first value, s.
        thresholds: [regions].
        settings: of spotting.
    """
    found = []
    for number, region in enumerate(REGIONS):
        curve, threshold = displacement[:, number], thresholds[number]
        keep = settings.thresholds.keep * threshold / settings.thresholds.of(region)
        for first, last in _runs(_closed(curve >= keep, round(GAP * settings.rate))):
            peak = first + int(curve[first : last + 1].argmax())
            if curve[peak] < threshold:
                continue
            low, high = _extent(curve, peak, settings.extend)
            found.append(
                Interval(
                    onset=start + low / settings.rate,
                    apex=start + peak / settings.rate,
                    offset=start + high / settings.rate,
                    regions=(region,),
                    strength=float(curve[peak]),
                    score=float(curve[peak] / threshold),
                )
            )
    return found


def mark_speech(intervals: Sequence[Interval], spans: Sequence[tuple[float, float]]) -> list[Interval]:
    """Join what the mouth and the nose do within a stretch of speech to one interval, the stretch, which is marked.

    A motion of which half or less lies in it, and one of the brows, are not speech.

    Args:
        intervals: of single regions.
        spans: begin and end of each stretch, s.
    """
    others, spoken = list(intervals), []
    for begin, end in spans:
        own = [each for each in others if _is_speech(each, begin, end)]
        others = [each for each in others if each not in own]
        if own:
            joined = functools.reduce(_union, own)
            onset, offset = min(joined.onset, max(begin, 0)), max(joined.offset, end)
            spoken.append(replace(joined, onset=onset, offset=offset, speech=True))
    return others + spoken


def _is_speech(interval: Interval, begin: float, end: float) -> bool:
    inside = min(interval.offset, end) - max(interval.onset, begin)
    return inside > SPOKEN * interval.duration and not any(name.startswith("brow") for name in interval.regions)


def merge(intervals: Sequence[Interval]) -> list[Interval]:
    """Join intervals of one face that overlap by more than `MERGE` of the shorter one, in the order of time.

    Speech is joined with speech only.
    """
    joined = sorted(intervals, key=lambda interval: (interval.onset, interval.offset))
    for _ in range(2):
        before, joined = joined, []
        for interval in before:
            partner = next(
                (
                    other
                    for other in reversed(joined)
                    if other.speech == interval.speech and overlap(other, interval) > MERGE
                ),
                None,
            )
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
        speech=one.speech and other.speech,
    )


def overlap(one: Interval, other: Interval) -> float:
    """Time that both have, as a share of the shorter one; negative if they are apart."""
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


def _extent(curve: np.ndarray, peak: int, share: float) -> tuple[int, int]:
    """First and last index of a peak: where the curve is down to a share of it, or rises again."""
    return peak - _reach(curve[peak::-1], share), peak + _reach(curve[peak:], share)


def _reach(curve: np.ndarray, share: float) -> int:
    """How far a curve that begins at its peak falls: to a share of the peak, or to where it rises again."""
    lowest = np.minimum.accumulate(curve)
    ended = (curve <= share * curve[0]) | (curve > lowest + RISE_AGAIN * curve[0])
    return int(curve[: int(ended.argmax()) + 1].argmin()) if ended.any() else len(curve) - 1
