"""Uncertainty of scores: bootstrap over subjects, paired comparison of two studies, McNemar's test.

Subjects are drawn, not clips: clips of one face are alike, and so are a network's errors on them. If the clips are of
several datasets, each resample has as many subjects of each dataset as the data. A class that no subject of a resample
shows counts with a score of 0 there, as in the scores themselves. Intervals are percentile intervals of the score,
averaged over the seeds of a study. They say how much the score depends on which subjects were recorded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import bdtr

from mefusion.clips.table import KEY
from mefusion.common.errors import MefusionError
from mefusion.evaluation import metrics

RESAMPLES = 10_000
LEVEL = 0.95

_SUBJECT = ["dataset", "subject"]


def subject_matrices(predictions: pd.DataFrame, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Count the clips of each subject, label and prediction.

    Args:
        predictions: a study's prediction table, of one seed or several.
        classes: the scheme's classes, in order.

    Returns:
        Confusion matrices [seeds, subjects, C, C], where rows are labels; and the dataset of each subject. Subjects are
        sorted by dataset and name: two tables of the same clips give the same order.
    """
    index = {name: i for i, name in enumerate(classes)}
    seed = predictions.groupby("seed").ngroup().to_numpy()
    by_subject = predictions.groupby(_SUBJECT)
    subject = by_subject.ngroup().to_numpy()
    matrices = np.zeros((seed.max() + 1, by_subject.ngroups, len(index), len(index)))
    label, prediction = (predictions[name].map(index).to_numpy() for name in ("label", "prediction"))
    np.add.at(matrices, (seed, subject, label, prediction), 1)
    return matrices, by_subject["dataset"].first().tolist()


def resample_counts(strata: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draw subjects with replacement; from each stratum as many as it has.

    Args:
        strata: stratum of each subject, such as its dataset.
        resamples: number of resamples.
        seed: seed of the random draws.

    Returns:
        float64 [resamples, subjects]: how often each subject was drawn.
    """
    generator = np.random.default_rng(seed)
    counts = np.zeros((resamples, len(strata)))
    for stratum in dict.fromkeys(strata):
        members = np.flatnonzero(np.asarray(strata) == stratum)
        counts[:, members] = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return counts


def resampled_scores(
    matrices: np.ndarray, counts: np.ndarray, score: Callable[[np.ndarray], np.ndarray] = metrics.uf1
) -> np.ndarray:
    """Score each resample: add up the matrices of its subjects for each seed, and average the scores over the seeds.

    Args:
        matrices: [seeds, subjects, C, C], from `subject_matrices`.
        counts: [resamples, subjects], from `resample_counts`.
        score: function that scores confusion matrices [..., C, C]; counts of another shape may have their own.

    Returns:
        [resamples], or [resamples, ...] of a function with several scores.
    """
    return score(np.tensordot(counts, matrices, axes=(1, 1))).mean(axis=1)


def score_intervals(predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, list[float]]:
    """95 % intervals of the four scores of recognition.

    Args:
        predictions: a study's prediction table, of one seed or several.
        classes: the scheme's classes, in order.

    Returns:
        Lower and upper end for `uf1`, `uar`, `acc` and `wf1`; empty if every dataset has a single subject.
    """
    matrices, datasets = subject_matrices(predictions, classes)
    if not can_be_drawn(datasets):
        return {}
    counts = resample_counts(datasets)
    return {name: interval(resampled_scores(matrices, counts, score)) for name, score in metrics.SCORES.items()}


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact test for two studies on the same clips (McNemar 1947, with the binomial distribution).

    Args:
        only_first: number of clips that only the first study recognised.
        only_second: number of clips that only the second study recognised.

    Returns:
        Two-sided p value; 1 if the studies never differ.
    """
    # `bdtr`: binomial distribution function. `scipy.stats.binomtest` gives the same, but takes a second to import.
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


def compare(
    predictions: pd.DataFrame, reference: pd.DataFrame, classes: Sequence[str], resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Compare two studies on the clips that both have.

    Both are scored on the same resamples of subjects, so that what makes a subject hard for both cancels out. McNemar's
    test needs one prediction for each clip: with several seeds it is the class of the largest mean probability. The
    test assumes that clips are independent, but clips of one subject are not: if test and interval disagree, trust
    the interval.

    Args:
        predictions: prediction table of the study.
        reference: prediction table of the study that it is compared with.
        classes: the scheme's classes, which both studies have.
        resamples: number of resamples of the bootstrap.

    Returns:
        `clips`, the number of clips that both have; `difference`, the study's UF1 minus the reference's, each averaged
        over seeds; `interval`, the 95 % interval of the difference, None if every dataset has a single subject;
        `only_study` and `only_reference`, the numbers of clips that only this one recognised; and `mcnemar`, the p
        value of the exact test.

    Raises:
        MefusionError: no clip is in both, or their labels differ.
    """
    first, second = _common(predictions, reference), _common(reference, predictions)
    if first.empty:
        raise MefusionError("the two studies have no clip in common")
    one, other = by_clip(first, classes), by_clip(second, classes)
    if not one["label"].equals(other["label"]):
        raise MefusionError("the two studies label the same clips differently")
    (matrices, datasets), (reference_matrices, _) = (subject_matrices(table, classes) for table in (first, second))
    ends = None
    if can_be_drawn(datasets):
        counts = resample_counts(datasets, resamples)
        ends = interval(resampled_scores(matrices, counts) - resampled_scores(reference_matrices, counts))
    right, reference_right = (table["label"] == table["prediction"] for table in (one, other))
    only_study, only_reference = int((right & ~reference_right).sum()), int((~right & reference_right).sum())
    pooled = [metrics.uf1(each.sum(axis=1)).mean() for each in (matrices, reference_matrices)]
    return {
        "clips": len(one),
        "difference": float(pooled[0] - pooled[1]),
        "interval": ends,
        "only_study": only_study,
        "only_reference": only_reference,
        "mcnemar": mcnemar(only_study, only_reference),
    }


def can_be_drawn(datasets: Sequence[str]) -> bool:
    """Whether subjects can be drawn: not if every dataset has a single one; `datasets` has that of each subject."""
    return len({*datasets}) < len(datasets)


def interval(values: np.ndarray) -> list[float]:
    """Lower and upper end of the 95 % percentile interval of resampled scores [resamples]."""
    return [float(end) for end in np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]


def _common(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    return table[table.set_index(KEY).index.isin(other.set_index(KEY).index)]


def by_clip(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """One answer for each clip, whatever the number of seeds.

    Args:
        table: a study's prediction table.
        classes: the scheme's classes, in order.

    Returns:
        `label` and `prediction`, indexed and sorted by clip; with several seeds, the prediction is the class of the
        largest mean probability.
    """
    clips = table.groupby(KEY)
    if len({*table["seed"]}) == 1:
        return clips[["label", "prediction"]].first()
    mean = clips[[f"probability_{name}" for name in classes]].mean().to_numpy()
    return clips[["label"]].first().assign(prediction=np.array(classes)[mean.argmax(axis=1)])
