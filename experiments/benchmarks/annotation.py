"""Processor time of `mefusion-annotate` by stage, and its memory, on rendered talking faces of 720 lines.

python experiments/benchmarks/annotation.py [SECONDS]

Times are processor seconds for a second of video on one core. Extraction is measured whole and by what it does; memory
is that of a process that extracts a short and a longer video.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import av
import cv2
import numpy as np

from mefusion.annotation.export import clips
from mefusion.annotation.export.export import export
from mefusion.annotation.extraction import tracks, video
from mefusion.annotation.extraction.extraction import extract
from mefusion.annotation.extraction.media import CutFinder, Sound
from mefusion.annotation.extraction.settings import ExportSettings, ExtractSettings, IdentitySettings, SpeakerSettings
from mefusion.clips.stream import Stream
from mefusion.faces.tracking import FaceTracker
from mefusion.synthetic.recordings import Recording, RecordingSettings

TICKS = Fraction(1, 90_000)


def main() -> None:
    """Measure one and two faces, and print a line each."""
    cv2.setNumThreads(1)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    with tempfile.TemporaryDirectory() as folder:
        for faces in (1, 2):
            path = Path(folder) / f"{faces}.mp4"
            write_talk(path, faces, seconds)
            times = measure(path, Path(folder) / str(faces))
            told = ", ".join(f"{name} {value / seconds:.3f}" for name, value in times.items())
            print(f"{faces} face{'s' if faces > 1 else ''}: {told}", flush=True)
        long = Path(folder) / "long.mp4"
        write_talk(long, 1, 3 * seconds)
        for path, length in ((Path(folder) / "1.mp4", seconds), (long, 3 * seconds)):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(f"memory, {length:.0f} s: {pool.apply(memory, (path, Path(folder) / f'm{length}')):.2f} GB")


def write_talk(path: Path, faces: int, seconds: float) -> None:
    """Write a video of 1280x720 px and 25 frames/s with heads that speak half of the time, and a tone as the sound."""
    settings = RecordingSettings(
        seconds=seconds, fps=25, width=1280, height=720, face_size=400, faces=faces, speech_per_minute=10,
        micro_per_minute=0, macro_per_minute=0,
    )  # fmt: skip
    with av.open(str(path), "w") as container:
        picture, sound = (
            container.add_stream("libx264", rate=25),
            container.add_stream("aac", rate=16000, layout="mono"),
        )
        picture.width, picture.height, picture.pix_fmt = 1280, 720, "yuv420p"
        picture.options, picture.codec_context.time_base = {"crf": "18", "preset": "ultrafast"}, TICKS
        tone = (0.1 * np.sin(2 * np.pi * 200 * np.arange(16000 // 25) / 16000)).astype(np.float32)
        for frame in Recording(settings).frames():
            encoded = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
            encoded.pts, encoded.time_base = round(frame.time / TICKS), TICKS
            container.mux(picture.encode(encoded))
            block = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = 16000, frame.number * len(tone), Fraction(1, 16000)
            container.mux(sound.encode(block))
        container.mux(picture.encode())
        container.mux(sound.encode())


def settings() -> ExtractSettings:
    """Settings that reject no face."""
    return ExtractSettings(speaker=SpeakerSettings(articulation=0.0))


class AllSpeech:
    """Silero's detector, at its cost, to which all is speech."""

    def __init__(self, chosen: object, make: Callable = video.make_detector):
        self._detector = make(chosen)

    def __call__(self, window: np.ndarray) -> float:
        """1, whatever silero says."""
        self._detector(window)
        return 1.0


def measure(path: Path, output: Path) -> dict[str, float]:
    """Processor seconds by what is done."""
    times: dict[str, float] = {}
    warm = Path(f"{output}-warm")
    with patch.object(video, "make_detector", AllSpeech):
        extract(path, warm, settings(), IdentitySettings(), workers=1, quiet=True)  # networks are loaded here
        parts = [
            (video, "find_speech", "speech"),
            (CutFinder, "update", "cuts, with the picture's colours"),
            (FaceTracker, "update", "detection and landmarks"),
            (tracks, "descriptor", "embedding"),
            (video, "_find_speakers", "speaker"),
        ]
        with measured(times, parts), clock(times, "extraction"):
            extract(path, output, settings(), IdentitySettings(), workers=1, quiet=True)
    with measured(times, [(clips, "measure", "motion and writing")]), clock(times, "export"):
        export(output, None, {}, ExportSettings(), workers=1, quiet=True)
    with clock(times, "decoding alone"):
        for _ in Stream(path).frames():
            pass
    with clock(times, "sound alone"):
        for _ in Sound(path).blocks():
            pass
    return times


@contextmanager
def clock(times: dict[str, float], name: str) -> Iterator[None]:
    """Add the processor time of the block."""
    before = time.process_time()
    try:
        yield
    finally:
        times[name] = times.get(name, 0.0) + time.process_time() - before


@contextmanager
def measured(times: dict[str, float], parts: list[tuple[object, str, str]]) -> Iterator[None]:
    """Add the processor time of functions while the block runs."""

    def timed(function: Callable, name: str) -> Callable:
        def run(*arguments: object, **options: object) -> object:
            with clock(times, name):
                return function(*arguments, **options)

        return run

    patches = [patch.object(owner, key, timed(getattr(owner, key), name)) for owner, key, name in parts]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def memory(path: Path, output: Path) -> float:
    """Largest memory of a process that extracts a video, GB."""
    with patch.object(video, "make_detector", AllSpeech):
        extract(path, output, settings(), IdentitySettings(), workers=1, quiet=True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
