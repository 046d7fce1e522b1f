"""The video of a recording with what was found drawn on it: faces, landmarks, scores over time and events."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd

from mefusion.clips.stream import Frame
from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing
from mefusion.plots.style import PALETTE
from mefusion.report.recording.curves import clock, runs
from mefusion.report.recording.page import PROBABILITY, regions_in_words
from mefusion.report.recording.tables import Face, iterate_faces, load_columns

NARROWEST, WIDEST = 480, 1280
"""Width of the overlay, px: narrower videos are enlarged, so that words can be read; wider ones reduced, for speed."""

PANEL, FOOTER = 84, 20
"""Height of the curves below the picture, and of the line of words below them, px."""

SPAN = 4.0
"""Seconds of the curves before and after now."""

_TOP = 3.0  # score at the panel's top edge
_TIME_BASE = Fraction(1, 90_000)  # s, of the frames' times in the file
_FASTSTART = {"movflags": "faststart"}  # the index at the file's beginning, so that browsers show it at once
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT, _SMALL, _LINE_HEIGHT = 0.5, 0.4, 18
_SHIFT = 3  # OpenCV draws at eighths of a pixel: a curve must not jump by whole ones
_WHITE, _DARK, _LINE = (255, 255, 255), (30, 30, 30), (170, 170, 170)


def write_overlay(path: Path, stream: Iterable[Frame], frames: Path, events: pd.DataFrame) -> None:
    """Write the overlay of a whole video in one pass: H.264 with the frames' true times, without sound.

    Beside the score of each row, only one frame is in memory. The file is written whole or not at all.

    Args:
        path: of the MP4 file.
        stream: all frames of the video, of one size, in the order of time.
        frames: the frames table, a Parquet file.
        events: the events table.

    Raises:
        MefusionError: the video has no frame.
        WriteError: the file cannot be written.
    """
    painter = Painter(load_columns(frames, ["score"]), events)
    last, output = -1, None
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4", options=_FASTSTART) as container:
        for frame, faces in _together(stream, iterate_faces(frames)):
            picture = painter.draw(frame, faces)
            output = output or _add_stream(container, *picture.shape[:2])
            encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
            last = max(round(frame.time / _TIME_BASE), last + 1)  # a video may show two frames at one time
            encoded.pts, encoded.time_base = last, _TIME_BASE
            container.mux(output.encode(encoded))
        if output is None:
            raise MefusionError(f"{path} cannot be written, since the video has no frame: replace the video")
        container.mux(output.encode())


def _add_stream(container: Any, height: int, width: int) -> Any:
    # The rate is a hint for the encoder; the times of the frames are those that count.
    output = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "21"})
    output.width, output.height, output.pix_fmt = width, height, "yuv420p"
    output.time_base = output.codec_context.time_base = _TIME_BASE
    return output


def _together(stream: Iterable[Frame], faces: Iterator[Face]) -> Iterator[tuple[Frame, list[Face]]]:
    """Each frame with its faces; both come in the order of frames, and either may lack some."""
    groups = itertools.groupby(faces, key=lambda face: face.frame)
    number: float = -1
    group: Iterator[Face] = iter(())
    for frame in stream:
        while number < frame.number:
            number, group = next(groups, (np.inf, iter(())))
        yield frame, list(group) if number == frame.number else []


class Painter:
    """Draws what was found on the frames of a recording.

    Args:
        scores: frame, time, track and score of the frames table.
        events: the events table.
    """

    def __init__(self, scores: pd.DataFrame, events: pd.DataFrame):
        self._scores = {
            int(track): _scores(rows) for track, rows in scores.dropna(subset=["track"]).groupby("track", sort=True)
        }
        self._events = events.to_dict("records")
        self._onsets, self._offsets = (events[f"{end}_frame"].to_numpy() for end in ("onset", "offset"))
        self._starts, self._ends = (events[f"{end}_time"].to_numpy() for end in ("onset", "offset"))

    def draw(self, frame: Frame, faces: Sequence[Face]) -> np.ndarray:
        """A frame with its faces and events, and below it the scores from 4 s before it to 4 s after it.

        Returns:
            [H, W, 3] uint8 RGB; W is 480 to 1280 px, and both are even.
        """
        height, width = frame.image.shape[:2]
        scale = float(np.clip(width, NARROWEST, WIDEST)) / width
        size = (_even(scale * width), _even(scale * height))
        canvas = np.full((size[1] + PANEL + FOOTER, size[0], 3), 255, np.uint8)
        picture, panel, footer = np.split(canvas, [size[1], size[1] + PANEL])
        cv2.resize(frame.image, size, dst=picture, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        for face in faces:
            _draw_face(picture, face, scale)
        now = np.flatnonzero((self._onsets <= frame.number) & (self._offsets >= frame.number))
        for face in faces:  # after all faces, which must not hide words
            own = (self._events[place] for place in now)
            lines = [line for event in own if event["track"] == face.track for line in _label(event)]
            _draw_words(picture, face, scale, [f"track {face.track}", *lines])
        self._draw_panel(panel, frame.time)
        words = "score; dashes: threshold" if faces else "no face found"
        _write(footer, f"{clock(frame.time)}   {words}", 6, FOOTER - 6, _SMALL, _DARK)
        return canvas

    def _draw_panel(self, panel: np.ndarray, now: float) -> None:
        height, width = panel.shape[:2]
        near = np.flatnonzero((self._starts <= now + SPAN) & (self._ends >= now - SPAN))
        for event in (self._events[place] for place in near):
            left, right = (int(_place(event[f"{end}_time"], now, width)) for end in ("onset", "offset"))
            _draw_band(panel, event, max(left, 0), max(right, left + 2, 0))
        threshold = round(height - height / _TOP)
        for left in range(0, width, 12):
            cv2.line(panel, (left, threshold), (left + 6, threshold), _LINE, 1)
        cv2.line(panel, (width // 2, 0), (width // 2, height), _LINE, 1)
        for track, (times, values) in self._scores.items():
            first, last = np.searchsorted(times, [now - SPAN, now + SPAN])
            inside = slice(max(first - 1, 0), last + 1)
            y = (height - 1) * (1 - np.clip(values[inside], 0, _TOP) / _TOP)
            _draw_curve(panel, _place(times[inside], now, width), y, _colour(track))


def _scores(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Times [n] s and scores [n] of a track; the score is NaN where it begins again after frames without it."""
    values = rows["score"].to_numpy(np.float32, copy=True)
    values[np.diff(rows["frame"].to_numpy(), prepend=-1) > 1] = np.nan
    return rows["time"].to_numpy(np.float64), values


def _place(time: np.ndarray, now: float, width: int) -> np.ndarray:
    """Where a time lies in the panel, px; now is in the middle."""
    return width * (0.5 + (time - now) / (2 * SPAN))


def _label(event: Mapping[str, Any]) -> list[str]:
    """The lines that name an event, such as `micro brow (left, right)` and `surprise 0.71`."""
    lines = [f"{event['kind']} {regions_in_words(event['regions'])}"]
    prediction = event.get("prediction")
    if isinstance(prediction, str) and prediction:
        lines.append(f"{prediction} {event[PROBABILITY + prediction]:.2f}")
    return lines


def _colour(track: int) -> tuple[int, int, int]:
    """Colour of a track, RGB."""
    name = PALETTE[(track - 1) % len(PALETTE)]
    return int(name[1:3], 16), int(name[3:5], 16), int(name[5:7], 16)


def _even(length: float) -> int:
    """H.264 with halved colours needs even sides."""
    return max(2 * round(length / 2), 2)


def _draw_face(picture: np.ndarray, face: Face, scale: float) -> None:
    colour = _colour(face.track)
    left, top, right, bottom = (round(float(edge)) for edge in scale * face.box)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, 2)
    points = np.rint(scale * face.landmarks * 2**_SHIFT).astype(int)
    for x, y in points.tolist():
        cv2.circle(picture, (x, y), 12, _WHITE, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_words(picture: np.ndarray, face: Face, scale: float, lines: Sequence[str]) -> None:
    """Write lines above a face's box, or inside the picture where the box is at its top."""
    height, width = picture.shape[:2]
    widest, size = max(cv2.getTextSize(line, _FONT, _TEXT, 1)[0][0] for line in lines), _TEXT
    if widest > width - 8:  # many regions
        widest, size = width - 8, _TEXT * (width - 8) / widest
    tall = _LINE_HEIGHT * len(lines)
    left = int(np.clip(scale * face.box[0], 0, width - widest - 8))
    top = int(np.clip(scale * face.box[1] - tall - 2, 0, max(height - tall, 0)))
    colour = _colour(face.track)
    cv2.rectangle(picture, (left, top), (left + widest + 8, top + tall), colour, cv2.FILLED)
    ink = _WHITE if np.dot(colour, (0.3, 0.59, 0.11)) < 140 else _DARK
    for number, line in enumerate(lines):
        _write(picture, line, left + 4, top + _LINE_HEIGHT * number + 13, size, ink)


def _draw_band(panel: np.ndarray, event: Mapping[str, Any], left: int, right: int) -> None:
    """Shade an event's time; micro is darker."""
    share = 0.4 if event["kind"] == "micro" else 0.2
    part = panel[:, left:right]
    part[:] = ((1 - share) * part + share * np.array(_colour(event["track"]))).astype(np.uint8)
    _write(panel, f"{event['event']} {event['kind']}", left + 2, 12, _SMALL, _DARK)


def _draw_curve(panel: np.ndarray, x: np.ndarray, y: np.ndarray, colour: tuple[int, int, int]) -> None:
    points = np.column_stack([x, y]) * 2**_SHIFT
    for start, end in runs(np.isfinite(y)):
        whole = np.rint(points[start:end]).astype(np.int32)
        cv2.polylines(panel, [whole], False, colour, 2, cv2.LINE_AA, _SHIFT)


def _write(picture: np.ndarray, text: str, x: int, y: int, size: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, (x, y), _FONT, size, colour, 1, cv2.LINE_AA)
