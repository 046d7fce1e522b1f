"""The composite of the Micro-Expression Grand Challenge 2019 (See, Yap, Li, Hong and Wang, FG 2019)."""

from mefusion.datasets.casme2 import Casme2Source
from mefusion.datasets.pooled import PooledSource
from mefusion.datasets.samm import SammSource
from mefusion.datasets.smic import SmicSource


class Megc2019Source(PooledSource):
    """CASME II, SAMM and SMIC-HS together: with `labels=three` 442 clips of 68 subjects.

    Args:
        casme2, samm, smic: folders of the three downloads.
        name: of the data.
        frames: `raw` or `cropped`, of CASME II and SMIC.
        allow_partial: see `PooledSource`.
    """

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
        parts = (
            Casme2Source(root=casme2, frames=frames),
            SammSource(root=samm),
            SmicSource(root=smic, frames=frames),
        )
        super().__init__(sources={part.name: part for part in parts}, name=name, allow_partial=allow_partial)
