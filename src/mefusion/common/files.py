"""Writing files so that an interruption never leaves half a file, and locking folders."""

import functools
import hashlib
import os
import platform
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mefusion.common.errors import MefusionError, WriteError

if TYPE_CHECKING:
    import pandas as pd


# With the machine and the process that writes it; versions before 0.2 wrote the last part alone.
_TEMPORARY = re.compile(r"(?:-(?P<machine>[0-9a-f]{6})-(?P<process>\d+))?-[0-9a-f]{8}$")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file name in the folder of `path`, for the block to write to.

    If the block succeeds, the temporary file replaces `path`. If it fails, the temporary file is removed.

    Raises:
        WriteError: the file cannot be written, for example because the disk is full.
    """
    temporary = temporary_path(path)
    try:
        with told_if_unwritable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):  # for example where a file stands in the place of the folder
            temporary.unlink()


@contextmanager
def told_if_unwritable(path: Path) -> Iterator[None]:
    """Raise a WriteError that names a file or folder if the block, which writes it, raises an OSError."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error}): free disk space, or change the permissions"
        ) from error


def temporary_path(path: Path) -> Path:
    """A hidden name beside `path` that no other process uses; `remove_leftovers` knows it."""
    return path.with_name(f".{path.name}-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


@functools.cache
def _machine() -> str:
    """Six hex digits for this machine, or the container on it: the place where a process has its number."""
    try:
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        numbers = 0
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:6]


def resolved(path: Path) -> Path:
    """The path without links and `..`; it need not exist.

    Raises:
        MefusionError: there can be no such path: its links lead to each other, it is too long, or a character is not
            allowed.
    """
    try:
        found = path.resolve()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            found.stat()  # `resolve` accepts a path that is too long
        return found
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
    from filelock import FileLock, Timeout  # takes as long to import as all else that --help needs

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".claimed"
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()  # of a file without a name, which its owner has just removed, it gives no lock
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # Windows removes no open file; it stays, and can be locked again
            path.unlink()
        lock.release()


def remove_leftovers(folder: Path, age: float = 3600) -> None:
    """Remove temporary files and folders that killed processes have left, never those of a living one.

    Args:
        folder: is searched with all its subfolders.
        age: what a process elsewhere, or an earlier version, has left is removed if it is older than this, seconds:
            that process may be writing now.
    """
    for path in [*folder.rglob(".*")]:
        if found := _TEMPORARY.search(path.name):
            with suppress(FileNotFoundError):  # another process removes it too
                if _is_left(found["machine"], found["process"]) or time.time() - path.stat().st_mtime >= age:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def cleared_on_error(folder: Path) -> Iterator[None]:
    """Remove what worker processes that were ended have left in a folder, when what is done with them fails."""
    try:
        yield
    except BaseException:
        remove_leftovers(folder)
        raise


def _is_left(machine: str | None, process: str | None) -> bool:
    """Whether the process that wrote a temporary file ran here, and has ended."""
    if machine != _machine() or sys.platform == "win32":  # where `os.kill` would end it
        return False
    try:
        os.kill(int(process or 0), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):  # another user's; a number that no process has
        pass
    return False


def is_irregular(path: Path) -> bool:
    """Whether something is there that is no regular file, as a folder or a pipe; to read a pipe may wait for ever."""
    return path.exists() and not path.is_file()


def sha256(path: Path) -> str:
    """Checksum of a file's bytes: 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table completely or not at all: as Parquet if the path ends in `.parquet`, else as CSV."""
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False, write_page_checksum=True)
        else:
            table.to_csv(temporary, index=False)
