import gc
import importlib.metadata
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from mefusion.common.files import temporary_path
from mefusion.configuration import sharing
from mefusion.preparation import arrays
from mefusion.report import writers

# How long an example takes depends on what else runs.
settings.register_profile("mefusion", deadline=None)
settings.load_profile("mefusion")


def pytest_collection_finish() -> None:
    """Do not search all of torch and Lightning for unused cycles again and again: a seventh of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(autouse=True, scope="session")
def _one_process() -> Iterator[None]:
    """Train in the tests' own process unless `processes=` says otherwise: a further one has not what a test patches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "default_processes", lambda settings, gpus: 1)
        yield


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def command() -> Command:
    """Run a console script as a user does, but in this process: `command("mefusion-train", "seeds=[1]", cwd=folder)`.

    What a process of its own would end with is undone: the environment, and torch's deterministic mode.
    """

    def run(program: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None):
        (entry,) = importlib.metadata.entry_points(group="console_scripts", name=program)
        main = entry.load()
        out, err = io.StringIO(), io.StringIO()
        environment, deterministic = dict(os.environ), torch.are_deterministic_algorithms_enabled()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(cwd)
            patch.setattr(sys, "argv", [program, *map(str, arguments)])
            # It would hold for the tests that follow, some of which look at their memory.
            patch.setattr(sys.modules[main.__module__], "reuse_freed_memory", lambda: None, raising=False)
            os.environ.update({"COLUMNS": "200"} | (env or {}))
            try:
                code = main() or 0
            except SystemExit as stop:
                code = stop.code or 0
            finally:
                os.environ.clear()
                os.environ.update(environment)
                torch.use_deterministic_algorithms(deterministic)
        if isinstance(code, str):  # as Python does at the end of a process
            err.write(f"{code}\n")
            code = 1
        return subprocess.CompletedProcess([program, *arguments], code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def script() -> Command:
    """Run a console script as a user does, in a process of its own."""

    def run(program: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 200):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | (env or {})
        return subprocess.run(
            [str(Path(sys.executable).parent / program), *arguments],
            cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    return run


@pytest.fixture
def quick_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepare in this process (`workers=1`) with a flow that takes a hundredth of TV-L1's time."""
    monkeypatch.setattr(arrays, "tvl1_flow", _quick_flow)


def _quick_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(first, second, None).transpose(2, 0, 1)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a report's time: tests of tables do without."""
    monkeypatch.setattr(writers, "_png", lambda figure: b"")


@pytest.fixture
def left_behind(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Make a temporary file for a path, as a process that was killed leaves it."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    def left_behind(path: Path) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: ended.pid)
            temporary = temporary_path(path)
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        return temporary

    return left_behind


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
    """Made once by `mefusion-prepare`, for all workers of pytest-xdist; tests may read it and not write there.

    Its flow is the quick one: do not prepare its clips again with workers of their own and compare.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny"
    root.mkdir(exist_ok=True)
    printed = root / "printed.txt"
    with FileLock(root / "lock"):
        if not printed.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(arrays, "tvl1_flow", _quick_flow)
                done = command("mefusion-prepare", *Tiny(root, "").overrides, "workers=1", cwd=root)
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return Tiny(root, printed.read_text())


@pytest.fixture(scope="session")
def three_index(tiny: Tiny) -> pd.DataFrame:
    """The tiny set's clips as if they were of three subjects, two clips each."""
    return tiny.index.assign(subject=[f"synthetic/sub{number:02d}" for number in (1, 2, 3, 2, 3, 1)])


@pytest.fixture(scope="session")
def three(tiny: Tiny, three_index: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a prepared set of three subjects, so that one of two training subjects can be validated on."""
    root = tmp_path_factory.mktemp("three")
    cache = root / "synthetic" / tiny.cache.name
    shutil.copytree(tiny.cache, cache)
    (cache / "source.txt").unlink(missing_ok=True)  # which tells of the clips as they were
    three_index.to_parquet(cache / "index.parquet")
    return [*tiny.overrides, f"cache_dir={root}"]
