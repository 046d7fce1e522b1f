"""Which action units an expression has, and how strong they are on each side of the face."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mefusion.synthetic.expressions import CONTROL_MIRROR, CORRECTED_UNITS, displacement

# emotion -> action units that occur together -> how often, as weights that need not sum to 1
MIXTURES: Mapping[str, Mapping[tuple[int, ...], float]] = {
    "negative": {
        (4,): 0.26, (4, 7): 0.16, (4, 9): 0.08, (4, 10): 0.04, (9, 10): 0.05, (9,): 0.04, (10,): 0.04, (14,): 0.12,
        (15,): 0.04, (17,): 0.05, (15, 17): 0.05, (7,): 0.05, (1, 4): 0.04, (4, 15): 0.02, (4, 14): 0.03,
        (24,): 0.02, (20,): 0.02, (4, 17): 0.03,
    },
    "positive": {(12,): 0.42, (6, 12): 0.40, (6,): 0.06, (10, 12): 0.04, (12, 14): 0.03, (12, 26): 0.05},
    "surprise": {
        (1, 2): 0.45, (1, 2, 5): 0.20, (5,): 0.08, (2,): 0.07, (1,): 0.04, (1, 2, 26): 0.10, (26,): 0.03,
        (5, 26): 0.03,
    },
}  # fmt: skip

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
        motion: [72, 2] (right, down) in face coordinates of the image, in the units of `CORRECTED_UNITS`.
    """

    action_units: tuple[int, ...]
    motion: np.ndarray


def draw_expression(emotion: str, rng: np.random.Generator) -> Expression:
    """Draw the action units of an emotion, each with an intensity of its own on either side.

    Args:
        emotion: a key of `MIXTURES`.
        rng: source of all random choices.
    """
    mixtures = MIXTURES[emotion]
    share = np.array(list(mixtures.values()))
    units = set(list(mixtures)[rng.choice(len(share), p=share / share.sum())])
    if rng.random() < EXTRA:
        units.add(int(rng.choice(EXTRA_UNITS)))
    motion = np.zeros((len(CONTROL_MIRROR), 2))
    for unit in sorted(units):
        left, right = _sides(unit, rng)
        motion += displacement(CORRECTED_UNITS[unit], left=left, right=right)
    return Expression(tuple(sorted(units)), motion)


def _sides(unit: int, rng: np.random.Generator) -> tuple[float, float]:
    """Intensity of a unit on the left and on the right of the image."""
    intensity, lean = rng.uniform(0.4, 1.3), np.clip(rng.normal(0, 0.25), -0.8, 0.8)
    left, right = intensity * (1 + lean), intensity * (1 - lean)
    if rng.random() < ONE_SIDED.get(unit, RARELY_ONE_SIDED):
        missing = 1 - rng.uniform(0.6, 1)
        return (left * missing, right) if rng.random() < 0.5 else (left, right * missing)
    return left, right
