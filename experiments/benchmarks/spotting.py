"""How fast recordings are spotted on one core, where the time goes, and how memory grows with their length.

    OMP_NUM_THREADS=1 python experiments/benchmarks/spotting.py [SECONDS] [--minutes 1 10] [--rate RATE]

Times are of the processor, so that they do not depend on what else runs; the weights of dlib are loaded before. The
time of each part is from a second pass with a profiler. Memory is the largest of a process that spots a recording and
writes its page: the rendered one, shown again and again for so many minutes. `--minutes` without numbers leaves it out.
"""

import argparse
import cProfile
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from mefusion.clips.stream import Stream
from mefusion.faces.detectors import make_backend
from mefusion.faces.identity import descriptor
from mefusion.report.recording.result import show_result
from mefusion.spotting.recording import Spotted, read_spotted, spot_recording
from mefusion.spotting.settings import SpottingSettings
from mefusion.synthetic.recordings import RecordingSettings, write_recording

PARTS: Mapping[str, Sequence[str]] = {
    "decode": ("clips/stream.py _decoded", "clips/stream.py _picture"),
    "detect faces": ("faces/detectors.py detect_all",),
    "landmarks": ("faces/detectors.py predict",),
    "identity": ("faces/identity.py descriptor",),
    "flow": ("spotting/motion.py displacement", "spotting/motion.py of"),
    "events and tables": (
        "spotting/tables.py motions_of", "spotting/tables.py frame_rows", "spotting/recording.py _assemble",
    ),
}  # fmt: skip
"""Functions, none of which calls another part's."""


def processor_seconds(work: Callable[[], object]) -> float:
    """Time of the processor."""
    start = time.process_time()
    work()
    return time.process_time() - start


def shares(work: Callable[[], object]) -> dict[str, float]:
    """Share of the processor's time of each part, and of the rest."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work)
    stats = pstats.Stats(profile)
    taken = dict.fromkeys(PARTS, 0.0)
    for (file, _, name), (_, _, _, cumulative, _) in stats.stats.items():  # type: ignore[attr-defined]
        known = f"{'/'.join(Path(file).parts[-2:])} {name}"
        for part, names in PARTS.items():
            taken[part] += cumulative if known in names else 0
    whole = stats.total_tt  # type: ignore[attr-defined]
    return {**{part: each / whole for part, each in taken.items()}, "rest": 1 - sum(taken.values()) / whole}


def load_weights() -> None:
    """Load what is loaded at first use."""
    backend = make_backend("dlib")
    assert backend is not None
    grey = np.zeros((64, 64), np.uint8)
    descriptor(np.dstack([grey] * 3), backend.predict(grey, (8, 8, 56, 56)))


def repeat(video: Path, path: Path, times: int) -> None:
    """Show a video again and again, without encoding it anew."""
    with av.open(str(video)) as source, av.open(str(path), "w") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.pts is not None and packet.dts is not None]
        length = max(packet.pts + (packet.duration or 0) for packet in packets)  # type: ignore[operator]
        stamps = [(packet.pts, packet.dts) for packet in packets]
        for number in range(times):
            for packet, (shown, decoded) in zip(packets, stamps, strict=True):
                packet.stream = copy
                packet.pts, packet.dts = shown + number * length, decoded + number * length  # type: ignore[operator]
                output.mux(packet)


def show(video: Path, folder: Path, *, overlay: bool) -> Spotted:
    """Write the page of a spotted recording, and its overlay."""
    spotted = read_spotted(folder)
    show_result(Stream(video), spotted, command="", overlay=overlay)
    return spotted


def megabytes(video: Path, rate: float) -> float:
    """Largest memory of a process that spots a recording."""
    done = subprocess.run(
        [sys.executable, __file__, "--spot", str(video), "--rate", str(rate)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def print_speed(video: Path, frames: int, folder: Path) -> None:
    """Print the speed, and a row for each part."""
    load_weights()
    spot = lambda: spot_recording(Stream(video), folder / "timed", SpottingSettings())  # noqa: E731
    seconds = processor_seconds(spot)
    page = processor_seconds(lambda: show(video, folder / "timed", overlay=False))
    both = processor_seconds(lambda: show(video, folder / "timed", overlay=True))
    whole, overlay = seconds + page, max(both - page, 0)
    print(f"640x480, one face: {frames / whole:.0f} frames/s with tables and page", end=", ")
    print(f"{frames / (whole + overlay):.0f} with the overlay, {(whole + overlay) / whole:.2f} times the time")
    parts = shares(lambda: spot_recording(Stream(video), folder / "profiled", SpottingSettings()))
    rows = {part: seconds * share for part, share in parts.items()} | {"page": page, "overlay": overlay}
    print("part | ms a frame")
    for part, each in rows.items():
        print(f"{part} | {1000 * each / frames:.1f}")


def print_memory(video: Path, seconds: float, minutes: Sequence[int], rate: float, folder: Path) -> None:
    """Print the largest memory for each length."""
    for number in minutes:
        long = folder / f"{number}.mp4"
        repeat(video, long, max(round(60 * number / seconds), 1))
        print(f"{number} min: {megabytes(long, rate):.0f} MB", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", nargs="?", type=float, default=30, help="length of the rendered recording")
    parser.add_argument("--minutes", type=int, nargs="*", default=[1, 10], help="lengths whose memory is measured")
    parser.add_argument(
        "--rate", type=float, default=SpottingSettings.rate, help="measurements in a second, for memory"
    )
    parser.add_argument("--spot", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.spot:
            spot_recording(Stream(arguments.spot), folder / "spotted", SpottingSettings(rate=arguments.rate))
            show(arguments.spot, folder / "spotted", overlay=False)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            return
        video = folder / "recording.mp4"
        recording = write_recording(video, RecordingSettings(seconds=arguments.seconds))
        print_speed(video, len(recording), folder)
        print_memory(video, arguments.seconds, arguments.minutes, arguments.rate, folder)


if __name__ == "__main__":
    main()
