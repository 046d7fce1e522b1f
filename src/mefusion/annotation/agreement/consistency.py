"""How far runs of one model agree: test and retest. That is not accuracy, nor agreement between people."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.labelling.answers import NOTICE, Status
from mefusion.annotation.labelling.table import Judgement, dominant, read_judgements
from mefusion.common.errors import MefusionError
from mefusion.common.files import write_text
from mefusion.evaluation.bootstrap import resample_counts

FILE = "consistency.json"
RESAMPLES = 2000
LEVEL = 0.95
MEANING = (
    "Test and retest of one model: how far its runs agree with each other. It is not accuracy, and it cannot be "
    "compared with agreement between people, who judge independently of each other. " + NOTICE.capitalize() + "."
)

Score = Callable[[np.ndarray], np.ndarray]


def fleiss_kappa(counts: np.ndarray) -> float | None:
    """Fleiss' kappa (Fleiss 1971).

    Args:
        counts: [items, categories], number of raters that chose the category.

    Returns:
        1 for perfect agreement, 0 for that of chance; None where it is undefined: without items, or if all raters
        chose one category for all items.

    Raises:
        MefusionError: items have unequal numbers of raters, or fewer than two.
    """
    return _number(_kappa(_kappa_sums(counts).sum(axis=0)))


def krippendorff_alpha(values: np.ndarray) -> float | None:
    """Krippendorff's alpha of numbers, with the metric of intervals.

    Args:
        values: [items, raters]; NaN where a rater did not judge.

    Returns:
        1 for perfect agreement, 0 for that of chance; None where it is undefined: no item has two values, or all
        values are equal.
    """
    return _number(_alpha(_alpha_sums(values).sum(axis=0)))


def kappa_interval(counts: np.ndarray, videos: Sequence[str]) -> list[float] | None:
    """Interval of `fleiss_kappa`, see `_interval`."""
    return _interval(_kappa_sums(counts), videos, _kappa)


def alpha_interval(values: np.ndarray, videos: Sequence[str]) -> list[float] | None:
    """Interval of `krippendorff_alpha`, see `_interval`."""
    return _interval(_alpha_sums(values), videos, _alpha)


def _kappa_sums(counts: np.ndarray) -> np.ndarray:
    """What kappa needs of each item: 1, the share of its pairs of raters that agree, and its counts."""
    counts = np.asarray(counts, float)
    if not len(counts):
        return np.zeros((0, 2 + counts.shape[1]))
    raters = counts.sum(axis=1)
    if (raters != raters[0]).any() or raters[0] < 2:
        raise MefusionError(
            f"Fleiss' kappa needs as many raters for each item, two or more; here they are {raters.min():.0f} to "
            f"{raters.max():.0f}: leave out items that lack one"
        )
    agreeing = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
    return np.column_stack([np.ones(len(counts)), agreeing, counts])


def _kappa(sums: np.ndarray) -> np.ndarray:
    """Kappa of sums [..., 2 + categories]; NaN where it is undefined."""
    counts = sums[..., 2:]
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = sums[..., 1] / sums[..., 0]
        expected = ((counts / counts.sum(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
        return np.where(expected > 1 - 1e-9, np.nan, (observed - expected) / (1 - expected))


def _alpha_sums(values: np.ndarray) -> np.ndarray:
    """What alpha needs of each item: number of its values, their spread, their sum, and that of their squares."""
    values = np.asarray(values, float)
    counts = np.isfinite(values).sum(axis=1)
    known = np.nan_to_num(values)
    total, squares = known.sum(axis=1), (known**2).sum(axis=1)
    spread = (counts * squares - total**2) / np.maximum(counts - 1, 1)
    return np.column_stack([counts, spread, total, squares]) * (counts > 1)[:, None]


def _alpha(sums: np.ndarray) -> np.ndarray:
    """Alpha of sums [..., 4]; NaN where it is undefined."""
    count, within, total, squares = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (squares - total**2 / count) / (count - 1)
        return np.where(spread > 1e-9, 1 - within / count / spread, np.nan)


def _interval(items: np.ndarray, videos: Sequence[str], score: Score) -> list[float] | None:
    """Interval of a score by bootstrap of the videos, since segments of one video are alike.

    Args:
        items: [items, ...], what is summed.
        videos: of each item.
        score: of sums.

    Returns:
        Percentiles 2.5 and 97.5 over the resamples where it is defined; None for fewer than two videos, or if it is
        undefined in more than half of the resamples.
    """
    names = [*dict.fromkeys(videos)]
    if len(names) < 2:
        return None
    sums = np.stack([items[np.asarray(videos) == name].sum(axis=0) for name in names])
    scores = score(resample_counts(["all"] * len(names), RESAMPLES) @ sums)
    defined = scores[np.isfinite(scores)]
    if len(defined) < RESAMPLES / 2:
        return None
    return [float(edge) for edge in np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]


def _number(value: np.ndarray) -> float | None:
    return float(value) if np.isfinite(value) else None


def measure_consistency(
    judgements: Sequence[Judgement], videos: dict[str, str], labels: Sequence[str], runs: int
) -> dict[str, Any]:
    """Kappa of the dominant emotion, where `unusable` is a category too, and alpha of each label's intensity.

    Args:
        judgements: of all runs.
        videos: of each segment.
        labels: of the vocabulary.
        runs: number of them; a segment that lacks one is left out.
    """
    whole = _with_all_runs(judgements, runs)
    counts, values = _ratings([*whole.values()], labels, runs)
    of = [videos.get(name, name) for name in whole]
    found: dict[str, Any] = {
        "meaning": MEANING,
        "runs": runs,
        "segments": len(whole),
        "left_out": len({each.segment for each in judgements}) - len(whole),
        "videos": len({*of}),
        "kappa": None,
        "kappa_interval": None,
        "agreement": None,
        "alpha": {},
    }
    if runs < 2 or not len(whole):
        return found | {"why_no_kappa": "one run has nothing to agree with" if runs < 2 else "no segment has all runs"}
    found["agreement"] = float(((counts**2).sum(axis=1) - runs).mean() / (runs * (runs - 1)))
    found["kappa"] = fleiss_kappa(counts)
    if found["kappa"] is None:
        return found | {"why_no_kappa": "all runs chose one label for all segments: chance alone gives that too"}
    found["kappa_interval"] = kappa_interval(counts, of)
    for number, label in enumerate(labels):
        alpha = krippendorff_alpha(values[:, :, number])
        if alpha is not None:
            found["alpha"][label] = {
                "alpha": alpha,
                "interval": alpha_interval(values[:, :, number], of),
                "named": int((values[:, :, number] > 0).any(axis=1).sum()),
            }
    return found


def _with_all_runs(judgements: Sequence[Judgement], runs: int) -> dict[str, list[Judgement]]:
    """The segments that all runs have judged, usable or not."""
    by_segment: dict[str, list[Judgement]] = {}
    for each in judgements:
        if each.status in (Status.ok, Status.unusable):
            by_segment.setdefault(each.segment, []).append(each)
    return {name: own for name, own in by_segment.items() if len(own) == runs}


def _ratings(
    segments: Sequence[Sequence[Judgement]], labels: Sequence[str], runs: int
) -> tuple[np.ndarray, np.ndarray]:
    """Counts [segments, labels + 1] of the dominant emotion, and intensities [segments, runs, labels]."""
    counts = np.zeros((len(segments), len(labels) + 1), int)
    values = np.full((len(segments), runs, len(labels)), np.nan)
    for place, own in enumerate(segments):
        for number, each in enumerate(own):
            if each.status == Status.unusable:
                counts[place, -1] += 1
            else:
                counts[place, labels.index(dominant(each.intensities, labels))] += 1
                values[place, number] = [each.intensities.get(label, 0) for label in labels]
    return counts, values


def write_consistency(
    folder: Path, segments: Sequence[Segment], labels: Sequence[str], runs: int
) -> dict[str, Any] | None:
    """Measure the runs' agreement and write `consistency.json`; None if nothing was asked.

    Raises:
        MefusionError: the answers cannot be read.
    """
    judgements = read_judgements(folder, labels, runs, segments)
    if not judgements:
        return None
    videos = {segment.name: segment.video for segment in segments}
    found = measure_consistency(judgements, videos, labels, runs)
    write_text(folder / FILE, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found
