import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def command() -> Command:
    """Run a console script as a user does: `command("mefusion-train", "seed=1", cwd=folder)`."""

    def run(program: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 200):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | (env or {})
        return subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    return run


@dataclass(frozen=True)
class Tiny:
    """A prepared synthetic set: 2 subjects x 3 classes x 1 clip of 8 or 9 frames."""

    root: Path
    printed: str

    @property
    def overrides(self) -> list[str]:
        """What the commands find it by."""
        return [
            *("data.subjects=2", "data.clips_per_class=1", "data.frames=[8,9]"),
            *(f"data.root={self.root / 'data'}", f"cache_dir={self.root / 'cache'}"),
        ]

    @property
    def frames(self) -> Path:
        """Folder of the rendered set."""
        (manifest,) = self.root.glob("data/*/manifest.csv")
        return manifest.parent

    @property
    def cache(self) -> Path:
        """Folder of the prepared clips."""
        (index,) = self.root.glob("cache/synthetic/*/index.parquet")
        return index.parent

    @property
    def index(self) -> pd.DataFrame:
        return pd.read_parquet(self.cache / "index.parquet")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Tiny:
    """Made once by `mefusion-prepare`, for all workers of pytest-xdist; tests may read it and not write there."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny"
    root.mkdir(exist_ok=True)
    printed = root / "printed.txt"
    with FileLock(root / "lock"):
        if not printed.exists():
            done = command("mefusion-prepare", *Tiny(root, "").overrides, cwd=root)
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return Tiny(root, printed.read_text())
