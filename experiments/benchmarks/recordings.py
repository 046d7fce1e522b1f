"""How fast recordings are rendered, and what of their motion the video keeps.

    OMP_NUM_THREADS=1 python experiments/benchmarks/recordings.py [SECONDS]

Prints the rendered frames for each second of processor time; and for several qualities of x264 the size of the video,
how close its frames are, and the error of Farneback's flow from the frame before an onset to the apex, at the exact
landmarks without the jaw.
"""

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import av
import cv2
import numpy as np

from mefusion.synthetic.recordings import Recording, RecordingSettings, write_recording

RATES = {"micro_per_minute": 24, "macro_per_minute": 0, "speech_per_minute": 0}
SPEEDS: Mapping[str, Mapping[str, object]] = {
    "640x480, one face": {},
    "640x480, two faces": {"faces": 2},
    "640x480, one face, 200 fps": {"fps": 200, "seconds": 5},
    "1280x720, one face of 400 px": {"width": 1280, "height": 720, "face_size": 400},
}


def speed(settings: RecordingSettings) -> float:
    """Rendered frames for each second of processor time."""
    recording = Recording(settings)
    start = time.process_time()
    frames = sum(1 for _ in recording.frames())
    return frames / (time.process_time() - start)


def flow_error(recording: Recording, frames: Mapping[int, np.ndarray]) -> tuple[float, float]:
    """Mean error of the flow of all events, and its mean length, px."""
    errors, lengths = [], []
    for event in recording.events.itertuples():
        before, apex = (cv2.cvtColor(frames[t], cv2.COLOR_RGB2GRAY) for t in (event.onset - 1, event.apex))
        start, end = (recording.landmarks(t)[0, 17:].astype(np.float32) for t in (event.onset - 1, event.apex))
        flow = cv2.calcOpticalFlowFarneback(before, apex, None, 0.5, 3, 15, 5, 7, 1.5, 0)
        found = cv2.remap(flow, start[None], None, cv2.INTER_LINEAR)[0]
        errors.append(np.linalg.norm(found - (end - start), axis=1).mean())
        lengths.append(np.linalg.norm(end - start, axis=1).mean())
    return float(np.mean(errors)), float(np.mean(lengths))


def main() -> None:
    """Print a line for each size, and one for each quality."""
    cv2.setNumThreads(1)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    for name, options in SPEEDS.items():
        print(f"{name}: {speed(RecordingSettings(**{'seconds': 20, **options})):.0f} frames/s")  # type: ignore[arg-type]
    settings = RecordingSettings(seconds=seconds, take=1, **RATES)  # type: ignore[arg-type]
    recording = Recording(settings)
    wanted = {int(t) for event in recording.events.itertuples() for t in (event.onset - 1, event.apex)}
    exact = {frame.number: frame.image for frame in recording.frames() if frame.number in wanted}
    error, length = flow_error(recording, exact)
    print(
        f"{len(recording.events)} micro-expressions, mean motion {length:.2f} px; before encoding: error {error:.3f} px"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.mp4"
        for quality in (12, 14, 16, 18, 23):
            write_recording(path, settings, quality=quality)
            with av.open(str(path)) as video:
                shown = {t: f.to_ndarray(format="rgb24") for t, f in enumerate(video.decode(video=0)) if t in wanted}
            squared = [((shown[t].astype(float) - exact[t]) ** 2).mean() for t in wanted]
            print(
                f"quality {quality}: {path.stat().st_size / 1e6 * 60 / seconds:.0f} MB a minute, "
                f"PSNR {10 * np.log10(255**2 / np.mean(squared)):.1f} dB, flow error "
                f"{flow_error(recording, shown)[0]:.3f} px"
            )


if __name__ == "__main__":
    main()
