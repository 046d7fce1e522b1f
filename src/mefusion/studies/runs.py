"""A study's runs: each fold with each seed, and the folder of its result."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mefusion.common.files import sha256, write_text


@dataclass(frozen=True)
class Run:
    """One fold with one of the study's seeds: the unit that is trained, resumed, saved and pooled.

    Attributes:
        study: the study's directory.
        fold: name of the fold.
        seed: the study's seed that is used.
        several: whether the study has several seeds.
    """

    study: Path
    fold: str
    seed: int
    several: bool = False

    @property
    def name(self) -> str:
        """The fold's name, with the seed if the study has several."""
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
        """Whether its result is complete."""
        return (self.folder / "DONE").is_file()

    @property
    def predictions(self) -> Path:
        """Its prediction table."""
        return self.folder / "predictions.parquet"

    @property
    def weights(self) -> Path:
        """Its trained weights, kept with `keep_weights=true`, and where it tests no one: the protocol `all`."""
        return self.folder / "weights.safetensors"

    @property
    def failure_log(self) -> Path:
        """Why it failed, if it failed the last time."""
        return self.folder / "failed.log"

    def mark_done(self, *results: Path) -> None:
        """Say that its result is complete, and which files it is: its prediction table, its weights, or both."""
        write_text(self.folder / "DONE", "\n".join(map(sha256, results)))

    def has_own(self, result: Path) -> bool:
        """Whether its result is the one it was completed with; true if not known, as of version 0.1."""
        known = (self.folder / "DONE").read_text(encoding="utf-8", errors="replace").split()
        return not known or sha256(result) in known

    @property
    def begun(self) -> bool:
        """Whether it has a result, or a checkpoint that its training would go on from."""
        return self.done or any(self.checkpoints.glob("*.ckpt"))

    @property
    def code(self) -> str | None:
        """Digest of the code that made it, see `mefusion.studies.code`; None where it is not known, as of version 0.1.

        Several digests, joined by `+`, if other code went on with its training.
        """
        try:
            facts = json.loads((self.folder / "fold.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return facts.get("code") if isinstance(facts, dict) else None

    @property
    def own_seed(self) -> int:
        """Seed of all random numbers of this run, so that its result does not depend on earlier runs."""
        return zlib.crc32(f"{self.seed}/{self.fold}".encode())

    @property
    def origin(self) -> dict[str, str | int]:
        """Study, fold and seed; its checkpoints are marked with these."""
        return {"study": self.study.name, "fold": self.fold, "seed": self.seed}


def runs_of(study: Path, folds: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """Each fold with each seed, sorted by fold."""
    return [Run(study, fold, seed, several=len(seeds) > 1) for fold in folds for seed in seeds]
