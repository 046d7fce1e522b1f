"""Metrics of pooled predictions; those of recognition are computed from one confusion matrix.

A class of the scheme that occurs neither among the labels nor among the predictions counts with F1 = 0 and
recall = 0, so that means are always over all classes of the scheme. scikit-learn gives the same with
`labels=classes, zero_division=0`. The scores are computed with NumPy because scikit-learn takes a second to
import, and scores a single table at a time; the bootstrap scores 10,000 confusion matrices at once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mefusion.common.errors import MefusionError


def confusion_matrix(labels: Sequence[str], predictions: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Count the clips of each label and prediction.

    Args:
        labels: true class names, one for each clip.
        predictions: predicted class names, in the same order.
        classes: the scheme's classes, in the order of the rows and columns.

    Returns:
        int64 [C, C]; row i, column j: number of clips of class i that are predicted as class j.

    Raises:
        MefusionError: there is no clip, or a name is not among `classes`.
    """
    if len(labels) != len(predictions):
        raise MefusionError(
            f"There are {len(labels)} labels but {len(predictions)} predictions; give one for each clip."
        )
    if len(labels) == 0:
        raise MefusionError("There is no clip to score; give at least one prediction.")
    index = {name: i for i, name in enumerate(classes)}
    unknown = sorted(({*labels} | {*predictions}) - index.keys(), key=str)
    if unknown:
        raise MefusionError(f"Class {unknown[0]!r} is not one of the scheme's classes: {', '.join(classes)}.")
    matrix = np.zeros((len(index), len(index)), dtype=np.int64)
    np.add.at(matrix, ([index[name] for name in labels], [index[name] for name in predictions]), 1)
    return matrix


def f1_per_class(matrix: np.ndarray) -> np.ndarray:
    """F1 = 2TP / (2TP + FP + FN) of each class.

    Args:
        matrix: confusion matrices [..., C, C], rows are labels.

    Returns:
        [..., C] in 0..1; 0 for a class that is neither a label nor a prediction.
    """
    return _ratio(2 * _right(matrix), matrix.sum(axis=-2) + matrix.sum(axis=-1))


def recall_per_class(matrix: np.ndarray) -> np.ndarray:
    """Recall of each class: the share of its clips that were recognised.

    Args:
        matrix: confusion matrices [..., C, C], rows are labels.

    Returns:
        [..., C] in 0..1; 0 for a class without clips.
    """
    return _ratio(_right(matrix), matrix.sum(axis=-1))


def uf1(matrix: np.ndarray) -> np.ndarray:
    """Unweighted F1 (macro F1): the mean of `f1_per_class` over the scheme's classes (MEGC 2019)."""
    return f1_per_class(matrix).mean(axis=-1)


def uar(matrix: np.ndarray) -> np.ndarray:
    """Unweighted average recall: the mean of `recall_per_class` over the scheme's classes (MEGC 2019)."""
    return recall_per_class(matrix).mean(axis=-1)


def accuracy(matrix: np.ndarray) -> np.ndarray:
    """Accuracy: the share of all clips that were recognised, in 0..1."""
    return _ratio(_right(matrix).sum(axis=-1), matrix.sum(axis=(-2, -1)))


def weighted_f1(matrix: np.ndarray) -> np.ndarray:
    """Weighted F1: the mean of `f1_per_class`, weighted by the number of clips of each class."""
    support = matrix.sum(axis=-1)
    return _ratio((f1_per_class(matrix) * support).sum(axis=-1), support.sum(axis=-1))


SCORES = {"uf1": uf1, "uar": uar, "acc": accuracy, "wf1": weighted_f1}
"""The four scores of recognition: functions of confusion matrices [..., C, C] that give values in 0..1."""


def recognition_metrics(matrix: np.ndarray) -> dict[str, float]:
    """All four scores of one confusion matrix.

    Args:
        matrix: confusion matrix [C, C] of all folds together, of at least one clip.

    Returns:
        `uf1`, `uar`, `acc` and `wf1`, each in 0..1.
    """
    return {name: float(score(matrix)) for name, score in SCORES.items()}


def majority_matrix(matrix: np.ndarray) -> np.ndarray:
    """Confusion matrix of the baseline that always predicts the most frequent label of the same clips.

    Args:
        matrix: confusion matrix [C, C] of any predictions of these clips.

    Returns:
        int64 [C, C] with one filled column; among equally frequent labels, that of the first.
    """
    support = matrix.sum(axis=1)
    baseline = np.zeros_like(matrix)
    baseline[:, support.argmax()] = support
    return baseline


def mean_of_folds_uf1(
    labels: Sequence[str], predictions: Sequence[str], folds: Sequence[str], classes: Sequence[str]
) -> float:
    """Mean over folds of each fold's macro F1, as some older papers report it; not to be used as the main score.

    The F1 of a fold is averaged over the classes that occur in it, as label or prediction; this is the default of
    scikit-learn, which those papers' code calls. One wrong prediction for a subject with a single emotion then halves
    the score of the fold. Report the pooled `uf1` instead.

    Args:
        labels: true class names, one for each clip.
        predictions: predicted class names, in the same order.
        folds: the fold of each clip.
        classes: the scheme's classes.

    Returns:
        The mean, in 0..1.

    Raises:
        MefusionError: there is no clip, or a name is not among `classes`.
    """
    label_array, prediction_array, fold_array = (
        np.asarray(values, dtype=object) for values in (labels, predictions, folds)
    )
    scores = []
    for fold in dict.fromkeys(folds):
        chosen = fold_array == fold
        matrix = confusion_matrix(list(label_array[chosen]), list(prediction_array[chosen]), classes)
        occurs = matrix.sum(axis=0) + matrix.sum(axis=1) > 0
        scores.append(f1_per_class(matrix)[occurs].mean())
    if not scores:
        raise MefusionError("There is no fold to score; give at least one prediction.")
    return float(np.mean(scores))


def recognition_report(
    labels: Sequence[str], predictions: Sequence[str], folds: Sequence[str], classes: Sequence[str]
) -> dict[str, Any]:
    """All results of recognition of a study, as plain data.

    Args:
        labels: true class names, one for each clip.
        predictions: predicted class names, in the same order.
        folds: the fold of each clip.
        classes: the scheme's classes, in order.

    Returns:
        `clips` and `folds`, their numbers; `classes`; `uf1`, `uar`, `acc` and `wf1` of all folds together;
        `mean_of_folds_uf1`; `per_class`, with `f1`, `recall` and `clips` of each class; `confusion_matrix`, where rows
        are labels; `majority`, with `class`, the most frequent one, and the four scores of always predicting it.

    Raises:
        MefusionError: there is no clip, or a name is not among `classes`.
    """
    matrix = confusion_matrix(labels, predictions, classes)
    majority = majority_matrix(matrix)
    rows = zip(classes, f1_per_class(matrix), recall_per_class(matrix), matrix.sum(axis=1), strict=True)
    return {
        "clips": len(labels),
        "folds": len({*folds}),
        "classes": list(classes),
        **recognition_metrics(matrix),
        "mean_of_folds_uf1": mean_of_folds_uf1(labels, predictions, folds, classes),
        "per_class": {
            name: {"f1": float(f1), "recall": float(recall), "clips": int(clips)} for name, f1, recall, clips in rows
        },
        "confusion_matrix": matrix.tolist(),
        "majority": {
            "class": classes[int(majority.sum(axis=0).argmax())],
            **recognition_metrics(majority),
        },
    }


def _right(matrix: np.ndarray) -> np.ndarray:
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)
