"""The faces of a video as tracks: each is one face of one scene, without longer gaps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mefusion.annotation.extraction.media import CutFinder
from mefusion.annotation.extraction.segments import Span
from mefusion.clips.stream import Stream
from mefusion.common.files import replacing
from mefusion.faces.detectors import make_backend
from mefusion.faces.identity import People, descriptor
from mefusion.faces.tracking import SAME_FACE, Face, FaceTracker, overlap

DETECT_EVERY = 0.2  # s
MISSES = 5  # detections in a row that may miss a face
LEAST = 3  # detections of a track; less may be no face
EMBED_EVERY = 1.0  # s, in speech
BLOCK = 2000  # rows that are written together

BOX = ("left", "top", "right", "bottom")
LANDMARKS = (*(f"x_{n}" for n in range(68)), *(f"y_{n}" for n in range(68)))
EMBEDDING = tuple(f"d_{n}" for n in range(128))
TRACK_COLUMNS = {
    "track": "int32",
    "scene": "int32",
    "frame": "int64",
    "time": "float64",
    **dict.fromkeys(BOX, "float32"),
    "detected": "bool",
    **dict.fromkeys(LANDMARKS, "float32"),
}
"""Columns of `tracks.parquet`: a row for each frame and face, in the order of time; times are s, places px."""


@dataclass
class Followed:
    """What became of the faces of a video.

    Attributes:
        cuts: times of the first frames of the second and later scenes, s.
        frames: number of frames.
        end: when the last frame ends, s.
        embeddings: rows of piece, time, and 128 numbers.
    """

    cuts: list[float]
    frames: int
    end: float
    embeddings: list[tuple[int, float, np.ndarray]] = field(default_factory=list)


def follow_faces(
    stream: Stream, file: Path, speech: list[Span], *, say: Callable[[float], None] = lambda seconds: None
) -> Followed:
    """Follow all faces of a video and write their rows with `TRACK_COLUMNS`; `track` is the piece, `scene` is 0.

    Faces are described by 128 numbers about once a second while there is speech.

    Args:
        stream: the video.
        file: is written.
        speech: stretches of speech in the order of time.
        say: is called with the time of each frame, s.
    """
    finder = make_backend("dlib")
    assert finder is not None
    tracker = FaceTracker(finder, People(), "all", detect_every=DETECT_EVERY, misses=MISSES)
    cuts, followed, due = CutFinder(), Followed([], 0, 0.0), dict[int, float]()
    ends = np.array([end for _, end in speech])
    with _RowWriter(file) as rows:
        for frame in stream.frames():
            cuts.update(frame)
            place = int(np.searchsorted(ends, frame.time)) if len(ends) else 0
            speaking = place < len(speech) and speech[place][0] <= frame.time
            for face in tracker.update(frame):
                rows.add(frame.number, frame.time, face)
                if speaking and frame.time >= due.get(face.piece, -np.inf):
                    due[face.piece] = frame.time + EMBED_EVERY
                    found = descriptor(frame.image, face.landmarks).astype(np.float32)
                    followed.embeddings.append((face.piece, frame.time, found))
            followed.frames = frame.number + 1
            say(frame.time)
    times = cuts.times
    followed.cuts = cuts.cuts()
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.04
    followed.end = times[-1] + step if times else 0.0
    return followed


def write_tracks(pieces_file: Path, folder: Path, followed: Followed) -> dict[int, Span]:
    """Make tracks of pieces: `tracks.parquet` and `embeddings.parquet`.

    A piece is divided where the scene changes. Pieces of a scene that follow each other within a second at the same
    place are one track. A track has to be detected three times at least.

    Args:
        pieces_file: what `follow_faces` wrote.
        folder: of the two files.
        followed: what it gave.

    Returns:
        For each track, when it is seen first and last, s.
    """
    narrow = pq.read_table(pieces_file, columns=["track", "time", *BOX, "detected"]).to_pandas()
    narrow["scene"] = np.searchsorted(followed.cuts, narrow["time"].to_numpy() + 1e-6)
    numbers = _joined(narrow)
    keys = pd.MultiIndex.from_frame(narrow[["track", "scene"]])
    narrow["number"] = [numbers[key] for key in keys]
    detections = narrow.groupby("number")["detected"].sum()
    kept = [*detections.index[detections >= LEAST]]
    final = {number: place + 1 for place, number in enumerate(kept)}
    narrow["number"] = narrow["number"].map(final).fillna(0).astype("int32")
    _rewrite(pieces_file, folder / "tracks.parquet", narrow)
    _write_embeddings(folder / "embeddings.parquet", followed, numbers, final)
    spans = narrow[narrow["number"] > 0].groupby("number")["time"].agg(["min", "max"])
    return {int(number): (float(first), float(last)) for number, first, last in spans.itertuples()}


def read_track_rows(file: Path, start: float, end: float, *, track: int | None = None) -> pd.DataFrame:
    """Rows of `tracks.parquet` from `start` to before `end` s, of all tracks or of one."""
    wanted = [("time", ">=", start - 1e-6), ("time", "<", end - 1e-6)]
    if track is not None:
        wanted.append(("track", "==", track))
    return pq.read_table(file, filters=wanted).to_pandas()


def landmarks_of(rows: pd.DataFrame) -> np.ndarray:
    """Landmarks [n, 68, 2] px of rows of `tracks.parquet`."""
    return rows[[*LANDMARKS]].to_numpy(np.float64).reshape(-1, 2, 68).transpose(0, 2, 1)


def _joined(rows: pd.DataFrame) -> dict[tuple[int, int], int]:
    """Number of the track of each piece and scene."""
    parts = []
    for key, part in rows.groupby(["track", "scene"]):
        boxes = part[[*BOX]].to_numpy(float)
        parts.append((key, float(part["time"].iloc[0]), float(part["time"].iloc[-1]), boxes[0], boxes[-1]))
    numbers: dict[tuple[int, int], int] = {}
    ended: list[tuple[int, int, float, np.ndarray]] = []  # track, scene, end and last box of each track so far
    for key, start, end, first, last in sorted(parts, key=lambda part: (part[1], part[0])):
        near = [
            each
            for each in ended
            if each[1] == key[1]
            and 0 < start - each[2] <= MISSES * DETECT_EVERY
            and overlap(tuple(each[3]), tuple(first)) > SAME_FACE
        ]
        before = max(near, key=lambda each: overlap(tuple(each[3]), tuple(first)), default=None)
        number = before[0] if before else len({*numbers.values()})
        ended = [each for each in ended if each is not before and start - each[2] <= MISSES * DETECT_EVERY]
        ended.append((number, key[1], end, last))
        numbers[key] = number
    return numbers


def _rewrite(source: Path, target: Path, narrow: pd.DataFrame) -> None:
    """Copy rows in blocks with their final tracks and scenes, without those of no track."""
    schema = _schema()
    with replacing(target) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:
        start = 0
        for batch in pq.ParquetFile(source).iter_batches(batch_size=BLOCK):
            own = narrow.iloc[start : start + len(batch)]
            start += len(batch)
            table = batch.to_pandas()
            table["track"], table["scene"] = own["number"].to_numpy(), own["scene"].to_numpy()
            table = table[table["track"] > 0].astype(TRACK_COLUMNS)
            if len(table):
                writer.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False))


def _write_embeddings(
    file: Path, followed: Followed, numbers: dict[tuple[int, int], int], final: dict[int, int]
) -> None:
    rows = []
    for piece, time, values in followed.embeddings:
        scene = int(np.searchsorted(followed.cuts, time + 1e-6))
        if track := final.get(numbers[piece, scene]):
            rows.append((track, time, *values.tolist()))
    table = pd.DataFrame(rows, columns=["track", "time", *EMBEDDING])
    types = {"track": "int32", "time": "float64", **dict.fromkeys(EMBEDDING, "float32")}
    with replacing(file) as temporary:
        table.astype(types).to_parquet(temporary, index=False, write_page_checksum=True)


def _schema() -> pa.Schema:
    return pa.schema(
        [(name, pa.bool_() if kind == "bool" else getattr(pa, kind)()) for name, kind in TRACK_COLUMNS.items()]
    )


class _RowWriter:
    """Writes rows of faces in blocks, so that memory does not grow with the video."""

    def __init__(self, file: Path):
        self._writer, self._rows = pq.ParquetWriter(file, _schema()), list[tuple]()

    def __enter__(self) -> "_RowWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._writer.close()

    def add(self, number: int, time: float, face: Face) -> None:
        points = face.landmarks
        self._rows.append((face.piece, 0, number, time, *face.box, face.detected, *points[:, 0], *points[:, 1]))
        if len(self._rows) >= BLOCK:
            self._write()

    def _write(self) -> None:
        if self._rows:
            table = pd.DataFrame(self._rows, columns=[*TRACK_COLUMNS]).astype(TRACK_COLUMNS)
            self._writer.write_table(pa.Table.from_pandas(table, schema=_schema(), preserve_index=False))
            self._rows = []
