"""Time of preparing and of reading a clip, against the published order of work, on one core.

    python experiments/benchmarks/preparation.py [frames of the clip, 64 unless given]

The published order goes a frame at a time: it detects the face in every frame, cuts five random crops of the aligned
frame, and computes TV-L1 for each crop of each pair of frames. Ours detects once and computes flow once a pair on the
canvas that all crops are cut from.
"""

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from mefusion.clips.cache import save_arrays
from mefusion.clips.motion import tvl1_flow
from mefusion.faces.alignment import align_face
from mefusion.faces.detectors import DlibFaces
from mefusion.preparation.arrays import prepare_clip
from mefusion.preparation.settings import FlowMethod, PreparationSettings
from mefusion.synthetic.scene import SyntheticClip, SyntheticSettings, make_clip
from mefusion.windows.augmentation import Augmentation
from mefusion.windows.store import ClipStore, TrainingWindows
from mefusion.windows.views import make_view

WIDTH, HEIGHT = 640, 480
CANVAS, CROP, CROPS = 144, 128, 5
CASME2_FRAMES = 61  # the median of CASME II's clips
BATCH = 32


def rendered_clip(frames: int) -> list[np.ndarray]:
    """A clip of the synthetic renderer, a face of 480 px in pictures of 640x480."""
    settings = SyntheticSettings(subjects=1, clips_per_class=1, frames=(frames, frames), size=HEIGHT)
    clip = make_clip(settings, SyntheticClip(0, 1, 0))
    side = (WIDTH - HEIGHT) // 2
    return [cv2.copyMakeBorder(clip.frame(t), 0, 0, side, side, cv2.BORDER_REPLICATE) for t in range(frames)]


def published_order(frames: Sequence[np.ndarray], backend: DlibFaces) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames and flow of each crop, work done in the published order."""
    rng, crops = np.random.default_rng(0), []
    aligned = []
    for frame in frames:
        box = backend.detect(frame)
        assert box is not None
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        aligned.append(align_face(grey, backend.predict(frame, box), CANVAS)[0])
    stride = len(frames) // 8
    for _ in range(CROPS):
        top, left = rng.integers(0, CANVAS - CROP + 1, size=2)
        cut = [picture[top : top + CROP, left : left + CROP] for picture in aligned[: 8 * stride]]
        flow = [tvl1_flow(first, second) for first, second in zip(cut[:-stride], cut[stride:], strict=True)]
        crops.append((np.stack(cut), np.stack(flow)))
    return crops


def seconds(work: Callable[[], object]) -> float:
    """Time on the processor, which does not depend on what else runs."""
    start = time.process_time()
    work()
    return time.process_time() - start


def batch_milliseconds(folder: Path, arrays: dict[str, np.ndarray], view: str, size: int, jitter: int) -> float:
    """Median time of a batch of mirrored and shifted windows of clips that are in memory."""
    rows = []
    for number in range(8):
        save_arrays(folder / f"{number}.safetensors", arrays, {})
        stride = len(arrays["frames"]) // 8
        rows.append({"subject": "s", "label": "x", "file": f"{number}.safetensors", "stride": stride, "apex_place": 0})
    store = ClipStore(pd.DataFrame(rows), folder, classes=["x"], clip_length=8, view=make_view(view, image_size=size))
    windows = TrainingWindows(store, size=size, augmentation=Augmentation(crop_jitter=jitter, flip=True), seed=0)
    batches = [[(epoch, i, i % len(rows), -1) for i in range(BATCH)] for epoch in range(20)]
    return 1000 * float(np.median([seconds(lambda b=batch: windows.__getitems__(b)) for batch in batches]))


def main() -> None:
    """Print the figures."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    frames, backend, settings = rendered_clip(count), DlibFaces(), PreparationSettings()
    backend.landmarks(frames[:1])  # what is loaded at first use
    published = seconds(lambda: published_order(frames, backend))
    print(f"{count} frames of {WIDTH}x{HEIGHT}: published order {published:.1f} s")
    for flow, device in (("tvl1", None), ("tvl1", "cpu"), ("dis", None), ("farneback", None)):
        options = dataclasses.replace(settings, flow=FlowMethod(flow))
        prepare_clip(frames[:9], backend, options, flow_device=device)  # what is loaded at first use
        ours = seconds(lambda s=options, d=device: prepare_clip(frames, backend, s, flow_device=d))  # type: ignore[misc]
        name = f"flow={flow}" + (f" flow_device={device}" if device else "")
        print(f"ours, {name}: {ours:.1f} s, {published / ours:.1f} times the throughput")
    landmarks = seconds(lambda: backend.landmarks(frames))
    detections = seconds(lambda: [backend.detect(frame) for frame in frames])
    print(
        f"of these: landmarks of all frames with one detection {landmarks:.2f} s, {count} detections {detections:.2f} s"
    )
    arrays = prepare_clip(frames[: min(count, CASME2_FRAMES)], backend, settings)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_arrays(folder / "clip.safetensors", arrays, {})
        megabytes = (folder / "clip.safetensors").stat().st_size / 1e6
        print(f"a prepared clip of {min(count, CASME2_FRAMES)} frames: {megabytes:.2f} MB")
        for view, size, jitter in (("canvas", 128, 8), ("small", 64, 0), ("flow_image", 28, 0)):
            taken = batch_milliseconds(folder, arrays, view, size, jitter)
            print(f"a training batch of {BATCH} for the view {view}: {taken:.1f} ms")


if __name__ == "__main__":
    main()
