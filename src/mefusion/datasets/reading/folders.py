"""Finding frames in a download, however often it is nested and whatever its folders are called."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mefusion.common.errors import MefusionError
from mefusion.common.files import leads_outside

DEPTH = 6  # folders from data.root down to the subjects


def walk(root: Path, *, stop: re.Pattern[str], avoid: re.Pattern[str] | None = None) -> Iterator[Path]:
    """Folders from `root` down, breadth first in the order of their names.

    Args:
        root: where to begin.
        stop: folders with such names are not entered, as those of subjects, which hold many files.
        avoid: folders with such names are not entered either.

    Raises:
        MefusionError: there is no such folder.
    """
    if not root.is_dir():
        raise MefusionError(f"data.root={root} is no folder: give that of the download")
    level = [root]
    for _ in range(DEPTH):
        yield from level
        inner = (child for folder in level for child in sorted(folder.iterdir()) if child.is_dir())
        level = [
            child for child in inner if not stop.fullmatch(child.name) and not (avoid and avoid.fullmatch(child.name))
        ]


def find_file(root: Path, names: Sequence[str], *, stop: re.Pattern[str]) -> Path:
    """A file of the download by its exact name without case, the first of `names` that is there.

    Raises:
        MefusionError: none is.
    """
    found: dict[str, Path] = {}
    for folder in walk(root, stop=stop):
        for child in sorted(folder.iterdir()):
            if child.is_file():
                found.setdefault(child.name.lower(), child)
    for name in names:
        if name.lower() in found:
            return require_inside(found[name.lower()], root)
    raise MefusionError(f"{root} has no {' or '.join(names)}: data.root must be the folder of the official download")


def frame_tree(
    root: Path,
    entry: re.Pattern[str],
    *,
    frames: str,
    kinds: Mapping[str, str],
    avoid: re.Pattern[str] | None = None,
) -> Path:
    """The folder whose children are the subjects.

    Args:
        root: of the download.
        entry: name of a subject's folder.
        frames: which kind is wanted.
        kinds: kind -> a word in the name of a folder above the subjects, lower case. The deepest folder with such
            a word decides; one without is taken as any kind.
        avoid: names of folders that hold other data.

    Raises:
        MefusionError: there is none; names the kinds that there are.
    """
    candidates: dict[str | None, list[Path]] = {}
    for folder in walk(root, stop=entry, avoid=avoid):
        if matching_folders(folder, entry):
            candidates.setdefault(_kind(folder, root, kinds), []).append(folder)
    fitting = candidates.get(frames) or candidates.get(None)
    if not fitting:
        others = " and ".join(f"data.frames={kind}" for kind in candidates)
        hint = f"it has those of {others}" if others else "data.root must be the folder of the official download"
        raise MefusionError(f"{root} has no folders of subjects with {frames} frames: {hint}")
    # Of several copies the fullest.
    return require_inside(max(fitting, key=lambda folder: len(matching_folders(folder, entry))), root)


def matching_folders(folder: Path, entry: re.Pattern[str]) -> list[Path]:
    """Folders in a folder whose names fit, in the order of their names."""
    return [child for child in sorted(folder.iterdir()) if entry.fullmatch(child.name) and child.is_dir()]


def _kind(folder: Path, root: Path, kinds: Mapping[str, str]) -> str | None:
    for name in reversed(folder.relative_to(root).parts) if folder != root else [root.resolve().name]:
        for kind, word in kinds.items():
            if word in name.lower():
                return kind
    return None


def descend(folder: Path, *names: str, root: Path) -> Path:
    """A folder below a folder, by the names on the way; each is entered again where it holds one of the same name.

    Case and leading zeros of numbers may differ (`s3` is `s03`), where no folder has exactly that name.

    Returns:
        The path, also where nothing is there, so that the clip is named when its frames are looked for.

    Raises:
        MefusionError: a link leads out of the root.
    """
    for name in names:
        found = folder / name
        if not found.is_dir() and folder.is_dir():
            found = _by_loose_name(folder, folder.stat().st_mtime_ns).get(_loosely(name), found)
        again = found / found.name
        folder = require_inside(again if again.is_dir() else found, root)
    return folder


@functools.lru_cache(maxsize=4096)
def _by_loose_name(folder: Path, changed: int) -> dict[str, Path]:
    """Listed once and not for every clip; `changed` makes a folder that has changed be listed anew."""
    return {_loosely(path.name): path for path in sorted(folder.iterdir(), reverse=True)}


def _loosely(name: str) -> str:
    return re.sub(r"0*(\d+)", r"\1", name.lower())


def require_inside(path: Path, root: Path) -> Path:
    """The path itself.

    Raises:
        MefusionError: it leads out of the root through a link.
    """
    if leads_outside(path, root):
        raise MefusionError(f"{path} is a link that leaves {root}: data.root must hold the files themselves")
    return path
