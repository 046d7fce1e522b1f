"""The base class of official downloads: the facts that each dataset states, and the reading that all share."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from mefusion.clips.table import clip_table
from mefusion.common.errors import MefusionError
from mefusion.common.files import resolved
from mefusion.datasets.reading.counts import CountsByScheme
from mefusion.datasets.reading.folders import descend, find_file, frame_tree
from mefusion.datasets.reading.source import Source
from mefusion.datasets.reading.tables import Coding, Correction, read_table


class OfficialSource(Source):
    """An official download, which is read and never written to.

    Each dataset is a subclass in its own file. It states its facts as class attributes, and overrides a method only
    where the dataset differs from the others.

    Attributes:
        dataset: its name, as in the clip table.
        fps: frames a second.
        subject_name: format of a subject's name, from the subject's number. Copies spell subjects differently; a
            clip has the same name whatever copy it is from.
        subject_folder: pattern of the names of subjects' folders.
        kinds: kind of frames (`data.frames`) -> a word, in lower case, in the name of a folder above the subjects.
        frames: the kind that is read by default.
        avoid: pattern of the names of folders that hold other data; None where there are none.
        tables: file names of the annotation table, the best first.
        columns: column of the annotation table -> cell that is read from it: subject, clip, onset, apex, offset,
            emotion and perhaps action_units, objective_class.
        corrections: known errors of the annotation table.
        counts: what the whole download has under each label scheme; empty where its releases differ.

    Args:
        root: folder of the download.
        name: of the data, for messages and folders; None is the dataset's.
        frames: one of `kinds`; None is the class's own.
        allow_partial: whether to go on where clips are missing; every result then says so.

    Raises:
        MefusionError: the dataset has no such kind of frames.
    """

    dataset: str
    fps: float
    subject_name: str
    subject_folder: re.Pattern[str]
    kinds: Mapping[str, str]
    frames: str = "raw"
    avoid: re.Pattern[str] | None = None
    tables: Sequence[str]
    columns: Mapping[str, str]
    corrections: Sequence[Correction] = ()
    counts: CountsByScheme = {}

    def __init__(self, *, root: str, name: str | None = None, frames: str | None = None, allow_partial: bool = False):
        self.name, self.root, self.allow_partial = name or self.dataset, Path(root), allow_partial
        self.frames = frames or self.frames
        self.official = {self.dataset: self.counts}
        if self.frames not in self.kinds:
            raise MefusionError(f"data.frames={self.frames}: choose from {', '.join(self.kinds)}")

    # Methods that a dataset may override.

    @classmethod
    def subject(cls, text: str) -> str:
        """A subject's one name from `sub01`, `s1`, `s01`, `6` or `006`.

        Raises:
            MefusionError: the text does not end in a number.
        """
        number = re.search(r"(\d+)\s*$", text)
        if number is None:
            raise MefusionError(f"'{text}' is no subject of {cls.dataset}: its subjects are numbered")
        return cls.subject_name.format(int(number[1]))

    def frame_tree(self) -> Path:
        """Folder whose children are the subjects' folders."""
        return frame_tree(self.root, self.subject_folder, frames=self.frames, kinds=self.kinds, avoid=self.avoid)

    def table_rows(self) -> Iterable[dict[str, str]]:
        """Cells of each row of the annotation table."""
        return read_table(self.table_file(), self.columns)

    def clip_id(self, cells: Mapping[str, str]) -> str:
        """Name of a clip, unique in its subject."""
        return cells["clip"]

    def clip_folder(self, tree: Path, subject: str, cells: Mapping[str, str]) -> Path:
        """Folder of a clip's frames; the cells are not corrected yet."""
        return descend(tree, subject, cells["clip"], root=self.root)

    def correct_by_rule(self, coding: Coding) -> None:
        """Correct errors of the annotation table that follow a rule; those of single clips are in `corrections`."""

    def rows(self) -> Iterator[Mapping[str, object]]:
        """Rows of the clip table."""
        tree = self.frame_tree()
        for cells in self.table_rows():
            subject, clip_id = self.subject(cells["subject"]), self.clip_id(cells)
            folder, coding = self.clip_folder(tree, subject, cells), Coding(cells)
            coding.correct(known for known in self.corrections if known.clip == f"{subject}/{clip_id}")
            self.correct_by_rule(coding)
            yield {
                "dataset": self.dataset,
                "subject": f"{self.dataset}/{subject}",
                "clip_id": clip_id,
                "path": str(folder),
                "fps": self.fps,
                **coding.columns(),
            }

    def annotation(self) -> bytes:
        """What the rows are made from, for the digest."""
        return self.table_file().read_bytes()

    # What follows from them.

    def table_file(self) -> Path:
        """The annotation table.

        Raises:
            MefusionError: the download has none.
        """
        return find_file(self.root, self.tables, stop=self.subject_folder)

    def identity(self) -> dict[str, object]:
        """See `Source.identity`."""
        frames = {"frames": self.frames} if len(self.kinds) > 1 else {}
        return {"official": list(self.official), "root": str(resolved(self.root)), **frames}

    def digest(self) -> str | None:
        """See `Source.digest`; the corrections count too."""
        try:
            return hashlib.sha256(self.annotation() + repr(self.corrections).encode()).hexdigest()
        except MefusionError:
            return None

    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """See `Source.table`."""
        return clip_table(self.rows(), origin=self.root, root=self.root)
