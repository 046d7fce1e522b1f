"""Errors in prediction tables: networks that tell nothing apart, clips that all studies get wrong, odd subjects."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import bdtr

from mefusion.clips.table import KEY
from mefusion.evaluation.bootstrap import LEVEL, by_clip
from mefusion.evaluation.predictions import PROBABILITY

LEAST_STUDIES = 3
"""Studies of the same clips that are needed to call an error unanimous: two agree too easily."""


SAME = 1.03
"""Probabilities that differ by a smaller factor are the same for `constant_folds`."""

SURE = 0.99
"""A network that is surer than this has learned something, though its fold's few clips may all be of one class."""


def constant_folds(predictions: pd.DataFrame) -> list[tuple[str, int]]:
    """Folds in which all clips get the same probabilities: that network tells nothing apart.

    Args:
        predictions: prediction table of a study.

    Returns:
        The name and the seed of each such fold; of a fold with one clip nothing is known.
    """
    names = [name for name in predictions if name.startswith(PROBABILITY)]
    groups = predictions.groupby(["fold", "seed"], sort=False)[names]
    high, low = groups.max(), groups.min()
    factors = (high / low.clip(lower=np.finfo(float).tiny)).max(axis=1)
    same = (factors < SAME) & (high.max(axis=1) < SURE) & (groups.size() > 1)
    return [*same[same].index]


def unanimous_errors(tables: Sequence[pd.DataFrame], classes: Sequence[str]) -> pd.DataFrame:
    """Clips that all studies name alike, and not as their label.

    Args:
        tables: prediction table of each study; all are of the same clips and labels. With several seeds, a clip's
            answer is the class of the largest mean probability.
        classes: the scheme's classes, which all studies have.

    Returns:
        One row for each such clip, the surest first: `dataset`, `subject`, `clip_id`, `label`, `answer`, and
        `probability`, that of the answer, averaged over seeds and then over studies.
    """
    answers = [by_clip(table, classes) for table in tables]
    found = answers[0].rename(columns={"prediction": "answer"})
    wrong = found["label"] != found["answer"]
    for other in answers[1:]:
        wrong &= other["prediction"] == found["answer"]
    found = found[wrong]
    names = [PROBABILITY + name for name in classes]
    means = np.mean([table.groupby(KEY)[names].mean().loc[found.index] for table in tables], axis=0)
    chosen = means[np.arange(len(found)), found["answer"].map(list(classes).index).to_numpy(int)]
    return found.assign(probability=chosen).reset_index().sort_values("probability", ascending=False, kind="stable")


def binomial_range(clips: int, accuracy: float) -> tuple[int, int]:
    """Numbers of right answers between which a subject is expected with a probability of at least 95 %.

    Args:
        clips: number of the subject's clips.
        accuracy: probability that an answer is right, the same for each clip.

    Returns:
        The 2.5 % and 97.5 % quantiles of the binomial distribution.
    """
    # `bdtr`: binomial distribution function; see `bootstrap.mcnemar` on `scipy.stats`.
    below = bdtr(np.arange(clips + 1), clips, accuracy)
    tail = (1 - LEVEL) / 2
    return int(np.argmax(below >= tail)), int(np.argmax(below >= 1 - tail))


def subject_spread(subjects: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Compare each subject's accuracy with what chance alone would give, if all subjects were equally hard.

    Args:
        subjects: for each subject `dataset`, `subject`, `clips` and `acc`, as in `summary.json`.

    Returns:
        One row for each subject, those with most clips first: `dataset`, `subject`, `clips`, `acc` and `right`, the
        number of right answers (the mean over the seeds); `low` and `high`, see `binomial_range`, with the accuracy of
        all clips together; `outside`: -1 below, 1 above, 0 within; `chance`, the probability to be outside by chance.
    """
    table = pd.DataFrame(subjects)[["dataset", "subject", "clips", "acc"]]
    table["right"] = table["acc"] * table["clips"]
    pooled = min(float(table["right"].sum() / table["clips"].sum()), 1.0)
    ranges = [binomial_range(int(clips), pooled) for clips in table["clips"]]
    table["low"], table["high"] = zip(*ranges, strict=True)
    inside = bdtr(table["high"], table["clips"], pooled) - np.where(
        table["low"] > 0, bdtr((table["low"] - 1).clip(lower=0), table["clips"], pooled), 0
    )
    table["chance"] = 1 - inside
    slack = 1e-9  # a mean over seeds is not a whole number to the last digit
    below, above = table["right"] < table["low"] - slack, table["right"] > table["high"] + slack
    table["outside"] = above.astype(int) - below.astype(int)
    return table.sort_values(["clips", "dataset", "subject"], ascending=[False, True, True], ignore_index=True)
