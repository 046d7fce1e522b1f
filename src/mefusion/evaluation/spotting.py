"""Scores of spotting, and of spotting with recognition, as the Micro-Expression Grand Challenges have them.

Intervals are ranges of frames, and both ends belong to them: frames 10 to 12 are three frames. The IoU of two intervals
is the number of frames that both have over the number of frames that at least one has. A spotted interval is right if
its IoU with a true one of the same recording is at least 0.5. Each true interval is matched with at most one spotted
interval and each spotted one with at most one true one: the pair of highest IoU first.

Counts are added up over all recordings, also those without any expression, whose spotted intervals are all wrong:

    recall = matched true intervals / true intervals
    precision = matched spotted intervals / spotted intervals
    F1 = 2 x precision x recall / (precision + recall)

For micro-expressions, recall counts the true intervals that are micro, and precision the spotted intervals that are
micro; the same for macro-expressions. So there are two counts of true positives: `found`, the true micro intervals that
are matched, and `right`, the spotted micro intervals that are matched. They differ where a true micro-expression is
matched with a spotted interval of more than half a second. A number whose denominator is 0 is 0.

The spot-then-recognize score is F1 of spotting x F1 of recognition. The latter is the harmonic mean of macro precision
and macro recall, over the classes of the scheme, of the matched pairs only (Liong, See and Chan, Signal Processing:
Image Communication 2023; MEGC 2025). Pairs whose true interval has no emotion, and those whose spotted interval was not
recognised, are left out of it, and counted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mefusion.common.errors import MefusionError
from mefusion.evaluation.bootstrap import RESAMPLES, interval, resample_counts

MICRO_SECONDS = 0.5
"""A micro-expression lasts at most as long."""

IOU = 0.5
"""A spotted interval is right from this IoU up."""

KINDS = ("micro", "macro", "all")
_COUNTS = ("true", "found", "spotted", "right")


def kind_of_duration(seconds: float) -> str:
    """`micro` or `macro`, by the duration; half a second is `micro`."""
    return "micro" if seconds <= MICRO_SECONDS + 1e-6 else "macro"


def expressions_of(events: pd.DataFrame) -> pd.DataFrame:
    """The events that count as expressions: those that are not a stretch of speech."""
    return events[~events["speech"].astype(bool)]


def match(spotted: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Match spotted intervals with true ones, see above.

    Of pairs with the same IoU, the one with the earlier true interval comes first, then the earlier spotted one.

    Args:
        spotted, truth: with the columns recording, onset and offset (frames, both included).

    Returns:
        A row for each pair: `spotted` and `truth`, their positions in the two tables, from 0; and `iou`.
    """
    pairs: list[tuple[int, int, float]] = []
    true_places = truth.reset_index(drop=True).groupby("recording").indices
    for recording, places in spotted.reset_index(drop=True).groupby("recording").indices.items():
        if recording in true_places:
            others = true_places[recording]
            found = _match_one(_frames(spotted, places), _frames(truth, others))
            pairs += [(int(places[s]), int(others[t]), iou) for s, t, iou in found]
    return pd.DataFrame(pairs, columns=["spotted", "truth", "iou"])


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of every interval of one list with every one of another.

    Args:
        first, second: [n, 2] and [m, 2], onset and offset, both included.

    Returns:
        [n, m] in 0..1.
    """
    starts = np.maximum(first[:, None, 0], second[None, :, 0])
    ends = np.minimum(first[:, None, 1], second[None, :, 1])
    common = np.maximum(ends - starts + 1, 0)
    lengths = [table[:, 1] - table[:, 0] + 1 for table in (first, second)]
    return common / (lengths[0][:, None] + lengths[1][None] - common)


def _frames(table: pd.DataFrame, places: np.ndarray) -> np.ndarray:
    return table[["onset", "offset"]].to_numpy(np.int64)[places]


def _match_one(spotted: np.ndarray, truth: np.ndarray) -> list[tuple[int, int, float]]:
    """Matched pairs (spotted, truth, IoU) of one recording."""
    iou = overlaps(spotted, truth)
    candidates = [(-iou[s, t], truth[t, 0], spotted[s, 0], s, t) for s, t in np.argwhere(iou >= IOU)]
    free_spotted, free_truth = np.ones(len(spotted), bool), np.ones(len(truth), bool)
    pairs = []
    for negative, _, _, s, t in sorted(candidates):
        if free_spotted[s] and free_truth[t]:
            free_spotted[s] = free_truth[t] = False
            pairs.append((int(s), int(t), float(-negative)))
    return pairs


def strs(spotting: float, recognition: float) -> float:
    """Spot-then-recognize score: the product of the two F1."""
    return spotting * recognition


def recognition_f1(matrix: np.ndarray) -> np.ndarray:
    """F1 from macro precision and macro recall: their harmonic mean.

    Args:
        matrix: confusion matrices [..., C, C], rows are labels.

    Returns:
        [...] in 0..1. A class that is neither a label nor a prediction counts with 0.
    """
    right = np.diagonal(matrix, axis1=-2, axis2=-1)
    precision, recall = (_ratio(right, matrix.sum(axis=axis)).mean(-1) for axis in (-2, -1))
    return _harmonic(precision, recall)


def score_spotting(
    spotted: pd.DataFrame,
    truth: pd.DataFrame,
    recordings: pd.DataFrame,
    *,
    classes: Sequence[str] = (),
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Score spotted intervals against the true ones, see above.

    Args:
        spotted: a row for each spotted interval: recording, onset, offset (frames, both included), kind (`micro` or
            `macro`, by its duration), and with `classes` prediction (null if it was not recognised).
        truth: a row for each true interval: recording, onset, offset, kind, and with `classes` emotion (null if it
            has none).
        recordings: a row for each recording, also of those without an expression: recording, dataset, subject.
        classes: classes that are recognised, those of the scheme; with none, recognition is not scored.
        resamples: number of resamples of the bootstrap over subjects.

    Returns:
        Plain data, ready for JSON: `recordings` and `subjects`, their numbers; for each of `KINDS` an entry with
        `true`, `found`, `spotted` and `right` (counts, see above), `precision`, `recall`, `f1`, and `intervals`, the
        95 % interval of each of these three over subjects (empty if every dataset has a single subject). With
        `classes` also `recognition`: `classes`, `pairs` (that were scored), `without_emotion` and `not_recognised`
        (pairs that were not), `confusion_matrix`, `f1`, `strs`, and `intervals` of the last two.

    Raises:
        MefusionError: a recording is listed twice or is not listed, an interval ends before it begins, or a value is
            not allowed.
    """
    _check(spotted, truth, recordings)
    subjects = recordings.groupby(["dataset", "subject"])
    number = pd.Series(subjects.ngroup().to_numpy(), index=recordings["recording"].to_numpy())
    datasets = subjects["dataset"].first().tolist()
    pairs = match(spotted, truth)
    counts = _counts(spotted, truth, pairs, number, len(datasets))
    drawn = None
    if len({*datasets}) < len(datasets):
        drawn = resample_counts(datasets, resamples)
    scores: dict[str, Any] = {"recordings": len(recordings), "subjects": len(datasets)}
    f1 = {}
    for place, kind in enumerate(KINDS):
        totals = counts[:, place].sum(0)
        values = _rates(totals)
        resampled = None if drawn is None else _rates(drawn @ counts[:, place])
        f1[kind] = values["f1"], None if resampled is None else resampled["f1"]
        scores[kind] = {
            **{name: int(total) for name, total in zip(_COUNTS, totals, strict=True)},
            **{name: float(value) for name, value in values.items()},
            "intervals": {name: interval(draws) for name, draws in (resampled or {}).items()},
        }
    if classes:
        matrices, unscored = _matrices(spotted, truth, pairs, number, len(datasets), classes)
        scores["recognition"] = _recognition(matrices, unscored, classes, f1["all"], drawn)
    return scores


def _counts(
    spotted: pd.DataFrame, truth: pd.DataFrame, pairs: pd.DataFrame, number: pd.Series, subjects: int
) -> np.ndarray:
    """How many intervals each subject has, [subjects, KINDS, _COUNTS]."""
    counts = np.zeros((subjects, len(KINDS), len(_COUNTS)))
    for first, (table, matched) in {0: (truth, pairs["truth"]), 2: (spotted, pairs["spotted"])}.items():
        one_and_hit = np.ones((len(table), 2))
        one_and_hit[:, 1] = np.isin(np.arange(len(table)), matched.to_numpy(int))
        subject = number.reindex(table["recording"]).to_numpy(int)
        kind = table["kind"].map(KINDS.index).to_numpy(int)
        for place in (kind, np.full(len(table), KINDS.index("all"))):
            np.add.at(counts[..., first : first + 2], (subject, place), one_and_hit)
    return counts


def _rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of counts [..., _COUNTS]."""
    true, found, spotted, right = np.moveaxis(counts, -1, 0)
    precision, recall = _ratio(right, spotted), _ratio(found, true)
    return {"precision": precision, "recall": recall, "f1": _harmonic(precision, recall)}


def _matrices(
    spotted: pd.DataFrame,
    truth: pd.DataFrame,
    pairs: pd.DataFrame,
    number: pd.Series,
    subjects: int,
    classes: Sequence[str],
) -> tuple[np.ndarray, dict[str, int]]:
    """Confusion matrices of the matched pairs of each subject [subjects, C, C]; how many are not in them, and why."""
    rows = truth.iloc[pairs["truth"]]
    table = pd.DataFrame({
        "subject": number.reindex(rows["recording"]).to_numpy(),
        "label": rows["emotion"].to_numpy(),
        "prediction": spotted["prediction"].iloc[pairs["spotted"]].to_numpy(),
    })  # fmt: skip
    labelled = table.dropna(subset="label")
    known = labelled.dropna(subset="prediction")
    for name in ("label", "prediction"):
        if unknown := sorted({*known[name]} - {*classes}, key=str):
            raise MefusionError(f"{name} {unknown[0]!r} is not one of the classes {', '.join(classes)}")
    matrices = np.zeros((subjects, len(classes), len(classes)))
    places = [known[name].map(list(classes).index).to_numpy(int) for name in ("label", "prediction")]
    np.add.at(matrices, (known["subject"].to_numpy(int), *places), 1)
    unscored = {"without_emotion": len(table) - len(labelled), "not_recognised": len(labelled) - len(known)}
    return matrices, unscored


def _recognition(
    matrices: np.ndarray,
    unscored: dict[str, int],
    classes: Sequence[str],
    spotting: tuple[np.ndarray, np.ndarray | None],
    drawn: np.ndarray | None,
) -> dict[str, Any]:
    whole = matrices.sum(0)
    value = float(recognition_f1(whole))
    intervals = {}
    if drawn is not None and spotting[1] is not None:
        resampled = recognition_f1(np.tensordot(drawn, matrices, axes=1))
        intervals = {"f1": interval(resampled), "strs": interval(spotting[1] * resampled)}
    return {
        "classes": list(classes),
        "pairs": int(whole.sum()),
        **unscored,
        "confusion_matrix": whole.astype(int).tolist(),
        "f1": value,
        "strs": strs(float(spotting[0]), value),
        "intervals": intervals,
    }


def _check(spotted: pd.DataFrame, truth: pd.DataFrame, recordings: pd.DataFrame) -> None:
    twice = recordings["recording"][recordings["recording"].duplicated()]
    if len(twice):
        raise MefusionError(f"the recording {twice.iloc[0]!r} is listed twice: give each a name of its own")
    for name, table in (("spotted", spotted), ("true", truth)):
        unknown = table["recording"][~table["recording"].isin(recordings["recording"])]
        if len(unknown):
            raise MefusionError(f"a {name} interval is of {unknown.iloc[0]!r}, which is no recording that is listed")
        reversed_ = table[table["offset"] < table["onset"]]
        if len(reversed_):
            row = reversed_.iloc[0]
            raise MefusionError(f"a {name} interval of {row.recording!r} ends at {row.offset}, before {row.onset}")
        kinds = sorted({*table["kind"]} - {"micro", "macro"}, key=str)
        if kinds:
            raise MefusionError(f"kind {kinds[0]!r} of a {name} interval: it is micro or macro")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)


def _harmonic(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    return _ratio(2 * precision * recall, precision + recall)
