"""A small recording with its two tables, as spotting writes them: a photograph whose brows and mouth rise."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import skimage.data

from mefusion.faces.detectors import DlibFaces
from mefusion.report.recording.page import RecordingFacts

THRESHOLDS = {
    **dict.fromkeys(("brow_left", "brow_middle", "brow_right"), 1.5),
    "nose": 1.0,
    **dict.fromkeys(("mouth_left", "mouth_upper", "mouth_right", "mouth_lower"), 2.0),
}
SIZE = (320, 240)


@dataclass(frozen=True)
class Frame:
    number: int
    time: float
    image: np.ndarray


@dataclass(frozen=True)
class Event:
    """An event of the fake: its frames, the region that moves, and how far, px."""

    track: int
    onset: int
    apex: int
    offset: int
    regions: tuple[str, ...]
    moves: float


@dataclass(frozen=True)
class Recording:
    video: Path
    frames: Path
    events: pd.DataFrame
    facts: RecordingFacts

    def read(self, numbers: Sequence[int] | None = None) -> Iterator[Frame]:
        """A stand-in for the reader of videos."""
        wanted = None if numbers is None else set(numbers)
        with av.open(str(self.video)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if wanted is None or number in wanted:
                    yield Frame(number, float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24"))


@functools.cache
def face() -> tuple[np.ndarray, np.ndarray]:
    """A picture [240, 320, 3] with one face, and its landmarks."""
    picture = np.ascontiguousarray(skimage.data.astronaut()[:240, 60:380])
    return picture, DlibFaces().landmarks([picture])[0]


def shape_of(event: Event, numbers: np.ndarray) -> np.ndarray:
    """How far an event is on its way in each frame, 0..1: 1 at the apex."""
    return np.interp(numbers, [event.onset, event.apex, event.offset], [0, 1, 0])


def write_recording(
    folder: Path, events: Sequence[Event], times: Sequence[float], *, absent: Sequence[int] = (), drift: float = 4
) -> Recording:
    """Write a video, its frames table, and give its events table.

    Args:
        folder: where.
        events: of track 1.
        times: of the frames, s, from 0.
        absent: frames without a face (the picture is grey).
        drift: how far the head moves to the right in all, px.
    """
    folder.mkdir(parents=True, exist_ok=True)
    picture, landmarks = face()
    numbers = np.arange(len(times))
    share = [shape_of(event, numbers) for event in events]
    y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(np.float32)
    brows, mouth = landmarks[17:27].mean(0), landmarks[48:68].mean(0)
    rows = []
    with av.open(str(folder / "face.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "14", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        for n, time in enumerate(times):
            lift = np.zeros_like(x)
            for event, moved in zip(events, share, strict=True):
                cx, cy = brows if "brow" in event.regions[0] else mouth
                lift += event.moves * moved[n] * np.exp(-((x - cx) ** 2 / 1200 + (y - cy) ** 2 / 120))
            shift = drift * n / len(times)
            image = cv2.remap(
                picture, x - np.float32(shift), y + lift, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            image = np.full_like(image, 128) if n in absent else image
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
            rows.append(
                _row(n, time, landmarks + np.array([shift, 0]), events, [m[n] for m in share], present=n not in absent)
            )
        container.mux(stream.encode())
    table = pd.DataFrame(rows).astype({"track": "Int32"})
    floats = [name for name in table if table[name].dtype == np.float64 and name != "time"]
    table.astype(dict.fromkeys(floats, np.float32)).to_parquet(folder / "frames.parquet", index=False)
    return Recording(
        folder / "face.mp4",
        folder / "frames.parquet",
        event_table(events, times),
        RecordingFacts(
            name="face.mp4", duration=float(times[-1]), rate=len(times) / times[-1], rate_varies=False,
            width=SIZE[0], height=SIZE[1], thresholds=THRESHOLDS, command="mefusion-spot face.mp4", date="2026-01-02",
        ),
    )  # fmt: skip


def _row(number, time, landmarks, events, shares, *, present):
    rng = np.random.default_rng(number)
    motion = {f"motion_{region}": 0.1 + 0.1 * rng.random() for region in THRESHOLDS}
    for event, share in zip(events, shares, strict=True):
        for region in event.regions:
            motion[f"motion_{region}"] += event.moves * share
    score = max(motion[f"motion_{region}"] / threshold for region, threshold in THRESHOLDS.items())
    low, high = landmarks.min(0), landmarks.max(0)
    box = dict(zip(("left", "top", "right", "bottom"), (*low, *high), strict=True))
    points = {f"{axis}_{i}": landmarks[i, k] for k, axis in enumerate("xy") for i in range(68)}
    measured = box | points | {"eye_aspect": 0.3} | motion | {"score": score}
    if not present:
        measured = dict.fromkeys(measured, np.nan)
    blink = present and number % 97 in range(40, 45)
    return {"frame": number, "time": time, "track": 1 if present else None} | measured | {"blink": blink}


def event_table(events: Sequence[Event], times: Sequence[float]) -> pd.DataFrame:
    rows = []
    for number, event in enumerate(events, 1):
        phases = {"onset": event.onset, "apex": event.apex, "offset": event.offset}
        duration = times[event.offset] - times[event.onset]
        kind = "micro" if duration <= 0.5 else "macro"
        rows.append(
            {"recording": "face.mp4", "track": event.track, "event": number, "kind": kind}
            | {f"{phase}_frame": n for phase, n in phases.items()}
            | {f"{phase}_time": times[n] for phase, n in phases.items()}
            | {"duration": duration, "regions": "+".join(event.regions), "strength": event.moves}
            | {"score": event.moves / THRESHOLDS[event.regions[0]], "blink": 0.0, "speech": False}
        )  # fmt: skip
    return pd.DataFrame(rows)
