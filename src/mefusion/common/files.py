"""Writing files so that an interruption never leaves half a file, and locking folders."""

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
    """Give a temporary file name in the folder of `path`, for the block to write to.

    If the block succeeds, the temporary file replaces `path`. If it fails, the temporary file is removed.

    Raises:
        MefusionError: the file cannot be written, for example because the disk is full.
    """
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise MefusionError(
            f"{path} cannot be written ({error.strerror or error}): free disk space, or change the permissions"
        ) from error
    finally:
        with suppress(OSError):  # for example where a file stands in the place of the folder
            temporary.unlink()


def resolved(path: Path) -> Path:
    """The path without links and `..`; it need not exist.

    Raises:
        MefusionError: there can be no such path: its links lead to each other, or a character is not allowed.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links, until Python 3.12
        reason = getattr(error, "strerror", None) or error
        raise MefusionError(f"{str(path)!r} is no usable path ({reason}): correct it") from error


def leads_outside(path: Path, root: Path) -> bool:
    """Whether a path leads out of the folder `root`, through links or `..`.

    Raises:
        MefusionError: as `resolved`.
    """
    return not resolved(path).is_relative_to(resolved(root))


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
            # After we opened the file, its owner may have removed it, and a third process may have made a new one.
            # Then our lock is on a file without a name, and counts for nothing.
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
    """Remove temporary files that killed processes have left.

    Args:
        folder: is searched with all its subfolders.
        age: only files older than this are removed, seconds. A newer one may belong to a process that is writing now.
    """
    for path in folder.rglob(".*"):
        if _TEMPORARY.search(path.name) and time.time() - path.stat().st_mtime >= age:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table completely or not at all: as Parquet if the path ends in `.parquet`, else as CSV."""
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False)
