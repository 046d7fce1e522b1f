"""Interface of the sets of long videos, in which expressions are to be spotted; and what their downloads share."""

import bisect
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mefusion.clips.video import VIDEOS, list_frames
from mefusion.common.errors import MefusionError
from mefusion.datasets.reading import facs
from mefusion.datasets.reading.folders import require_inside, walk
from mefusion.evaluation.spotting import kind_of_duration

RECORDING_DTYPES: Mapping[str, str] = {
    "dataset": "string",
    "subject": "string",  # with its dataset, as in "samm_long/006"
    "recording": "string",  # unique within the dataset
    "path": "string",  # a video file or a folder of frames
    "fps": "Float64",
    "frames": "Int64",  # null if the number is not known
}
EVENT_DTYPES: Mapping[str, str] = {
    "recording": "string",
    "kind": "string",  # `micro` or `macro`, as the dataset labels it; by the duration if it does not
    "onset": "Int64",  # index of the frame in the recording, from 0
    "apex": "Int64",
    "offset": "Int64",
    "emotion": "string",  # in lower case
    "action_units": "string",  # as `mefusion.datasets.reading.facs` writes them
}


class RecordingSource(ABC):
    """A set of long videos whose expressions are known.

    Attributes:
        name: name of the set, for messages and folders.
        root: folder of the files.
        clip_dataset: name of the dataset of cut clips that shows the same people, see `clip_subject`.
        problems: a sentence for each expression or recording that could not be used, or not as it is listed; known
            after `recordings`.
    """

    name: str
    root: Path
    clip_dataset: str
    problems: list[str]

    @abstractmethod
    def recordings(self, *, workers: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """List the recordings and their expressions.

        Args:
            workers: number of processes to use, if the set can use several; None means one for each core.

        Returns:
            The recordings, with the columns of `RECORDING_DTYPES`, also those without expressions; and the expressions,
            with the columns of `EVENT_DTYPES`.

        Raises:
            MefusionError: the set cannot be read; the message names the file that is missing or wrong.
        """

    def clip_subject(self, subject: str) -> str:
        """The same person as a subject of `clip_dataset`: `samm_long/006` is `samm/006`.

        The two downloads of a dataset have the same names for a person, after the dataset's name.
        """
        return f"{self.clip_dataset}/{subject.partition('/')[2]}"


@dataclass(frozen=True)
class Video:
    """One recording of a download: its subject, as the dataset's clip table has it, its name and its path."""

    subject: str
    recording: str
    path: Path


@dataclass(frozen=True)
class CodedExpression:
    """One row of an annotation table: texts, with the numbers of the frames as the table has them.

    Attributes:
        recording: name of the recording, None if the download has none that the row fits.
        row: what the row is called in messages.
        kind: empty if the table has none.
        onset, apex, offset, emotion, action_units: the cells.
    """

    recording: str | None
    row: str
    kind: str
    onset: str
    apex: str
    offset: str
    emotion: str = ""
    action_units: str = ""


class OfficialRecordings(RecordingSource):
    """The official download of a set of long videos; it is only read, and never changed.

    Attributes:
        dataset: name of the dataset.
        fps: frames per second.
        first_frame: number in the annotation table of the first frame of a video file. In a folder of frames, the
            files' names have the table's numbers.
        official: what the whole download has: `recordings`, `micro`, `macro`.

    Args:
        root: folder of the download.
        name: name of the set, for messages and folders; None means the dataset's name.
    """

    dataset: str
    fps: float
    first_frame: int = 1
    official: Mapping[str, int] = {}

    def __init__(self, *, root: str, name: str | None = None):
        self.name, self.root, self.problems = name or self.dataset, Path(root), []

    @abstractmethod
    def videos(self) -> Iterable[Video]:
        """All recordings of the download."""

    @abstractmethod
    def coded(self, videos: Sequence[Video]) -> Iterable[CodedExpression]:
        """The rows of the annotation tables, with their known errors corrected."""

    def recordings(self, *, workers: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """See `RecordingSource.recordings`."""
        self.problems = []
        found = sorted(self.videos(), key=lambda video: video.recording)
        if not found:
            raise MefusionError(
                f"{self.root} has no long videos: data.root must be the folder of the official download"
            )
        numbers = {video.recording: self._numbers(video) for video in found}
        videos = [video for video in found if numbers[video.recording] != []]
        events, rows = [], []
        for video in videos:
            present = numbers[video.recording]
            subject, frames = f"{self.dataset}/{video.subject}", None if present is None else len(present)
            rows.append((self.dataset, subject, video.recording, str(video.path), self.fps, frames))
        for coded in self.coded(videos):
            try:
                events.append(self._event(coded, numbers))
            except MefusionError as error:
                self._told(coded, f"{error}; it is left out")
        table = pd.DataFrame(rows, columns=list(RECORDING_DTYPES)).astype(dict(RECORDING_DTYPES))
        expressions = pd.DataFrame(events, columns=list(EVENT_DTYPES)).astype(dict(EVENT_DTYPES))
        self._compare_with_official(table, expressions)
        return table, expressions.sort_values(["recording", "onset"], ignore_index=True)

    def _numbers(self, video: Video) -> list[int] | None:
        """Numbers of the frames of a folder, empty if it cannot be read; None for a video file."""
        if not video.path.is_dir():
            return None
        try:
            return list(list_frames(video.path))
        except MefusionError as error:
            self.problems.append(str(error))
            return []

    def _event(self, coded: CodedExpression, numbers: Mapping[str, list[int] | None]) -> dict[str, object]:
        """A row of the table of expressions.

        Raises:
            MefusionError: it cannot be used.
        """
        if coded.recording is None or numbers.get(coded.recording, []) == []:
            raise MefusionError(f"the download has no recording {coded.recording or 'of it'}")
        onset, apex, offset = (frame_number(cell) for cell in (coded.onset, coded.apex, coded.offset))
        if onset is None or offset is None:
            raise MefusionError(f"its onset is {coded.onset!r} and its offset {coded.offset!r}")
        if offset < onset:
            raise MefusionError(f"its offset {offset} lies before its onset {onset}")
        if apex is not None and not onset <= apex <= offset:
            self._told(coded, f"its apex {apex} is not in {onset}..{offset}, and is treated as unknown")
            apex = None
        present = numbers[coded.recording]
        first, last = self._index(present, onset, "left"), self._index(present, offset, "right")
        if first < 0 or last < first:
            raise MefusionError(f"none of its frames {onset} to {offset} is there")
        if present and offset > present[-1]:
            self._told(coded, f"its offset {offset} lies past the last frame {present[-1]}, where it is taken to end")
        return {
            "recording": coded.recording,
            "kind": self._kind(coded, first, last),
            "onset": first,
            "apex": None if apex is None else min(max(self._index(present, apex, "right"), first), last),
            "offset": last,
            "emotion": coded.emotion.strip().lower() or None,
            "action_units": facs.columns(coded.action_units)["action_units"],
        }

    def _index(self, present: Sequence[int] | None, number: int, side: str) -> int:
        """Index of a frame; of a missing one the next (`left`) or the previous one (`right`)."""
        if present is None:
            return number - self.first_frame
        return bisect.bisect_left(present, number) if side == "left" else bisect.bisect_right(present, number) - 1

    def _kind(self, coded: CodedExpression, first: int, last: int) -> str:
        for kind in ("micro", "macro"):
            if coded.kind.strip().lower().startswith(kind):
                return kind
        by_duration = kind_of_duration((last - first + 1) / self.fps)
        if coded.kind:
            self._told(coded, f"its type {coded.kind!r} is neither micro nor macro: {by_duration} by its duration")
        return by_duration

    def _told(self, coded: CodedExpression, what: str) -> None:
        self.problems.append(f"{self.dataset}: {coded.row}: {what}")

    def _compare_with_official(self, recordings: pd.DataFrame, events: pd.DataFrame) -> None:
        found = {"recordings": len(recordings), **events["kind"].value_counts().to_dict()}
        self.problems += [
            f"{self.dataset}: {found.get(what, 0)} {what} where the official download has {expected}"
            for what, expected in self.official.items()
            if found.get(what, 0) != expected
        ]


def frame_number(cell: str) -> int | None:
    """A frame's number in a cell, which may be written as `12.0`; None for -1, a text or nothing."""
    found = re.fullmatch(r"(\d{1,9})(\.0*)?", cell.strip())
    return int(found[1]) if found else None


def find_recordings(root: Path, name: re.Pattern[str], *, avoid: re.Pattern[str] | None = None) -> Iterator[Path]:
    """Find the recordings of a download by their names: folders of frames, or video files where there is no folder.

    Args:
        root: folder of the download.
        name: pattern of their names, of files without the suffix.
        avoid: pattern of the names of folders with other data.

    Raises:
        MefusionError: `root` is no folder, or a link leads out of it.
    """
    found: dict[str, Path] = {}
    files: dict[str, Path] = {}
    for folder in walk(root, stop=name, avoid=avoid):
        for child in sorted(folder.iterdir()):
            if child.suffix.lower() in VIDEOS and name.fullmatch(child.stem):
                files.setdefault(child.stem, child)
            elif name.fullmatch(child.name) and child.is_dir():
                again = child / child.name
                found.setdefault(child.name, again if again.is_dir() else child)
    for path in (files | found).values():
        yield require_inside(path, root)
