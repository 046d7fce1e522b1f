"""Find frames in a download, whose folders may be nested and named in different ways."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mefusion.common.errors import MefusionError
from mefusion.common.files import leads_outside

DEPTH = 6  # levels of folders that are searched, from data.root down


def walk(root: Path, *, stop: re.Pattern[str], avoid: re.Pattern[str] | None = None) -> Iterator[Path]:
    """Yield `root` and the folders below it, breadth first, sorted by name.

    Args:
        root: folder to begin with.
        stop: folders with such names are skipped, for example those of subjects, which have many files.
        avoid: folders with such names are skipped too.

    Raises:
        MefusionError: `root` is no folder.
    """
    if not root.is_dir():
        raise MefusionError(f"data.root={root} is no folder: give the folder of the download")
    level = [root]
    for _ in range(DEPTH):
        yield from level
        inner = (child for folder in level for child in sorted(folder.iterdir()) if child.is_dir())
        level = [
            child for child in inner if not stop.fullmatch(child.name) and not (avoid and avoid.fullmatch(child.name))
        ]


def find_file(root: Path, names: Sequence[str], *, stop: re.Pattern[str]) -> Path:
    """Find a file of the download: the first of `names` that exists, ignoring upper and lower case.

    Raises:
        MefusionError: none of them exists.
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
    """Find the folder whose children are the subjects' folders.

    Args:
        root: folder of the download.
        entry: pattern of the names of subjects' folders.
        frames: kind of frames to find.
        kinds: kind -> a word, in lower case, in the name of a folder above the subjects. If several folders on the way
            have such a word, the deepest counts. A folder without such a word may have frames of any kind.
        avoid: pattern of the names of folders with other data.

    Raises:
        MefusionError: there is no such folder; the message names the kinds that exist.
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
    # If there are several copies, the one with the most subjects.
    return require_inside(max(fitting, key=lambda folder: len(matching_folders(folder, entry))), root)


def matching_folders(folder: Path, entry: re.Pattern[str]) -> list[Path]:
    """Folders in a folder whose names match a pattern, sorted by name."""
    return [child for child in sorted(folder.iterdir()) if entry.fullmatch(child.name) and child.is_dir()]


def _kind(folder: Path, root: Path, kinds: Mapping[str, str]) -> str | None:
    for name in reversed(folder.relative_to(root).parts) if folder != root else [root.resolve().name]:
        for kind, word in kinds.items():
            if word in name.lower():
                return kind
    return None


def descend(folder: Path, *names: str, root: Path) -> Path:
    """Go down from a folder by the names of the folders on the way.

    If a folder has a child of its own name, this child is entered too. If no folder has exactly a given name, case and
    leading zeros of numbers may differ (`s3` matches `s03`).

    Returns:
        The path; it is returned even if nothing exists there, so that the error on reading the frames names the clip.

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
    """Children of a folder by loose name; cached for each value of `changed`, the time of the folder's last change."""
    return {_loosely(path.name): path for path in sorted(folder.iterdir(), reverse=True)}


def _loosely(name: str) -> str:
    return re.sub(r"0*(\d+)", r"\1", name.lower())


def require_inside(path: Path, root: Path) -> Path:
    """Return the path after checking that no link leads out of the root.

    Raises:
        MefusionError: a link leads out of the root.
    """
    if leads_outside(path, root):
        raise MefusionError(f"{path} is a link that leaves {root}: data.root must hold the files themselves")
    return path
