"""Curves over time as SVG paths, small enough for hours of video."""

from dataclasses import dataclass

import numpy as np

FINE = 10
"""Units of a path for each unit (px) of its drawing, so that a path needs no decimals."""

_STEPS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
_TICKS = 11  # at most, on an axis


@dataclass(frozen=True)
class TimeAxis:
    """The time axis of a drawing.

    Attributes:
        start, end: times at its ends, s.
        left, width: where it lies in the drawing, px.
    """

    start: float
    end: float
    left: float
    width: float

    def x(self, time: np.ndarray | float) -> np.ndarray:
        """Place of a time, px; times outside the axis are moved to its ends."""
        inside = np.clip(time, self.start, self.end)
        return self.left + self.width * (inside - self.start) / (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Place, px, and label of round times."""
        most = self.width * _TICKS / 1020  # a narrow axis has room for fewer labels
        step = next((step for step in _STEPS if (self.end - self.start) / step <= max(most, 3)), 86400)
        numbers = np.arange(np.ceil(self.start / step - 1e-6), self.end / step + 1e-6)
        digits = 0 if step >= 1 else 2 if step == 0.05 else 1
        return [(round(float(self.x(number * step)), 1), clock(number * step, digits)) for number in numbers]


def clock(seconds: float, digits: int = 2) -> str:
    """A time as min:s, or h:min:s from an hour on."""
    whole = round(seconds * 10**digits)
    minutes, rest = divmod(whole, 60 * 10**digits)
    hours, minutes = divmod(minutes, 60)
    width = 2 + (digits > 0) + digits
    tail = f"{rest / 10**digits:0{width}.{digits}f}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def decimate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Choose the points of a curve that show: of those in a column of pixels, the lowest and the highest.

    Args:
        x: [n] px, ascending.
        y: [n], without NaN.

    Returns:
        Indices of the chosen points, ascending: at most two a pixel, and the first and the last.
    """
    columns = np.floor(x)
    order = np.lexsort((y, columns))
    lowest = np.flatnonzero(np.diff(columns[order], prepend=-1))  # the first of each column
    highest = np.append(lowest[1:] - 1, len(x) - 1)
    return np.unique(np.concatenate([order[lowest], order[highest], [0, len(x) - 1]]))


def runs(mask: np.ndarray) -> np.ndarray:
    """Stretches of a mask [n] that are true: [k, 2], the first index of each and the one after its last."""
    return np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)


def curve_path(x: np.ndarray, y: np.ndarray) -> str:
    """SVG path of a curve in `FINE` units a pixel: absolute starts, relative lines; broken where `y` is NaN.

    Args:
        x: [n] px, ascending.
        y: [n] px.
    """
    parts = []
    for start, end in runs(np.isfinite(y)):
        chosen = start + decimate(x[start:end], y[start:end])
        points = np.rint(FINE * np.column_stack([x[chosen], y[chosen]])).astype(int)
        steps = np.diff(points, axis=0).tolist() or [[0, 0]]  # a single frame is a dot
        lines = " ".join(f"{dx} {dy}" for dx, dy in steps)
        parts.append(f"M{points[0, 0]} {points[0, 1]}l{lines}")
    return "".join(parts)
