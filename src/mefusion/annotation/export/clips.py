"""From segments to clips: the speaker's face as a video, the sound, the landmarks, and where the face moves most."""

import json
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd

from mefusion.annotation.extraction.crops import Crop
from mefusion.annotation.extraction.media import RATE, read_sound
from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.extraction.settings import Events, ExportSettings
from mefusion.annotation.extraction.tracks import BOX, landmarks_of, read_track_rows
from mefusion.clips.cache import settings_hash
from mefusion.clips.stream import Frame, Stream
from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing, write_text
from mefusion.faces.tracking import Face
from mefusion.spotting.events import merge
from mefusion.spotting.measuring import measure
from mefusion.spotting.motion import REGIONS
from mefusion.spotting.settings import SpottingSettings
from mefusion.spotting.tables import Motion, motions_of

EXPORT = 1  # raise it when a change of the code makes the same settings give other clips
FAR = 10.0  # s between two segments that are not read
TICKS = Fraction(1, 90_000)
QUALITY, PRESET = "10", "veryfast"  # of x264: fine motion has to be kept
NO_MOUTH = [number for number, region in enumerate(REGIONS) if not region.startswith("mouth")]


@dataclass(frozen=True)
class ClipsOfVideo:
    """The clips to make of one video.

    Attributes:
        segments: of the video, in the order of time.
        video: folder of what was extracted.
        folder: of the clips.
        identity: of the extraction.
        settings: of export.
    """

    segments: Sequence[Segment]
    video: Path
    folder: Path
    identity: str
    settings: ExportSettings

    def __str__(self) -> str:
        return str(self.segments[0].path)

    def identity_of(self, segment: Segment) -> str:
        """Hash of what makes a segment's clip."""
        return settings_hash(
            {
                "video": self.identity,
                "segment": (segment.name, segment.start, segment.end, segment.track),
                "settings": asdict(self.settings),
                "version": EXPORT,
            }
        )

    def facts_of(self, segment: Segment) -> dict[str, Any] | None:
        """What is known of a segment's clip: fps, frames, events; None if it is not made yet."""
        try:
            facts = json.loads((self.folder / f"{segment.name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return facts if isinstance(facts, dict) and facts.get("identity") == self.identity_of(segment) else None


def export_video(job: ClipsOfVideo, say: Callable[[float], None]) -> None:
    """Make the clips of a video in one pass: `<segment>.mp4`, `.wav`, `.npy`, and `.json` last.

    Raises:
        MefusionError: the video cannot be read any more.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    waiting = [segment for segment in job.segments if job.facts_of(segment) is None]
    reader = _Reader(Stream(waiting[0].path)) if waiting else None
    for segment in waiting:
        assert reader is not None
        rows = read_track_rows(job.video / "tracks.parquet", segment.start, segment.end, track=segment.track)
        facts = _make_clip(segment, rows, reader, job, say)
        write_text(job.folder / f"{segment.name}.json", json.dumps(facts | {"identity": job.identity_of(segment)}))


def _make_clip(
    segment: Segment, rows: pd.DataFrame, reader: "_Reader", job: ClipsOfVideo, say: Callable[[float], None]
) -> dict[str, Any]:
    path = job.folder / segment.name
    faces = _KnownFaces(rows)
    with replacing(path.with_name(f"{segment.name}.mp4")) as temporary:
        writer = _ClipWriter(temporary, rows, job.settings, segment.start)

        def written() -> Iterator[Frame]:
            for frame in reader.frames(segment.start, segment.end):
                writer.add(frame, faces.landmarks(frame))
                yield frame
                say(frame.time)

        spotting = SpottingSettings()
        measured = measure(written(), faces, rate=spotting.rate)
        if not writer.times:
            raise MefusionError(
                f"{segment.path} has no frames from {segment.start:.1f} s on: it was changed, extract again"
            )
        writer.close()
    with replacing(path.with_name(f"{segment.name}.npy")) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(writer.landmarks).astype(np.float32))
    write_wav(path.with_name(f"{segment.name}.wav"), read_sound(segment.path, segment.start, segment.end))
    motion = motions_of(measured, spotting).get(1)
    times = np.array(writer.times)
    return {
        "frames": len(times),
        "fps": round((len(times) - 1) / (times[-1] - times[0]), 4) if len(times) > 1 else None,
        "events": [] if motion is None else _events(motion, times + segment.start, job.settings, spotting),
    }


def write_wav(path: Path, sound: np.ndarray) -> None:
    """Write sound, float32 mono at 16 kHz in -1..1, as a WAV file of 16 bits."""
    samples = (np.clip(sound, -1, 1) * 32767).round().astype("<i2")
    with replacing(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())


def _events(
    motion: Motion, times: np.ndarray, settings: ExportSettings, spotting: SpottingSettings
) -> list[dict[str, int]]:
    """Onset, apex and offset of each event, frames of the clip."""
    if settings.events == Events.spot:
        spans = [
            (each.onset, each.apex, each.offset)
            for each in merge(motion.intervals)
            if not each.speech and spotting.shortest <= each.duration <= spotting.longest
        ]
    else:
        moved = np.nan_to_num(motion.displacement[:, NO_MOUTH], nan=-1.0).max(axis=1)
        moments = (motion.first + np.arange(len(moved))) / spotting.rate
        spans = [window_around(moments, moved, times, settings.window_s)]
    return [
        dict(zip(("onset", "apex", "offset"), (int(np.abs(times - t).argmin()) for t in span), strict=True))
        for span in spans
    ]


def window_around(
    moments: np.ndarray, moved: np.ndarray, times: np.ndarray, length: float
) -> tuple[float, float, float]:
    """Onset, apex and offset, s: a window around the largest displacement.

    The apex is looked for where the window lies within the clip, since curves are less exact at their ends.

    Args:
        moments: of the curve, s.
        moved: its displacements.
        times: of the clip's frames, s.
        length: of the window, s; a shorter clip is taken whole.
    """
    half = min(length, float(times[-1] - times[0])) / 2
    inside = (moments >= times[0] + half - 1e-6) & (moments <= times[-1] - half + 1e-6)
    apex = float(moments[inside][moved[inside].argmax()]) if inside.any() else float(times[0] + times[-1]) / 2
    return apex - half, apex, apex + half


class _Reader:
    """Gives the frames of segments in the order of time; what lies between near ones is decoded, not read twice."""

    def __init__(self, stream: Stream):
        self._stream, self._reached = stream, -np.inf
        self._frames: Iterator[Frame] = iter(())
        self._next: Frame | None = None

    def frames(self, start: float, end: float) -> Iterator[Frame]:
        """The frames from `start` to before `end` s."""
        if start - self._reached > FAR:
            # Frames are told by their times here, so that it does not matter what their numbers are.
            self._frames, self._next = self._stream.frames(after=(0, max(start - 0.5, 0))), None
        while (frame := self._next or next(self._frames, None)) is not None:
            self._next = frame
            if frame.time >= end - 1e-6:
                return
            self._next, self._reached = None, frame.time
            if frame.time >= start - 1e-6:
                yield frame


class _KnownFaces:
    """Gives the faces of a track that is known, as a tracker would."""

    def __init__(self, rows: pd.DataFrame):
        boxes = [tuple(box) for box in rows[[*BOX]].to_numpy(float)]
        places = (round(1e6 * time) for time in rows["time"])
        self._faces = {
            place: Face(1, 0, box, points) for place, box, points in zip(places, boxes, landmarks_of(rows), strict=True)
        }

    def update(self, frame: Frame) -> list[Face]:
        """The faces in a frame."""
        face = self._faces.get(round(1e6 * frame.time))
        return [] if face is None else [face]

    def landmarks(self, frame: Frame) -> np.ndarray:
        """Landmarks [68, 2] px in a frame; NaN where the face is not seen."""
        faces = self.update(frame)
        return faces[0].landmarks if faces else np.full((68, 2), np.nan)


class _ClipWriter:
    """Writes a clip's frames as H.264, with their true times from the segment's start."""

    def __init__(self, path: Path, rows: pd.DataFrame, settings: ExportSettings, start: float):
        self.times: list[float] = []
        self.landmarks: list[np.ndarray] = []
        self._path, self._boxes, self._settings, self._start = path, rows[[*BOX]].to_numpy(float), settings, start
        self._crop: Crop | None = None
        self._container: Any = None

    def add(self, frame: Frame, landmarks: np.ndarray) -> None:
        """Write the next frame; its landmarks [68, 2] are px of the whole picture."""
        if self._crop is None:
            height, width = frame.image.shape[:2]
            self._crop = Crop.around(
                self._boxes, width=width, height=height, times=self._settings.around, size=self._settings.size
            )
            self._open(self._crop.size)
        picture = av.VideoFrame.from_ndarray(self._crop.cut(frame.image), format="rgb24")
        time = frame.time - self._start
        picture.pts, picture.time_base = round((time - (self.times[0] if self.times else time)) / TICKS), TICKS
        self._container.mux(self._stream.encode(picture))
        self.times.append(time)
        self.landmarks.append(self._crop.moved(landmarks))

    def _open(self, size: int) -> None:
        self._container = av.open(str(self._path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._container.add_stream("libx264", rate=30, options={"crf": QUALITY, "preset": PRESET})
        self._stream.width = self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = TICKS
        self._stream.codec_context.thread_count = 1

    def close(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode())
        self._container.close()
