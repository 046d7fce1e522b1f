"""Scores of action units: F1 of each unit, and their mean, pooled over all folds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mefusion.clips.table import KEY
from mefusion.common.units import ABSENT, PRESENT, UNKNOWN
from mefusion.evaluation.bootstrap import can_be_drawn, interval, resample_counts, resampled_scores

if TYPE_CHECKING:
    import pandas as pd

THRESHOLD = 0.5
"""A unit is predicted where its probability is above this."""

UNIT = "unit_"
"""Prefix of the columns with the units' probabilities; those with their labels end in `LABEL`."""
LABEL = "_label"


def unit_names(units: Sequence[int]) -> list[str]:
    """Columns with the probabilities of units."""
    return [f"{UNIT}{unit}" for unit in units]


def unit_columns(units: Sequence[int]) -> dict[str, float]:
    """Columns of the prediction table, each with its smallest possible value: probabilities, then labels."""
    names = unit_names(units)
    return dict.fromkeys(names, 0.0) | {f"{name}{LABEL}": float(UNKNOWN) for name in names}


def unit_scores(predictions: "pd.DataFrame", units: Sequence[int]) -> dict[str, Any]:
    """Score the action units of a prediction table; what is unknown of a clip does not count.

    Args:
        predictions: a study's prediction table, of one seed or several; with several, F1 is the mean over the seeds.
        units: their numbers.

    Returns:
        `clips`, those with a coding; `left_out`, those without; `f1`, the mean F1 over the units that occur in these
        clips, its 95 % `interval` over subjects (None if every dataset has a single subject), and `reference`, that of
        predicting all units in all clips; `absent_units`, those that do not occur, which the mean leaves out; `units`:
        for each unit by its number `clips` (where it is known), `present`, `f1`, `interval`, `recall`, `reference`.
        Without any coded clip the scores are None.
    """
    columns = [*unit_columns(units)]
    labels, coded = predictions[columns[len(units) :]].to_numpy(), predictions[KEY]
    known = (labels != UNKNOWN).any(axis=1)
    clips = len(coded[known].drop_duplicates())
    counts = {"clips": clips, "left_out": len(coded.drop_duplicates()) - clips}
    if not clips:
        return counts | {"f1": None, "interval": None, "reference": None, "absent_units": [*units], "units": {}}
    table, labels = predictions[known], labels[known]
    answers = table[columns[: len(units)]].to_numpy() > THRESHOLD
    matrices, datasets = _by_subject(table, labels, answers)
    guesses, _ = _by_subject(table, labels, np.ones_like(answers))
    f1, reference = (_f1(each.sum(axis=1)).mean(axis=0) for each in (matrices, guesses))
    hits, _, misses = matrices.sum(axis=(0, 1)).T
    seeds = len(matrices)
    present, coded_clips = (hits + misses) / seeds, (labels != UNKNOWN).sum(axis=0) / seeds
    occur = present > 0
    ends: list[list[float] | None] = [None] * len(units)
    means = None
    if can_be_drawn(datasets) and occur.any():
        drawn = resampled_scores(matrices, resample_counts(datasets), _f1)
        ends, means = [interval(values) for values in drawn.T], interval(drawn[:, occur].mean(axis=1))
    rows = {
        str(unit): {
            "clips": int(coded_clips[place]),
            "present": int(present[place]),
            "f1": float(f1[place]),
            "interval": ends[place],
            "recall": float(hits[place] / (hits[place] + misses[place])),
            "reference": float(reference[place]),
        }
        for place, unit in enumerate(units)
        if occur[place]
    }
    return counts | {
        "f1": float(f1[occur].mean()) if occur.any() else None,
        "interval": means,
        "reference": float(reference[occur].mean()) if occur.any() else None,
        "absent_units": [unit for unit, occurs in zip(units, occur, strict=True) if not occurs],
        "units": rows,
    }


def _by_subject(table: "pd.DataFrame", labels: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """True positives, false positives and false negatives [seeds, subjects, units, 3]; the dataset of each subject."""
    right = np.stack([(labels == PRESENT) & answers, (labels == ABSENT) & answers, (labels == PRESENT) & ~answers], -1)
    seed, by_subject = table.groupby("seed").ngroup().to_numpy(), table.groupby(["dataset", "subject"])
    counts = np.zeros((seed.max() + 1, by_subject.ngroups, *right.shape[1:]))
    np.add.at(counts, (seed, by_subject.ngroup().to_numpy()), right)
    return counts, by_subject["dataset"].first().tolist()


def _f1(counts: np.ndarray) -> np.ndarray:
    """F1 = 2TP / (2TP + FP + FN) of counts [..., 3]; 0 where a unit neither occurs nor is predicted."""
    hits, alarms, misses = np.moveaxis(counts, -1, 0)
    return 2 * hits / np.maximum(2 * hits + alarms + misses, 1)
