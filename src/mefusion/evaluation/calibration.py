"""Calibration: whether the probability of an answer is the share of such answers that are right.

A temperature T changes the probabilities p of a clip to p^(1/T), divided by their sum: T above 1 makes answers less
sure, and none changes which answer it is (Guo, Pleiss, Sun and Weinberger 2017, arXiv 1706.04599).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from mefusion.evaluation.predictions import PROBABILITY, classes_of

BINS = 10
LIMITS = (0.2, 5.0)
"""Temperatures between which the best one is searched: where all answers are right, ever smaller ones are better."""

_LEAST = 1e-12  # probability, so that its logarithm is finite


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [n, classes] at a temperature; at 1 the same array."""
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, _LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the smallest mean negative log probability of the labels, within `LIMITS`.

    Args:
        probabilities: [n, classes].
        labels: [n], class numbers.
    """

    def loss(log_temperature: float) -> float:
        right = with_temperature(probabilities, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(right, _LEAST)).mean())

    found = minimize_scalar(loss, bounds=np.log(LIMITS), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Mean difference of confidence and accuracy over bins of equal width, weighted by their clips.

    Args:
        confidence: [n], probability of the answer, 0..1.
        right: [n], whether the answer is right.
        bins: number of bins.

    Returns:
        0..1; 0 where each bin's mean confidence is its accuracy (Naeini, Cooper and Hauskrecht 2015).
    """
    parts = reliability(confidence, right, bins)
    return float((parts["share"] * (parts["confidence"] - parts["accuracy"]).abs()).sum())


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Accuracy of the answers by their confidence.

    Args:
        confidence, right, bins: see `expected_calibration_error`.

    Returns:
        One row for each bin that has answers: `low` and `high`, its limits (the upper one belongs to it); `share` of
        all answers, their mean `confidence`, and their `accuracy`.
    """
    number = np.clip(np.ceil(np.asarray(confidence, float) * bins).astype(int) - 1, 0, bins - 1)
    rows = pd.DataFrame({"bin": number, "confidence": confidence, "accuracy": np.asarray(right, float)})
    means = rows.groupby("bin").mean()
    low = means.index.to_numpy() / bins
    share = rows.groupby("bin").size().to_numpy() / max(len(rows), 1)
    return means.assign(low=low, high=low + 1 / bins, share=share).reset_index(drop=True)


def answers_of(table: pd.DataFrame) -> pd.DataFrame:
    """`confidence` of each answer of a prediction table, the probability of it, and whether it is `right`."""
    classes = classes_of(table)
    return _answers(_values(table, classes), _numbers(table, classes))


@dataclass(frozen=True)
class Calibration:
    """How well the probabilities of a study are calibrated, before and after a temperature.

    Attributes:
        temperatures: of each run.
        before, after: for each test clip, `confidence` and whether the answer is `right`.
    """

    temperatures: list[float]
    before: pd.DataFrame
    after: pd.DataFrame

    @property
    def temperature(self) -> float:
        """The median temperature: that of a network which is trained on all subjects."""
        return float(np.median(self.temperatures))

    @property
    def errors(self) -> tuple[float, float]:
        """Expected calibration error before and after."""
        before, after = (
            expected_calibration_error(part["confidence"].to_numpy(), part["right"].to_numpy())
            for part in (self.before, self.after)
        )
        return before, after


def calibrate(runs: Sequence[tuple[pd.DataFrame, pd.DataFrame]]) -> Calibration:
    """Fit a temperature to the validation clips of each run, and apply it to the run's test clips.

    The test clips have no part in the temperature: a run's validation subjects are training subjects that were taken
    out.

    Args:
        runs: prediction tables of the validation clips and of the test clips of each run; at least one.
    """
    temperatures, before, after = [], [], []
    for validation, test in runs:
        classes = classes_of(validation)
        temperature = fit_temperature(_values(validation, classes), _numbers(validation, classes))
        temperatures.append(temperature)
        values = _values(test, classes)
        before.append(_answers(values, _numbers(test, classes)))
        after.append(_answers(with_temperature(values, temperature), _numbers(test, classes)))
    return Calibration(temperatures, pd.concat(before, ignore_index=True), pd.concat(after, ignore_index=True))


def _values(table: pd.DataFrame, classes: list[str]) -> np.ndarray:
    return table[[PROBABILITY + name for name in classes]].to_numpy(float)


def _numbers(table: pd.DataFrame, classes: list[str]) -> np.ndarray:
    return table["label"].map(classes.index).to_numpy()


def _answers(values: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"confidence": values.max(axis=1), "right": values.argmax(axis=1) == labels})
