"""Writing files that are whole or not there."""

import fcntl
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mefusion.common.errors import MefusionError

if TYPE_CHECKING:
    import pandas as pd


_TEMPORARY = re.compile(r"-[0-9a-f]{8}$")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when the block ends well, and goes when it does not.

    Raises:
        MefusionError: the file cannot be written, as when the disk is full.
    """
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise MefusionError(
            f"{path} cannot be written ({error.strerror or error}): make room and make it writable"
        ) from error
    finally:
        with suppress(OSError):  # such as a file where its folder would be
            temporary.unlink()


def leads_outside(path: Path, root: Path) -> bool:
    """Whether a path leads out of a folder, through links or `..`."""
    return not path.resolve().is_relative_to(root.resolve())


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Lock a folder for this process, without waiting.

    Gives False where another process has the lock. The lock ends with the block, or with the process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".claimed"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking it another process may have ended its lock, and a third made a new file.
            mine = path.stat().st_ino == os.fstat(file.fileno()).st_ino
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


def remove_leftovers(folder: Path, age: float = 3600) -> None:
    """Remove temporary files that processes left when they were killed, those of more than `age` seconds ago.

    Younger ones may belong to another process that is writing at this moment, where there can be one.
    """
    for path in folder.rglob(".*"):
        if _TEMPORARY.search(path.name) and time.time() - path.stat().st_mtime >= age:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as parquet or CSV, by the path's suffix, whole or not at all."""
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False)
