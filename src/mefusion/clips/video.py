"""Read frames from folders of images and from video files."""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mefusion.common.errors import MefusionError
from mefusion.common.files import is_irregular, told_if_unwritable

if TYPE_CHECKING:
    import av

IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}
VIDEOS = {".avi", ".mp4", ".mov", ".mkv", ".webm", ".m4v", ".mpg"}


def list_frames(folder: Path) -> dict[int, Path]:
    """List the image files of a folder by the number at the end of their names, in the order of the numbers.

    Numbers may have leading zeros or not, there may be gaps, and any text may stand before the number.

    Raises:
        MefusionError: there is no numbered image, or two images have the same number.
    """
    frames: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        number = re.search(r"(\d+)$", path.stem)
        if path.suffix.lower() not in IMAGES or number is None:
            continue
        if int(number[1]) in frames:
            raise MefusionError(f"{path} and {frames[int(number[1])].name} have the same frame number: keep one")
        frames[int(number[1])] = path
    if not frames:
        raise MefusionError(
            f"{folder} holds no numbered images ({', '.join(sorted(IMAGES))}): put the clip's frames there"
        )
    return dict(sorted(frames.items()))


def read_image(path: Path) -> np.ndarray:
    """Read a picture as [H, W, 3] uint8 RGB.

    Raises:
        MefusionError: the file is no image, or is damaged.
    """
    try:
        if is_irregular(path):
            raise MefusionError(f"{path} is no regular file: replace it by an image")
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise MefusionError(f"{path} cannot be read as an image ({error}): replace the file") from error


def write_image(path: Path, image: Image.Image, *, quality: int) -> None:
    """Write a picture in the format that the path's suffix names; `quality` is for JPEG.

    Pillow does not notice if a full disk takes a part of the file only, so it does not write the file itself.

    Raises:
        WriteError: the file cannot be written.
    """
    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[path.suffix], quality=quality)
    with told_if_unwritable(path):
        path.write_bytes(buffer.getbuffer())


def read_clip(path: Path, *, onset: int | None = None, offset: int | None = None) -> list[np.ndarray]:
    """Read the frames onset..offset of a clip, each [H, W, 3] uint8 RGB.

    Args:
        path: a folder of images, or a video file.
        onset, offset: numbers of the first and last frame, both included; None means the clip's first and last.
            In a video, frames are counted from 0. Missing frames in between are skipped.

    Raises:
        MefusionError: the path is neither, a frame cannot be read, no frame lies between onset and offset, or frames
            differ in size.
    """
    if path.is_dir():
        chosen = [file for number, file in list_frames(path).items() if _within(number, onset, offset)]
        frames = [read_image(file) for file in chosen]
    elif path.suffix.lower() in VIDEOS and path.is_file():
        frames = _read_video(path, onset, offset)
    else:
        raise MefusionError(
            f"{path} is neither a folder of frames nor a video file ({', '.join(sorted(VIDEOS))}): correct the path"
        )
    if not frames:
        raise MefusionError(f"{path} has no frame between onset {onset} and offset {offset}: correct the two numbers")
    shapes = {frame.shape for frame in frames}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{width}x{height}" for height, width, _ in shapes))
        raise MefusionError(f"{path} mixes frames of different sizes ({sizes}): a clip's frames share one size")
    return frames


def frame_place(path: Path, number: int | None, *, onset: int | None = None, offset: int | None = None) -> int | None:
    """Index of a frame among those that `read_clip` gives; if the frame is missing, that of the frame before it.

    Returns:
        The index, from 0, or None if the number is unknown or not between onset and offset.
    """
    if number is None or not _within(number, onset, offset):
        return None
    numbers = list_frames(path) if path.is_dir() else range(number + 1)
    place = sum(_within(other, onset, number) for other in numbers) - 1
    return place if place >= 0 else None


def frames_past_end(path: Path, *, count: int, onset: int | None = None, offset: int | None = None) -> int:
    """How many frames the offset lies past the last frame of a folder or video.

    Args:
        path, onset, offset: as for `read_clip`.
        count: number of frames that `read_clip` gives.
    """
    if offset is None:
        return 0
    last = max(list_frames(path)) if path.is_dir() else (onset or 0) + count - 1
    return max(offset - last, 0)


def used_frames(path: Path, *, count: int, onset: int | None = None, offset: int | None = None) -> list[int]:
    """Indices of the frames that `read_clip` gives, among all frames of a folder or the `count` frames of a video."""
    numbers = list_frames(path) if path.is_dir() else range(count)
    return [place for place, number in enumerate(numbers) if _within(number, onset, offset)]


def _within(number: int, onset: int | None, offset: int | None) -> bool:
    return (onset is None or number >= onset) and (offset is None or number <= offset)


def _read_video(path: Path, onset: int | None, offset: int | None) -> list[np.ndarray]:
    try:
        import decord  # inside the function, since each platform has only one of decord and PyAV
    except ImportError:
        return _read_video_with_av(path, onset, offset)
    try:
        with _without_stderr():
            reader = decord.VideoReader(str(path), num_threads=1)
            numbers = [number for number in range(len(reader)) if _within(number, onset, offset)]
            return list(reader.get_batch(numbers).asnumpy()) if numbers else []
    except (decord.DECORDError, RuntimeError) as error:
        raise MefusionError(f"{path} cannot be read as a video: replace the file") from error


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what is written to stderr: decord's C++ code logs its errors there, beside the one that it raises."""
    if sys.stderr is None:  # closed, as in a service
        yield
        return
    sys.stderr.flush()
    before, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)


def _read_video_with_av(path: Path, onset: int | None, offset: int | None) -> list[np.ndarray]:
    import av

    try:
        with av.open(str(path)) as container:
            frames = enumerate(container.decode(video=0))
            return [displayed(frame, "rgb24") for number, frame in frames if _within(number, onset, offset)]
    except (av.FFmpegError, IndexError) as error:
        raise MefusionError(f"{path} cannot be read as a video: replace the file") from error


def displayed(frame: "av.VideoFrame", form: str) -> np.ndarray:
    """A decoded frame as it is displayed: turned as the file's rotation metadata has it, as in videos from phones.

    Args:
        frame: of PyAV.
        form: `rgb24` gives [H, W, 3], `gray` [H, W], uint8.
    """
    picture = frame.to_ndarray(format=form)
    return np.ascontiguousarray(np.rot90(picture, k=frame.rotation // 90))
