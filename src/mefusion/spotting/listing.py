"""Which recordings a command is given, and the folders of their results."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mefusion.clips.stream import is_video
from mefusion.clips.table import file_name
from mefusion.clips.video import IMAGES
from mefusion.common.errors import MefusionError
from mefusion.common.files import resolved


def list_recordings(paths: Sequence[Path]) -> dict[str, Path]:
    """The recordings that paths name: a file, all videos of a folder, or a folder of numbered images without videos.

    Returns:
        Name of the result's folder -> recording. The name is the file's; with a hash where two recordings have the
        same.

    Raises:
        MefusionError: there is none, or `-` is given.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if str(path) == "-":
            raise MefusionError("- stands for standard input, which cannot be read twice: give the file of the video")
        found |= dict.fromkeys(map(resolved, _expanded(path)))
    if not found:
        raise MefusionError("there is no recording: give a video file, or a folder of them")
    times = Counter(file_name(path.stem).casefold() for path in found)
    return {_name(path, several=times[file_name(path.stem).casefold()] > 1): path for path in found}


def _expanded(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.iterdir())
    if videos := [file for file in files if is_video(file)]:
        return videos
    if any(file.suffix.lower() in IMAGES for file in files):
        return [path]
    raise MefusionError(f"{path} holds no video: give a folder of videos, or of numbered images")


def _name(path: Path, *, several: bool) -> str:
    name = file_name(path.stem)
    return f"{name}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}" if several else name
