"""The frames table of a spotted recording, in the parts that its page and its overlay need.

The table has a row a frame and track. That of a long video does not fit into memory with its landmarks: only the curves
are loaded whole; landmarks come for some frames, or one frame after another.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

_LANDMARKS = [f"{axis}_{i}" for i in range(68) for axis in "xy"]
_BOX = ["left", "top", "right", "bottom"]
_BATCH = 4096  # rows, of 0.6 kB


class Face(NamedTuple):
    """A face in a frame.

    Attributes:
        frame: index of the frame.
        track: number of the track.
        box: left, top, right, bottom, px.
        landmarks: [68, 2] px, iBUG order.
    """

    frame: int
    track: int
    box: np.ndarray
    landmarks: np.ndarray


def load_columns(path: Path, columns: Collection[str]) -> pd.DataFrame:
    """Frame, time and track of all rows, and other columns."""
    return pq.read_table(path, columns=["frame", "time", "track", *columns]).to_pandas()


def load_faces(path: Path, frames: Collection[int]) -> Iterator[Face]:
    """The faces in some frames, in the table's order."""
    # A set is sorted into a list, since pyarrow takes no set of numpy's integers.
    table = pq.read_table(
        path, columns=["frame", "track", *_BOX, *_LANDMARKS], filters=[("frame", "in", sorted(map(int, frames)))]
    )
    return _faces(table.to_pandas())


def iterate_faces(path: Path) -> Iterator[Face]:
    """The faces in all frames, in the table's order, in constant memory."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, columns=["frame", "track", *_BOX, *_LANDMARKS]):
            yield from _faces(batch.to_pandas())


def _faces(table: pd.DataFrame) -> Iterator[Face]:
    table = table[table["track"].notna()]
    boxes = table[_BOX].to_numpy(np.float64)
    landmarks = table[_LANDMARKS].to_numpy(np.float64).reshape(-1, 68, 2)
    numbers = (table[name].astype(int).tolist() for name in ("frame", "track"))
    yield from map(Face, *numbers, boxes, landmarks)
