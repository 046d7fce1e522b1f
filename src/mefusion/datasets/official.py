"""What the sources of official downloads share."""

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from mefusion.clips.table import clip_table
from mefusion.common.errors import MefusionError
from mefusion.datasets.base import Source
from mefusion.datasets.folders import find_file
from mefusion.datasets.tables import CORRECTIONS


class OfficialSource(Source):
    """Clips of an official download, which is read and never written to.

    Subclasses say which rows there are.

    Args:
        root: folder of the download.
        name: of the data, for messages and folders.
        allow_partial: whether to go on where clips are missing; every result then says so.
        options: what else tells this source's cache from another's.
    """

    tables: tuple[str, ...] = ()  # names of the annotation table, the best first
    subject_folder: re.Pattern[str]  # names of subjects' folders

    def __init__(self, *, root: str, name: str, allow_partial: bool, options: Mapping[str, object]):
        self.name, self.root, self.allow_partial = name, Path(root), allow_partial
        self.options = dict(options)

    @abstractmethod
    def rows(self) -> Iterable[Mapping[str, object]]:
        """Rows of the clip table."""

    def table_file(self) -> Path:
        """The annotation table.

        Raises:
            MefusionError: the download has none.
        """
        return find_file(self.root, self.tables, stop=self.subject_folder)

    def annotation(self) -> bytes:
        """What the rows are made from, for the digest."""
        return self.table_file().read_bytes()

    def identity(self) -> dict[str, object]:
        """See `Source.identity`."""
        return {"official": list(self.official), "root": str(self.root.resolve()), **self.options}

    def digest(self) -> str | None:
        """See `Source.digest`; the corrections count too."""
        try:
            return hashlib.sha256(self.annotation() + CORRECTIONS.read_bytes()).hexdigest()
        except MefusionError:
            return None

    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """See `Source.table`."""
        return clip_table(self.rows(), origin=self.root, root=self.root)
