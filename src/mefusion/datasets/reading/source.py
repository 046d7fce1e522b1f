"""Interface of all data sources."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mefusion.datasets.reading.counts import CountsByScheme


class Source(ABC):
    """A data source: lists clips, and says where their files are.

    Attributes:
        name: name of the data, for messages and folders.
        root: folder of the files.
        faces: face backend that is used by default.
        official: dataset -> its official counts, for the datasets that are read from their official download.
        allow_partial: whether clips of these datasets may be missing; every result then says so.
    """

    name: str
    root: Path
    faces: str = "face_alignment"
    official: Mapping[str, CountsByScheme] = {}
    allow_partial: bool = False

    @property
    def required_counts(self) -> Mapping[str, CountsByScheme]:
        """Official counts that the clips must have: `official`, or nothing with `allow_partial`."""
        return {} if self.allow_partial else self.official

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """Facts that identify the source; the name of its cache folder has a hash of them."""

    @abstractmethod
    def digest(self) -> str | None:
        """Hash of the list of clips; None if the list does not exist yet."""

    @abstractmethod
    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """Make the clip table.

        Args:
            workers: number of processes to use, if the source can use several; None means one for each core.

        Raises:
            MefusionError: the clips cannot be listed; the message names the file that is missing or wrong.
        """
