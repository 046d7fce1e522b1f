"""The interface of all sources."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mefusion.datasets.reading.counts import CountsByScheme


class Source(ABC):
    """Where clips come from.

    Attributes:
        name: of the data, for messages and folders.
        root: folder of the files.
        faces: backend where none is named.
        official: dataset -> its official counts, for the datasets that are read from their official download.
        allow_partial: whether to go on where clips of those are missing; every result then says so.
    """

    name: str
    root: Path
    faces: str = "face_alignment"
    official: Mapping[str, CountsByScheme] = {}
    allow_partial: bool = False

    @property
    def required_counts(self) -> Mapping[str, CountsByScheme]:
        """The part of `official` of which no clip may be missing."""
        return {} if self.allow_partial else self.official

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """What this source's cache folder is named by."""

    @abstractmethod
    def digest(self) -> str | None:
        """Changes when the list of clips does; None while it is not there."""

    @abstractmethod
    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """Clip table.

        Args:
            workers: processes that may help to make it; None is one a core.

        Raises:
            MefusionError: the clips cannot be listed; says which file is missing or wrong.
        """
