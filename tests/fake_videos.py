"""Small videos for tests."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TIME_BASE = Fraction(1, 90_000)


def write_video(path: Path, frames: Sequence[np.ndarray], times: Sequence[float] | float = 30.0) -> Path:
    """Write frames [H, W, 3] as H.264.

    Args:
        path: the file; its suffix names the container.
        frames: uint8 RGB, of even size.
        times: of each frame, s; or the frame rate.
    """
    moments = np.arange(len(frames)) / times if isinstance(times, int | float) else times
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "8", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.time_base = "yuv420p", TIME_BASE
        stream.codec_context.time_base = TIME_BASE
        for frame, moment in zip(frames, moments, strict=True):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = round(moment / TIME_BASE), TIME_BASE
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def turn_metadata(path: Path, degrees: int) -> None:
    """Let an MP4 file say that its picture is displayed turned clockwise by 90, 180 or 270 degrees, as phones do."""
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version and flags, 4 bytes; times, track, duration, 20; layer and so on, 16
    old = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    assert content[start : start + 36] == old
    content[start : start + 36] = struct.pack(">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def write_sound(path: Path) -> Path:
    """A file of one second of silence, without a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path
