"""Find problems of a clip's files from their names, sizes, and first and last bytes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from mefusion.clips.table import frame_number
from mefusion.clips.video import IMAGES, VIDEOS, list_frames, read_clip
from mefusion.common.errors import MefusionError
from mefusion.common.files import leads_outside

_TAIL = 64  # bytes
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_NAMED = 5  # a message lists at most this many frame numbers


@dataclass
class Findings:
    """Messages about a clip: `problems` must be corrected, `notes` are for information only."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inspect_clip(clip: Mapping[str, object], *, clip_length: int) -> Findings:
    """Check the frame numbers and files of one clip, without decoding its images.

    Args:
        clip: row of the clip table.
        clip_length: number of frames of a window; a shorter clip gets a note.
    """
    findings, path, root = Findings(), Path(str(clip["path"])), Path(str(clip["root"]))
    onset, apex, offset = (frame_number(clip[name]) for name in ("onset", "apex", "offset"))
    try:
        if onset is not None and offset is not None and onset > offset:
            raise MefusionError(f"onset {onset} lies after offset {offset}: correct the two numbers")
        if apex is not None and ((onset is not None and apex < onset) or (offset is not None and apex > offset)):
            findings.problems.append(f"apex {apex} lies outside {onset}..{offset}: correct it or leave it empty")
        if path.is_dir():
            _inspect_folder(path, onset, offset, findings, root=root, clip_length=clip_length)
        elif path.suffix.lower() in IMAGES and path.is_file():
            findings.problems += list(_image_problems([path], root))
        elif path.suffix.lower() in VIDEOS and path.is_file():
            read_clip(path, onset=onset or 0, offset=onset or 0)
        else:
            raise MefusionError(f"{path} is not there: copy the clip's frames anew from the download")
    except (MefusionError, OSError) as error:
        findings.problems.append(str(error))
    return findings


def _inspect_folder(
    path: Path, onset: int | None, offset: int | None, findings: Findings, *, root: Path, clip_length: int
) -> None:
    frames = list_frames(path)
    first, last = min(frames) if onset is None else onset, max(frames) if offset is None else offset
    used = {number: file for number, file in frames.items() if first <= number <= last}
    missing = [number for number in range(first, last + 1) if number not in used]
    if not used:
        findings.problems.append(f"{path} has no frame between onset {first} and offset {last}: copy them anew")
        return
    if missing:
        named = ", ".join(map(str, missing[:_NAMED])) + (", ..." if len(missing) > _NAMED else "")
        sentence = f"{path} lacks {len(missing)} of its {last - first + 1} frames ({named})"
        # Official downloads lack single frames; if more than half is missing, copying was interrupted.
        if 2 * len(missing) > last - first + 1:
            findings.problems.append(f"{sentence}: copy it anew")
        else:
            findings.notes.append(sentence)
    if len(used) < clip_length:
        findings.notes.append(f"it has {len(used)} frames, fewer than a window's {clip_length}")
    findings.problems += list(_image_problems(list(used.values()), root))


def _image_problems(files: list[Path], root: Path) -> Iterator[str]:
    """Yield one message for each kind of problem, with the first file that has it and the number of others."""
    by_kind: dict[str, list[Path]] = {}
    sizes: dict[tuple[int, int], Path] = {}
    for file in files:
        try:
            sizes.setdefault(_size(file, root), file)
        except MefusionError as error:
            by_kind.setdefault(str(error), []).append(file)
    for problem, broken in by_kind.items():
        more = f" (and {len(broken) - 1} more of the clip's frames)" if len(broken) > 1 else ""
        yield f"{broken[0]}{more} {problem}"
    if len(sizes) > 1:
        names = ", ".join(f"{file.name} {width}x{height}" for (width, height), file in sizes.items())
        yield f"{files[0].parent} mixes frames of different sizes ({names}): a clip's frames share one size"


def _size(file: Path, root: Path) -> tuple[int, int]:
    """Read width and height from the file's header; raises a MefusionError if the file is damaged."""
    if file.is_symlink() and leads_outside(file, root):
        raise MefusionError(f"is a link that leaves {root}: data.root must hold the files themselves")
    if not file.is_file():  # opening a pipe would wait for ever
        raise MefusionError("is no file: copy it anew")
    length = file.stat().st_size
    if length == 0:
        raise MefusionError("is empty: copy it anew")
    try:
        with Image.open(file) as image:
            kind, size = image.format, image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise MefusionError("is no image: copy it anew") from error
    with file.open("rb") as stream:
        head = stream.read(6)
        stream.seek(max(0, length - _TAIL))
        tail = stream.read()
    cut = int.from_bytes(head[2:6], "little") > length if kind == "BMP" else _ENDS.get(str(kind), b"") not in tail
    if cut:
        raise MefusionError("is cut off: copy it anew")
    return size
