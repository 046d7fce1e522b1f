"""Rendered recordings as video files."""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np

from mefusion.common.files import replacing, write_table, write_text
from mefusion.synthetic.recordings.scene import Recording
from mefusion.synthetic.recordings.settings import RecordingSettings
from mefusion.synthetic.recordings.timeline import TICKS

# Constant rate factor of x264, and its preset: slower ones save space by smoothing away small motion. See
# experiments/benchmarks/recordings.py for what a video keeps.
QUALITY, PRESET = 16, "ultrafast"


def write_recording(path: Path, settings: RecordingSettings, *, quality: int = QUALITY) -> Recording:
    """Render a recording to a video file, H.264 with the true time of each frame, and its truth beside it.

    The truth: `<stem>.events.csv` (`Recording.events`), `<stem>.others.csv` (`Recording.others`) and
    `<stem>.settings.json`, from which the exact landmarks of every frame can be had again (`Recording.landmarks`). The
    video is written last: where it is, the truth is.

    Args:
        path: the video file, such as `long.mp4`.
        settings: see `RecordingSettings`.
        quality: constant rate factor of x264, 0 (lossless) to 51.

    Raises:
        MefusionError: the settings cannot be rendered.
        WriteError: a file cannot be written.
    """
    recording = Recording(settings)
    write_table(path.with_suffix(".events.csv"), recording.events)
    write_table(path.with_suffix(".others.csv"), recording.others)
    write_text(path.with_suffix(".settings.json"), json.dumps(asdict(settings), indent=2))
    with replacing(path) as temporary:
        _encode(temporary, path.suffix.removeprefix("."), recording, quality)
    return recording


def _encode(path: Path, container: str, recording: Recording, quality: int) -> None:
    import av  # takes a tenth of a second

    settings, ticks = recording.settings, Fraction(1, TICKS)
    with av.open(str(path), "w", format={"mkv": "matroska"}.get(container, container)) as output:
        stream = output.add_stream("libx264", rate=Fraction(settings.fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = settings.width, settings.height, "yuv420p"
        stream.options = {"crf": str(quality), "preset": PRESET, "threads": "1"}
        stream.codec_context.time_base = ticks
        stamps = np.rint(recording.times * TICKS).astype(int)
        for frame, stamp in zip(recording.frames(), stamps, strict=True):
            picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
            picture.pts, picture.time_base = int(stamp), ticks
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
