"""The composite of the Micro-Expression Grand Challenge 2019 (See, Yap, Li, Hong and Wang, FG 2019)."""

import hashlib
import os
from pathlib import Path

import pandas as pd

from mefusion.data.records import clip_table
from mefusion.data.sources.casme2 import Casme2Source
from mefusion.data.sources.samm import SammSource
from mefusion.data.sources.smic import SmicSource


class Megc2019Source:
    """CASME II, SAMM and SMIC-HS together: with `labels=three` 442 clips of 68 subjects.

    Args:
        casme2, samm, smic: folders of the three downloads.
        name: of the data.
        frames: `raw` or `cropped`, of CASME II and SMIC.
        allow_partial: see `OfficialSource`.
    """

    faces = "face_alignment"
    official = ("casme2", "samm", "smic")

    def __init__(
        self,
        *,
        casme2: str,
        samm: str,
        smic: str,
        name: str = "megc2019",
        frames: str = "raw",
        allow_partial: bool = False,
    ):
        self.name, self.allow_partial = name, allow_partial
        self.root = Path(os.path.commonpath([Path(folder).absolute() for folder in (casme2, samm, smic)]))
        self.parts = (
            Casme2Source(root=casme2, frames=frames),
            SammSource(root=samm),
            SmicSource(root=smic, frames=frames),
        )

    def identity(self) -> dict[str, object]:
        """What tells this source's cache from another's."""
        return {"composite": [part.identity() for part in self.parts]}

    def digest(self) -> str | None:
        """Changes when one of the downloads' annotation does; None while one of them is not there."""
        digests = [part.digest() for part in self.parts]
        return None if None in digests else hashlib.sha256("".join(map(str, digests)).encode()).hexdigest()

    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """Clip table.

        Raises:
            MefusionError: one of the downloads lacks its table or frames, or they cannot be read.
        """
        return clip_table([row for part in self.parts for row in part.rows()], origin=self.root)
