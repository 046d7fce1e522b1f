"""Recognise the events of a recording: what each of them shows, by the network of a bundle."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mefusion.clips.stream import Frame, Stream
from mefusion.common.errors import MefusionError
from mefusion.evaluation.predictions import PROBABILITY
from mefusion.evaluation.units import unit_names
from mefusion.faces.alignment import eye_centres
from mefusion.inference.likeness import differences
from mefusion.inference.predictor import Predictor
from mefusion.spotting.recording import Spotted
from mefusion.spotting.tables import LANDMARKS

WHOLE_FRAMES = 512 * 2**20  # bytes; frames of an event that take more are cut to the face
AROUND = 1.0  # of the face's size, that is kept around it when frames are cut


@dataclass
class _Event:
    """An event while its frames are read."""

    row: dict[str, Any]
    landmarks: np.ndarray  # [frames, 68, 2] px, from onset to offset
    origin: np.ndarray  # corner of the cut, px
    size: tuple[int, int] | None  # of the cut; None if frames are kept whole
    frames: list[np.ndarray] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        (left, top), image = self.origin, frame.image
        cut = image if self.size is None else image[top : top + self.size[1], left : left + self.size[0]].copy()
        self.frames.append(cut)


def recognise_events(
    predictor: Predictor, stream: Stream, spotted: Spotted, *, say: Callable[[float], None] = lambda seconds: None
) -> tuple[pd.DataFrame, list[str]]:
    """Predict each event of a recording from its frames, prepared as `mefusion-prepare` prepares a clip.

    If all events are of one track, the landmarks are found anew in the frames of each event, as for a clip. Those of
    the track are used if there are several, and where another face than the track's is found.

    Args:
        predictor: from `mefusion.load_bundle`.
        stream: the recording.
        spotted: its events; names that another network gave them are left out.
        say: is called with the time of each frame that is read, s.

    Returns:
        The events with `prediction`, `probability_<class>`, `unit_<n>` if the network tells units, `bundle` and
        `warnings`: how an event is unlike what the network was trained on, or that it shows no motion to read, and then
        has no prediction. An event that cannot be used has warnings only, and there is one sentence for each of those.

    Raises:
        MefusionError: the network cannot be used on recordings.
    """
    require_faces(predictor)
    results: dict[int, dict[str, Any]] = {}
    problems = []
    several = len({*spotted.events["track"]}) > 1 or spotted.settings["face"] not in ("largest", "all")
    for event in _read(stream, spotted, say):
        number = event.row["event"]
        try:
            results[number] = _recognise(predictor, event, spotted, own_landmarks=several)
        except MefusionError as error:
            problems.append(f"{spotted.recording}, event {number}: {error}")
            results[number] = {"warnings": f"not recognised: {error}"}
    probabilities = [*(PROBABILITY + name for name in predictor.classes), *unit_names(predictor.units)]
    columns = ["prediction", *probabilities, "bundle", "warnings"]
    found = pd.DataFrame([results.get(number, {}) for number in spotted.events["event"]], columns=columns)
    return pd.concat([spotted.unnamed_events, found], axis=1), problems


def require_faces(predictor: Predictor) -> None:
    """Check that a network can be used on recordings, in which faces have to be found.

    Raises:
        MefusionError: it was trained on pictures that show the face only.
    """
    if predictor.bundle.preparation.backend == "none":
        raise MefusionError(
            f"{predictor.name} was trained on pictures that show the face only (faces=none): it cannot find the face "
            "in a recording; train on clips with faces=dlib"
        )


def _recognise(predictor: Predictor, event: _Event, spotted: Spotted, *, own_landmarks: bool) -> dict[str, Any]:
    landmarks = event.landmarks - event.origin
    if len(landmarks) != len(event.frames):
        raise MefusionError(f"only {len(event.frames)} of its {len(landmarks)} frames can be read")
    own = own_landmarks or event.size is not None or predictor.bundle.preparation.backend == "precomputed"
    prepare = functools.partial(
        predictor.prepare,
        event.frames,
        apex=event.row["apex_frame"] - event.row["onset_frame"],
        origin=f"event {event.row['event']} of {spotted.recording}",
    )
    clip = prepare(landmarks=landmarks if own else None)
    if not (own or _is_on_track(clip.landmarks, landmarks)):  # the largest face may be another than the followed one
        clip = prepare(landmarks=landmarks)
    picture, points = event.frames[len(landmarks) // 2], landmarks[len(landmarks) // 2]
    told = differences(predictor.facts["data"], predictor.inputs.preparation, picture, points, spotted.facts.fps)
    if still := predictor.no_motion(clip):
        return {"bundle": predictor.name, "warnings": "; ".join([still, *told])}
    answers = predictor.answers([clip])
    (probabilities,), (units,) = answers.probabilities, answers.units
    return {
        "prediction": predictor.classes[int(probabilities.argmax())],
        **{PROBABILITY + name: value for name, value in zip(predictor.classes, probabilities.tolist(), strict=True)},
        **dict(zip(unit_names(predictor.units), units.tolist(), strict=True)),
        "bundle": predictor.name,
        "warnings": "; ".join(told),
    }


def _is_on_track(found: np.ndarray | None, track: np.ndarray) -> bool:
    """Whether landmarks [m, 68, 2] px are those of the face with the landmarks [n, 68, 2] px, in each frame."""
    assert found is not None  # there are none for a network of cropped faces only, which `require_faces` refuses
    eyes = np.linalg.norm(np.subtract(*eye_centres(track.mean(0))))
    away = np.linalg.norm(found.mean(1)[:, None] - track.mean(1)[None], axis=-1)
    return bool(away.min(axis=1).max() < eyes)


def _read(stream: Stream, spotted: Spotted, say: Callable[[float], None]) -> Iterator[_Event]:
    """The events with their frames, each as soon as it has ended; the recording is read once."""
    waiting = sorted(_events(spotted), key=lambda event: -event.row["onset_frame"])
    active: list[_Event] = []
    for frame in stream.frames():
        while waiting and waiting[-1].row["onset_frame"] <= frame.number:
            active.append(waiting.pop())
        for event in active:
            event.add(frame)
        yield from (event for event in active if event.row["offset_frame"] == frame.number)
        active = [event for event in active if event.row["offset_frame"] > frame.number]
        say(frame.time)
        if not (waiting or active):
            return
    yield from [*active, *waiting]  # the recording was changed: their frames are not there any more


def _events(spotted: Spotted) -> Iterator[_Event]:
    points = _landmarks(spotted)
    for row in spotted.events.to_dict("records"):
        found = points[row["track"]]
        own = found[(found["frame"] >= row["onset_frame"]) & (found["frame"] <= row["offset_frame"])]
        landmarks = own[[*LANDMARKS]].to_numpy(np.float64).reshape(-1, 2, 68).transpose(0, 2, 1)
        size: tuple[int, int] | None = None
        origin = np.zeros(2, int)
        if len(landmarks) * spotted.facts.width * spotted.facts.height * 3 > WHOLE_FRAMES:
            low, high = landmarks.min((0, 1)), landmarks.max((0, 1))
            around = AROUND * (high - low).max()
            origin = np.maximum(np.floor(low - around), 0).astype(int)
            size = (int(np.ceil(high + around)[0]) - origin[0], int(np.ceil(high + around)[1]) - origin[1])
        yield _Event(row, landmarks, origin, size)


def _landmarks(spotted: Spotted) -> dict[int, pd.DataFrame]:
    """Landmarks by track, in the frames of events only: those of an hour would fill the memory."""
    events = spotted.events
    wanted = {
        number
        for onset, offset in zip(events["onset_frame"], events["offset_frame"], strict=True)
        for number in range(onset, offset + 1)
    }
    kept = []
    for batch in pq.ParquetFile(spotted.frames_file).iter_batches(columns=["frame", "track", *LANDMARKS]):
        table = batch.to_pandas().dropna(subset="track")
        kept.append(table[table["frame"].isin(wanted)])
    joined = pd.concat(kept)
    return {int(track): rows for track, rows in joined.groupby("track")}
