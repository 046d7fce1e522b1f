"""A video's sound and picture on one clock: 0 s is the first frame of the picture, as in `mefusion.clips.stream`."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from mefusion.clips.stream import PREROLL, Frame, open_media, start_time

RATE = 16_000  # samples/s of all sound
SHIFT = 0.1  # s; where time stamps leave the samples behind by more, silence is put in or samples are left out

CUT_WIDTH = 256  # px of the pictures that are compared
CUT_CHANGE = 15.0  # mean absolute difference of hue, saturation and value to the frame before, 0..255
CUT_RATIO = 3.0  # of this difference to the mean of its neighbours
CUT_AROUND = 2  # neighbours on each side


def streams_of(path: Path) -> set[str]:
    """What a media file has: `video`, `audio`, or both.

    Raises:
        MefusionError: it is not there, or is no media file.
    """
    with open_media(path) as container:
        pictures = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        kinds = {"video": pictures, "audio": container.streams.audio}
        return {kind for kind, streams in kinds.items() if streams}


@dataclass
class Sound:
    """The first sound track of a video, mono at `RATE`, in blocks.

    Attributes:
        path: of the video.
        problem: after the iteration: why the end could not be read; None if all could.
    """

    path: Path
    problem: str | None = None

    def blocks(self, *, start: float = 0.0, end: float = np.inf) -> Iterator[np.ndarray]:
        """Samples from `start` s on, float32 in -1..1; silence where the track has none, and nothing after its end."""
        with open_media(self.path) as container:
            stream = container.streams.audio[0]
            origin = start_time(self.path)
            if start > 0:
                _seek(container, stream, origin + start)
            placed = round(start * RATE)
            for place, samples in self._decoded(container, stream, origin):
                if placed >= end * RATE:
                    return
                while placed < min(place, end * RATE):
                    silence = np.zeros(min(place - placed, RATE), np.float32)
                    placed += len(silence)
                    yield silence
                rest = samples[max(placed - place, 0) :]
                if len(rest):
                    placed += len(rest)
                    yield rest

    def _decoded(
        self, container: "av.container.InputContainer", stream: "av.audio.stream.AudioStream", origin: float
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Number of the first sample on the picture's clock, and samples."""
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        place: int | None = None
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames)
                parts = resampler.resample(frame)
            except StopIteration:
                return
            except (av.FFmpegError, ValueError):
                at = 0 if place is None else place / RATE
                self.problem = f"{self.path} is damaged: its sound ends after {max(at, 0):.1f} s"
                return
            stamp = place if frame.time is None else round((float(frame.time) - origin) * RATE)
            if place is None or (stamp is not None and abs(stamp - place) > SHIFT * RATE):
                place = stamp or 0
            for part in parts:
                samples = part.to_ndarray().reshape(-1)
                yield place, samples
                place += len(samples)


def _seek(container: "av.container.InputContainer", stream: "av.audio.stream.AudioStream", time: float) -> None:
    """Let decoding begin before a time, s; at the beginning of the file if the file leads to a later place."""
    if stream.time_base is None:
        return
    begins = -np.inf if stream.start_time is None else float(stream.start_time * stream.time_base)
    place = max(int((time - PREROLL) / stream.time_base), 0)
    with contextlib.suppress(av.FFmpegError):  # it cannot be sought in
        container.seek(place, stream=stream)
        first = next(container.decode(stream), None)
        reached = first is not None and first.time is not None and first.time <= max(time, begins + SHIFT)
        container.seek(place if reached else 0, stream=stream)


def read_sound(path: Path, start: float, end: float) -> np.ndarray:
    """The sound from `start` to `end` s, silence where there is none.

    Args:
        path: of the video.
        start, end: s, on the picture's clock.

    Returns:
        [round((end - start) * RATE)] float32 in -1..1.

    Raises:
        MefusionError: the file cannot be read.
    """
    length = round((end - start) * RATE)
    sound = np.zeros(length, np.float32)
    filled = 0
    for block in Sound(path).blocks(start=start, end=end):
        part = block[: length - filled]
        sound[filled : filled + len(part)] = part
        filled += len(part)
        if filled == length:
            break
    return sound


class CutFinder:
    """Finds where one scene is cut to the next, by the change of colours; dissolves are not found.

    A frame is the first of a scene if it differs much from the one before, and much more so than its neighbours, since
    fast motion and a shaking camera change many frames in a row.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self._changes: list[float] = []
        self._before: np.ndarray | None = None

    def update(self, frame: Frame) -> None:
        """Compare the next frame with the one before."""
        image = frame.image
        height = max(round(image.shape[0] * CUT_WIDTH / image.shape[1]), 1)
        small = cv2.resize(image, (CUT_WIDTH, height), interpolation=cv2.INTER_AREA)
        now = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
        changed = self._before is not None and self._before.shape == now.shape
        self._changes.append(float(cv2.absdiff(now, self._before).mean()) if changed else 0.0)
        self.times.append(frame.time)
        self._before = now

    def cuts(self) -> list[float]:
        """Times of the frames that begin a new scene, s."""
        changes = np.array(self._changes)
        padded = np.pad(changes, CUT_AROUND)
        size = 2 * CUT_AROUND
        around = np.convolve(padded, np.ones(size + 1), "valid") - changes if len(changes) else changes
        found = (changes > CUT_CHANGE) & (changes > CUT_RATIO * around / size)
        return [self.times[number] for number in np.flatnonzero(found)]
