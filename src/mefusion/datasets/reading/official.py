"""Base class of the datasets that are read from their official download."""

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
    """An official download; it is only read, and never changed.

    Each dataset is a subclass in its own file. It sets class attributes, and overrides a method only where the dataset
    differs from the others.

    Attributes:
        dataset: name of the dataset, as in the clip table.
        fps: frames per second.
        subject_name: format of a subject's name, from the subject's number. Copies of a download spell subjects in
            different ways; the clip table always has this name.
        subject_folder: pattern of the names of subjects' folders.
        kinds: kind of frames (`data.frames`) -> a word, in lower case, in the name of a folder above the subjects.
        frames: the kind that is read by default.
        avoid: pattern of the names of folders with other data; None if there are none.
        tables: possible file names of the annotation table; the first that exists is read.
        columns: column of the annotation table -> name of its cells here: subject, clip, onset, apex, offset, emotion,
            and optionally action_units and objective_class.
        corrections: known errors of the annotation table.
        counts: official numbers of clips in each label scheme; empty if releases differ.

    Args:
        root: folder of the download.
        name: name of the data, for messages and folders; None means the dataset's name.
        frames: one of `kinds`; None means the class's default.
        allow_partial: whether clips may be missing; every result then says so.

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
        """Name of a subject in the clip table, from any spelling: `sub01`, `s1`, `s01`, `6` or `006`.

        Raises:
            MefusionError: the text does not end in a number.
        """
        number = re.search(r"(\d+)\s*$", text)
        if number is None:
            raise MefusionError(f"'{text}' is no subject of {cls.dataset}: its name must end in a number")
        return cls.subject_name.format(int(number[1]))

    def frame_tree(self) -> Path:
        """Folder whose children are the subjects' folders."""
        return frame_tree(self.root, self.subject_folder, frames=self.frames, kinds=self.kinds, avoid=self.avoid)

    def table_rows(self) -> Iterable[dict[str, str]]:
        """Cells of each row of the annotation table."""
        return read_table(self.table_file(), self.columns)

    def clip_id(self, cells: Mapping[str, str]) -> str:
        """Id of a clip, unique within its subject."""
        return cells["clip"]

    def clip_folder(self, tree: Path, subject: str, cells: Mapping[str, str]) -> Path:
        """Folder of a clip's frames; the cells are not corrected yet."""
        return descend(tree, subject, cells["clip"], root=self.root)

    def correct_by_rule(self, coding: Coding) -> None:
        """Correct errors of the annotation table that follow a rule; errors of single clips are in `corrections`."""

    def rows(self) -> Iterator[Mapping[str, object]]:
        """Make the rows of the clip table."""
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
        """Content that the rows are made from, for the digest."""
        return self.table_file().read_bytes()

    # Methods that use them; no dataset needs to override these.

    def table_file(self) -> Path:
        """Path of the annotation table.

        Raises:
            MefusionError: the download has no annotation table.
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
