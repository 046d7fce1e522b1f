"""What both methods measure: curves over the unbroken pieces of a face's track."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from mefusion.clips.stream import Frame
from mefusion.faces.tracking import Face

LONGEST_GAP = 0.25  # s; nothing is interpolated over longer gaps between frames


class Curve(Protocol):
    """Values of one face over an unbroken piece of its track.

    Attributes:
        person, piece: see `mefusion.faces.tracking.Face`.
    """

    person: int
    piece: int

    def add(self, frame: Frame, face: Face) -> None:
        """Measure the face in the next frame."""

    def pieces(self, rate: float) -> Iterable[tuple[int, np.ndarray]]:
        """The curve at equal distances in time, see `at_equal_distances`."""
        ...


Begin = Callable[[Frame, Face], Curve]
"""Begins a curve with a face in a frame."""


def at_equal_distances(
    times: Sequence[float], values: Sequence[np.ndarray], rate: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Interpolate values at equal distances in time, without the longer gaps.

    Args:
        times: s, rising.
        values: of each time, arrays of one shape.
        rate: moments in a second.

    Yields:
        For each unbroken piece: number of its first moment, where moment m is at m / rate s; and values [n, ...].
    """
    at = np.array(times)
    if not len(at):
        return
    flat = np.array(values).reshape(len(at), -1)
    breaks = np.flatnonzero(np.diff(at) > LONGEST_GAP) + 1
    for part in np.split(np.arange(len(at)), breaks):
        first, last = int(np.ceil(at[part[0]] * rate - 1e-6)), int(at[part[-1]] * rate + 1e-6)
        if last > first:
            moments = np.arange(first, last + 1) / rate
            columns = [np.interp(moments, at[part], column) for column in flat[part].T]
            yield first, np.stack(columns, axis=1).reshape(len(moments), *np.shape(values[0]))
