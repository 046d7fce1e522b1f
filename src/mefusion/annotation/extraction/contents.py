"""What a segment shows and what is heard in it, for a multimodal language model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mefusion.annotation.extraction.crops import Crop
from mefusion.annotation.extraction.media import read_sound
from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.extraction.tracks import BOX, read_track_rows
from mefusion.clips.stream import Frame, Stream
from mefusion.common.errors import MefusionError

AROUND = 1.6  # side of a picture of the face alone by that of its boxes
MARK = (0, 220, 0)  # colour of the box around the speaker


@dataclass(frozen=True)
class VideoContents:
    """Pictures and sound of segments, read from their videos.

    Attributes:
        output: folder of the run.
        size: largest side of a picture, px.
        picture: `frame`, the whole picture with a box around the speaker; or `face`, the speaker's face alone.
        fps: pictures in a second.
        least, most: limits of the number of pictures of a segment.
    """

    output: Path
    size: int = 512
    picture: str = "frame"
    fps: float = 2.0
    least: int = 4
    most: int = 16

    def pictures(self, segment: Segment) -> list[np.ndarray]:
        """Pictures at equal distances in time, [H, W, 3] uint8 RGB."""
        count = min(max(round(self.fps * (segment.end - segment.start)), self.least), self.most)
        return segment_pictures(segment, self.output, count=count, size=self.size, picture=self.picture)

    def sound(self, segment: Segment) -> np.ndarray:
        """The segment's sound, float32 mono at 16 kHz."""
        return segment_sound(segment)


def segment_pictures(
    segment: Segment, output: Path, *, count: int, size: int, picture: str = "frame"
) -> list[np.ndarray]:
    """Pictures of a segment at equal distances in time.

    Args:
        segment: of a run.
        output: folder of the run.
        count: number of pictures.
        size: largest side, px.
        picture: see `VideoContents`.

    Returns:
        [H, W, 3] uint8 RGB each.

    Raises:
        MefusionError: the video cannot be read any more.
    """
    rows = read_track_rows(
        output / "videos" / segment.video / "tracks.parquet", segment.start, segment.end, track=segment.track
    )
    boxes, times = rows[[*BOX]].to_numpy(float), rows["time"].to_numpy()
    wanted = segment.start + (np.arange(count) + 0.5) * (segment.end - segment.start) / count
    found = []
    for frame in _at(Stream(segment.path), wanted):
        image = frame.image
        if picture == "face":
            height, width = image.shape[:2]
            crop = Crop.around(boxes, width=width, height=height, times=AROUND, size=size)
            found.append(crop.cut(image))
        else:
            box = boxes[int(np.abs(times - frame.time).argmin())]
            found.append(_marked(image, box, size))
    if not found:
        raise MefusionError(
            f"{segment.path} has no frames from {segment.start:.1f} s on: it was changed, extract again"
        )
    return found


def segment_sound(segment: Segment) -> np.ndarray:
    """The sound of a segment, float32 mono at 16 kHz.

    Raises:
        MefusionError: the video cannot be read any more.
    """
    return read_sound(segment.path, segment.start, segment.end)


def _at(stream: Stream, times: np.ndarray) -> Iterator[Frame]:
    """The frames that are shown at given times; the last one again for times after the end."""
    place, shown = 0, None
    for frame in stream.frames(after=(0, max(float(times[0]) - 1, 0))):
        while place < len(times) and shown is not None and frame.time > times[place]:
            yield shown
            place += 1
        if place == len(times):
            return
        shown = frame
    if shown is not None:
        yield from (shown for _ in times[place:])


def _marked(image: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(size / max(height, width), 1.0)
    small = cv2.resize(image, (round(scale * width), round(scale * height)), interpolation=cv2.INTER_AREA)
    left, top, right, bottom = (round(scale * float(edge)) for edge in box)
    cv2.rectangle(small, (left, top), (right, bottom), MARK, 2)
    return small
