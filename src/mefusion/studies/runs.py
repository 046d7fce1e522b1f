"""A study's runs: each fold with each seed, and where its result is kept."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """A fold trained with one of its study's seeds: what is trained, resumed, kept and pooled.

    Attributes:
        study: the study's directory.
        fold: name of the fold.
        seed: of everything random.
        several: whether the study has several seeds.
    """

    study: Path
    fold: str
    seed: int
    several: bool = False

    @property
    def name(self) -> str:
        """The fold's, with the seed where there are several."""
        return f"{self.fold}/seed{self.seed}" if self.several else self.fold

    @property
    def folder(self) -> Path:
        """`folds/<fold>/`, or `folds/<fold>/seed<n>/` in a study of several seeds."""
        return self.study / "folds" / self.name

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.folder / "checkpoints"

    @property
    def done(self) -> bool:
        """Whether its result is whole."""
        return (self.folder / "DONE").is_file()

    @property
    def own_seed(self) -> int:
        """A seed of the run's own, so that its result does not depend on what ran before it."""
        return zlib.crc32(f"{self.seed}/{self.fold}".encode())

    @property
    def origin(self) -> dict[str, str | int]:
        """What its checkpoints are marked with."""
        return {"study": self.study.name, "fold": self.fold, "seed": self.seed}


def runs_of(study: Path, folds: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """Every fold with every seed, a fold after the other."""
    return [Run(study, fold, seed, several=len(seeds) > 1) for fold in folds for seed in seeds]
