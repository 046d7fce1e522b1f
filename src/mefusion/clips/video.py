"""Frames from folders of images and from video files."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from mefusion.common.errors import MefusionError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}
VIDEOS = {".avi", ".mp4", ".mov", ".mkv", ".webm", ".m4v", ".mpg"}


def list_frames(folder: Path) -> dict[int, Path]:
    """Image files of a folder by the number that ends their names, in the order of the numbers.

    Numbers may be padded or not, may leave gaps, and any prefix may stand before them.

    Raises:
        MefusionError: there is no numbered image, or two have the same number.
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
    """Picture [H, W, 3] uint8 RGB.

    Raises:
        MefusionError: the file is no whole image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise MefusionError(f"{path} cannot be read as an image ({error}): replace the file") from error


def read_clip(path: Path, *, onset: int | None = None, offset: int | None = None) -> list[np.ndarray]:
    """Frames onset..offset of a clip, each [H, W, 3] uint8 RGB.

    Args:
        path: a folder of images, or a video file.
        onset, offset: first and last frame number, both included; None is the clip's first and last.
            Frames of a video count from 0. Frames that are missing between them are passed over.

    Raises:
        MefusionError: the path is neither, a frame cannot be read, or none lies between onset and offset.
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
    """Place of a frame among those that `read_clip` gives; that of the one before where it is missing there.

    Returns:
        The place from 0, or None where the number is unknown or does not lie between onset and offset.
    """
    if number is None or not _within(number, onset, offset):
        return None
    numbers = list_frames(path) if path.is_dir() else range(number + 1)
    place = sum(_within(other, onset, number) for other in numbers) - 1
    return place if place >= 0 else None


def used_frames(path: Path, *, count: int, onset: int | None = None, offset: int | None = None) -> list[int]:
    """Places, among all frames of a folder, or the `count` of a video, of those that `read_clip` gives."""
    numbers = list_frames(path) if path.is_dir() else range(count)
    return [place for place, number in enumerate(numbers) if _within(number, onset, offset)]


def _within(number: int, onset: int | None, offset: int | None) -> bool:
    return (onset is None or number >= onset) and (offset is None or number <= offset)


def _read_video(path: Path, onset: int | None, offset: int | None) -> list[np.ndarray]:
    try:
        import decord  # here, since a platform has either decord or PyAV
    except ImportError:
        return _read_video_with_av(path, onset, offset)
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        numbers = [number for number in range(len(reader)) if _within(number, onset, offset)]
        return list(reader.get_batch(numbers).asnumpy()) if numbers else []
    except (decord.DECORDError, RuntimeError) as error:
        raise MefusionError(f"{path} cannot be read as a video: replace the file") from error


def _read_video_with_av(path: Path, onset: int | None, offset: int | None) -> list[np.ndarray]:
    import av

    try:
        with av.open(str(path)) as container:
            frames = enumerate(container.decode(video=0))
            return [frame.to_ndarray(format="rgb24") for number, frame in frames if _within(number, onset, offset)]
    except (av.FFmpegError, IndexError) as error:
        raise MefusionError(f"{path} cannot be read as a video: replace the file") from error
