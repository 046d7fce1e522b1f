"""Read a recording frame by frame, with true time stamps; memory does not grow with its length."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from mefusion.clips.video import VIDEOS, displayed, list_frames, read_image
from mefusion.common.errors import MefusionError
from mefusion.common.files import is_irregular

FASTEST = 10_000.0  # frames/s
FOLDER_RATE = 30.0  # frames/s of a folder of images, if nobody says it
CUT_OFF = 1.0  # s; a video that ends so much before its stated length is cut off
PREROLL = 0.5  # s; reading starts this much before a given time, since time stamps of key frames may be late


class Frame:
    """One frame of a recording, as it is displayed: rotation metadata is applied.

    Args:
        number: index of the decoded frame, from 0.
        time: s from the first frame.
        read: gives the picture in a format, `rgb24` [H, W, 3] or `gray` [H, W], uint8.
    """

    def __init__(self, number: int, time: float, read: Callable[[str], np.ndarray]):
        self.number, self.time, self._read = number, time, read

    @functools.cached_property
    def image(self) -> np.ndarray:
        """[H, W, 3] uint8 RGB."""
        return np.ascontiguousarray(self._read("rgb24"))

    @functools.cached_property
    def grey(self) -> np.ndarray:
        """[H, W] uint8."""
        return np.ascontiguousarray(self._read("gray"))


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a recording before it is read.

    Attributes:
        width, height: of the displayed picture, px.
        fps: mean number of frames in a second.
        seconds: length as the file states it.
    """

    width: int
    height: int
    fps: float
    seconds: float


@dataclass
class Stream:
    """Frames of a recording, to be iterated.

    Attributes:
        path: a video file, or a folder of numbered images.
        fps: rate of a folder's images, frames/s; a video has its own time stamps.
        problem: after the iteration: why frames at the end could not be read; None if all could.

    Raises:
        MefusionError: the rate is none.
    """

    path: Path
    fps: float = FOLDER_RATE
    problem: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fps <= FASTEST:
            raise MefusionError(f"fps={self.fps}: give the frame rate of the images, above 0 and at most {FASTEST:g}")

    def facts(self) -> VideoFacts:
        """Size, rate and length, from the first frame and the file's header.

        Raises:
            MefusionError: there is no readable video in the file.
        """
        if self.path.is_dir():
            files = list(list_frames(self.path).values())
            height, width, _ = read_image(files[0]).shape
            return VideoFacts(width, height, self.fps, len(files) / self.fps)
        first = next(iter(self.frames()), None)
        if first is None:
            raise MefusionError(f"{self.path} has no frame that can be read: replace the file")
        height, width = first.grey.shape
        with _opened(self.path) as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or FOLDER_RATE)
            return VideoFacts(width, height, fps, _length(container, stream))

    def frames(self, *, after: tuple[int, float] | None = None) -> Iterator[Frame]:
        """The frames in the order of their times.

        Args:
            after: number and time of a frame that was read before; the frames from this one on are read.

        Raises:
            MefusionError: the file is no video, or has none in it.
        """
        self.problem = None
        if self.path.is_dir():
            yield from self._images(after[0] if after else 0)
        elif after is None or not _can_seek(self.path, after[1]):
            yield from (frame for frame in self._decoded() if after is None or frame.number >= after[0])
        else:
            yield from self._decoded(after)

    def _images(self, first: int) -> Iterator[Frame]:
        for number, path in enumerate(list_frames(self.path).values()):
            if number >= first:
                yield Frame(number, number / self.fps, functools.partial(_read_file, path))

    def _decoded(self, after: tuple[int, float] | None = None) -> Iterator[Frame]:
        number, last = (after[0] - 1, -1.0) if after else (-1, -1.0)
        start: float | None = None
        with _opened(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            start = start_time(self.path) if after else None
            if after:
                assert start is not None
                _seek(container, stream, start + after[1])
            frames = container.decode(stream)
            while True:
                try:
                    decoded = next(frames)
                except StopIteration:
                    if _length(container, stream) - last > CUT_OFF:
                        self.problem = _ends_early(self.path, last, number)
                    return
                except (av.FFmpegError, ValueError) as error:
                    if number < 0:
                        raise MefusionError(f"{self.path} cannot be read as a video: replace the file") from error
                    self.problem = _ends_early(self.path, last, number)
                    return
                time = _time(decoded, number + 1, stream)
                start = time if start is None else start
                time -= start
                if (after and time < after[1] - 1e-6) or time <= last:  # not yet there; or a time stamp twice
                    continue
                number, last = number + 1, time
                yield Frame(number, time, functools.partial(displayed, decoded))


def read_frames(path: str | Path, numbers: Iterable[int] | None = None, *, fps: float = FOLDER_RATE) -> Iterator[Frame]:
    """Read a recording's frames, or those with given numbers only.

    Args:
        path: a video file, or a folder of numbered images.
        numbers: indices of frames; None means all.
        fps: rate of a folder's images, frames/s.

    Raises:
        MefusionError: see `Stream.frames`.
    """
    wanted = None if numbers is None else set(numbers)
    for frame in Stream(Path(path), fps).frames():
        if wanted is None:
            yield frame
        elif not wanted:
            return
        elif frame.number in wanted:
            wanted.discard(frame.number)
            yield frame


def require_recording(path: Path) -> None:
    """Check that a path can be a recording, before it is opened.

    Raises:
        MefusionError: it is not there, is a pipe, or is neither a video file nor a folder of images.
    """
    if path.is_dir():
        list_frames(path)
    elif is_irregular(path):
        raise MefusionError(f"{path} is no regular file: give a video file")
    elif not path.exists():
        raise MefusionError(f"{path} is not there: give a video file, or a folder of them")


def is_video(path: Path) -> bool:
    """Whether a file's name is that of a video."""
    return path.suffix.lower() in VIDEOS


def open_media(path: Path) -> "av.container.InputContainer":
    """Open a video file, which may have no picture.

    Raises:
        MefusionError: it is not there, or is no media file.
    """
    require_recording(path)
    try:
        return av.open(str(path))
    except PermissionError as error:
        raise MefusionError(f"{path} cannot be opened: change its permissions") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MefusionError(f"{path} cannot be read as a video: replace the file") from error


def _opened(path: Path) -> "av.container.InputContainer":
    container = open_media(path)
    if not container.streams.video:
        container.close()
        raise MefusionError(f"{path} has no picture, only sound or data: give a video of a face")
    return container


@functools.lru_cache(maxsize=4)
def start_time(path: Path) -> float:
    """Time stamp of a video's first frame, s; the times of `Frame` count from it."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        return _time(next(container.decode(stream)), 0, stream)


def _seek(container: "av.container.InputContainer", stream: "av.video.stream.VideoStream", time: float) -> None:
    assert stream.time_base is not None
    container.seek(max(int((time - PREROLL) / stream.time_base), 0), stream=stream, backward=True)


def _can_seek(path: Path, time: float) -> bool:
    """Whether decoding can begin at a time: the first frame after a seek has to come no later than it."""
    try:
        with _opened(path) as container:
            stream = container.streams.video[0]
            if stream.time_base is None:
                return False
            _seek(container, stream, start_time(path) + time)
            first = next(container.decode(stream), None)
            return first is not None and first.pts is not None and first.time - start_time(path) <= time + 1e-6
    except (av.FFmpegError, ValueError):
        return False


def _length(container: "av.container.InputContainer", stream: "av.video.stream.VideoStream") -> float:
    """Length that a file states, s; 0 if it states none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _ends_early(path: Path, last: float, number: int) -> str:
    return f"{path} is damaged or cut off: it ends after {max(last, 0):.1f} s, {number + 1} frames"


def _time(decoded: "av.VideoFrame", number: int, stream: "av.video.stream.VideoStream") -> float:
    """Time stamp of a frame, s; by its number where the file has none."""
    if decoded.time is not None:
        return float(decoded.time)
    return number / float(stream.average_rate or FOLDER_RATE)


def _read_file(path: Path, form: str) -> np.ndarray:
    image = read_image(path)
    return image if form == "rgb24" else np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
