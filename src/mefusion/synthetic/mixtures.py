"""Which action units an expression has, and how strong they are on each side of the face."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from mefusion.synthetic.expressions import ACTION_UNITS, CONTROL_MIRROR, displacement

Mixture = Mapping[tuple[int, ...], float]
"""Action units that occur together -> how often, as weights that need not sum to 1."""

_NEGATIVE: Mixture = {
    (4,): 0.26, (4, 7): 0.16, (4, 9): 0.08, (4, 10): 0.04, (9, 10): 0.05, (9,): 0.04, (10,): 0.04, (14,): 0.12,
    (15,): 0.04, (17,): 0.05, (15, 17): 0.05, (7,): 0.05, (1, 4): 0.04, (4, 15): 0.02, (4, 14): 0.03,
    (24,): 0.02, (20,): 0.02, (4, 17): 0.03,
}  # fmt: skip
_POSITIVE: Mixture = {(12,): 0.42, (6, 12): 0.40, (6,): 0.06, (10, 12): 0.04, (12, 14): 0.03, (12, 26): 0.05}
_SURPRISE: Mixture = {
    (1, 2): 0.45, (1, 2, 5): 0.20, (5,): 0.08, (2,): 0.07, (1,): 0.04, (1, 2, 26): 0.10, (26,): 0.03, (5, 26): 0.03,
}  # fmt: skip

MIXTURES: Mapping[str, Mapping[str, Mixture]] = {
    "three": {"negative": _NEGATIVE, "positive": _POSITIVE, "surprise": _SURPRISE},
    "five": {
        "happiness": _POSITIVE,
        "surprise": _SURPRISE,
        "disgust": {(9,): 0.25, (4, 9): 0.25, (4, 7, 9): 0.10, (9, 10): 0.20, (10,): 0.10, (4, 10): 0.10},
        "repression": {(15,): 0.25, (15, 17): 0.35, (17,): 0.15, (15, 24): 0.10, (24,): 0.05, (17, 24): 0.10},
        "others": {(14,): 0.40, (4, 14): 0.30, (7, 14): 0.15, (4, 7, 14): 0.15},
    },
    "seven": {
        "happiness": _POSITIVE,
        "surprise": _SURPRISE,
        "disgust": {(9,): 0.30, (9, 10): 0.45, (10,): 0.05, (9, 17): 0.10, (9, 10, 17): 0.10},
        "fear": {(1, 2, 4, 5, 20): 0.25, (1, 2, 4, 20): 0.20, (1, 4, 5, 20): 0.20, (1, 4, 20): 0.25, (5, 20): 0.10},
        "anger": {(4, 7, 23): 0.35, (4, 23): 0.20, (4, 7): 0.15, (4, 7, 24): 0.15, (4, 24): 0.10, (23,): 0.05},
        "sadness": {(1, 4, 15): 0.35, (1, 15): 0.25, (1, 4, 15, 17): 0.15, (1, 15, 17): 0.15, (1, 4): 0.10},
        "others": {(14,): 0.70, (10, 14): 0.30},
    },
}
"""Scheme -> emotion -> its mixture of action units."""

EXTRA_UNITS, EXTRA = (4, 7, 14, 17, 24, 5), 0.1
"""One expression in ten has one more of these units."""

ONE_SIDED: Mapping[int, float] = {10: 0.3, 12: 0.3, 14: 0.5, 15: 0.2, 2: 0.2, 9: 0.1, 1: 0.1}
"""Action unit -> probability that it is much weaker on one side; of the others `RARELY_ONE_SIDED`."""
RARELY_ONE_SIDED = 0.05


@dataclass(frozen=True)
class Expression:
    """Action units of an expression, and the displacement of each control point.

    Attributes:
        action_units: in ascending order.
        motion: [72, 2] (right, down) in face coordinates of the image, in the units of `ACTION_UNITS`.
    """

    action_units: tuple[int, ...]
    motion: np.ndarray


def draw_expression(mixture: Mixture, rng: np.random.Generator) -> Expression:
    """Draw the action units of an emotion, each with an intensity of its own on either side.

    Args:
        mixture: of the emotion, see `MIXTURES`.
        rng: source of all random choices.
    """
    share = np.array(list(mixture.values()))
    units = set(list(mixture)[rng.choice(len(share), p=share / share.sum())])
    if rng.random() < EXTRA:
        units.add(int(rng.choice(EXTRA_UNITS)))
    return express(units, rng)


def express(units: Collection[int], rng: np.random.Generator) -> Expression:
    """An expression of these action units, each with an intensity of its own on either side."""
    motion = np.zeros((len(CONTROL_MIRROR), 2))
    for unit in sorted(units):
        left, right = _sides(unit, rng)
        motion += displacement(ACTION_UNITS[unit], left=left, right=right)
    return Expression(tuple(sorted(units)), motion)


def _sides(unit: int, rng: np.random.Generator) -> tuple[float, float]:
    """Intensity of a unit on the left and on the right of the image."""
    intensity, lean = rng.uniform(0.4, 1.3), np.clip(rng.normal(0, 0.25), -0.8, 0.8)
    left, right = intensity * (1 + lean), intensity * (1 - lean)
    if rng.random() < ONE_SIDED.get(unit, RARELY_ONE_SIDED):
        missing = 1 - rng.uniform(0.6, 1)
        return (left * missing, right) if rng.random() < 0.5 else (left, right * missing)
    return left, right
