"""Pool several data sources into one."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mefusion.clips.table import KEY
from mefusion.common.errors import MefusionError
from mefusion.datasets.reading.counts import CountsByScheme
from mefusion.datasets.reading.source import Source


class PooledSource(Source):
    """The clips of several sources together; subjects keep the name of their dataset, so that they stay distinct.

    Args:
        sources: the sources, by names that the user chooses.
        name: name of the data.
        allow_partial: whether clips may be missing in every source; each source also has this setting for itself.

    Raises:
        MefusionError: there is no source.
    """

    def __init__(
        self, *, sources: Mapping[str, Source] | None = None, name: str = "pooled", allow_partial: bool = False
    ):
        if not sources:
            raise MefusionError(f"data={name} has no sources: list them, as in data/sources=[casme2,samm]")
        self.name, self.allow_partial = name, allow_partial
        self.sources = dict(sorted(sources.items()))
        parts = self.sources.values()
        self.official = {dataset: counts for part in parts for dataset, counts in part.official.items()}
        self.root = Path(os.path.commonpath([part.root.absolute() for part in parts]))

    @property
    def required_counts(self) -> Mapping[str, CountsByScheme]:
        """See `Source.required_counts`; if one source may be partial, the others are still checked."""
        parts = () if self.allow_partial else self.sources.values()
        return {dataset: counts for part in parts for dataset, counts in part.required_counts.items()}

    @property
    def faces(self) -> str:  # type: ignore[override]
        """Face backend that is used by default: that of the sources.

        Raises:
            MefusionError: the sources have different ones.
        """
        backends = sorted({part.faces for part in self.sources.values()})
        if len(backends) > 1:
            raise MefusionError(
                f"data={self.name} has sources with different face backends, {' and '.join(backends)}: "
                "choose one for all, as in faces=dlib"
            )
        return backends[0]

    def identity(self) -> dict[str, object]:
        """See `Source.identity`."""
        return {"pooled": [{"name": part.name, **part.identity()} for part in self.sources.values()]}

    def digest(self) -> str | None:
        """See `Source.digest`; None if one of the sources does not exist yet."""
        digests = [part.digest() for part in self.sources.values()]
        return None if None in digests else hashlib.sha256("".join(map(str, digests)).encode()).hexdigest()

    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """See `Source.table`.

        Raises:
            MefusionError: a source cannot be read, or two of them have the same dataset.
        """
        tables: list[pd.DataFrame] = []
        origin: dict[str, str] = {}
        for name, part in self.sources.items():
            table = part.table(workers=workers)
            for dataset in table["dataset"].unique():
                if dataset in origin:  # two subjects of the same name could then be different people
                    raise MefusionError(
                        f"data.sources.{origin[dataset]} and data.sources.{name} both have the dataset {dataset}: "
                        f"leave one out, or rename a dataset of your own with data.sources.{name}.name"
                    )
                origin[dataset] = name
            tables.append(table)
        return pd.concat(tables).sort_values(KEY, ignore_index=True)
