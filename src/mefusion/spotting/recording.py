"""Spot the events of one recording, a minute at a time; what is done is kept on disk."""

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mefusion.clips.cache import settings_hash
from mefusion.clips.stream import Frame, Stream, VideoFacts
from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, replacing, sha256, told_if_unwritable, write_table, write_text
from mefusion.faces.detectors import make_backend
from mefusion.faces.identity import People
from mefusion.faces.tracking import FaceTracker
from mefusion.spotting.apex_score import HALVES, PairCurve
from mefusion.spotting.curves import Begin
from mefusion.spotting.event_table import EVENT_COLUMNS, events_of
from mefusion.spotting.events import Interval, thresholds_of
from mefusion.spotting.measuring import DisplacementCurve, measure
from mefusion.spotting.motion import REGIONS
from mefusion.spotting.settings import Method, SpottingSettings
from mefusion.spotting.tables import frame_rows, motions_of

SPOTTING = 2  # raise it when a change of the code makes the same settings give other events
LENGTH = 120.0  # s of a part
CONTEXT = 5.0  # s before and after a part that are measured with it, since motion is seen against the seconds around


@dataclass(frozen=True)
class Spotted:
    """What was found in a recording.

    Attributes:
        folder: of the result.
        recording: the file's name.
        facts: size, rate and length.
        frames: number of frames that were read.
        faces: number of frames with a face that was followed.
        seconds: time of the last frame, s.
        settings: of spotting, plain data.
        thresholds: by region, at which the score is 1, % of the inter-ocular distance; those of a typical minute.
        events: with `EVENT_COLUMNS`, and with what a network said of them if one did.
        problem: why frames at the end could not be read; None if all could.
    """

    folder: Path
    recording: str
    facts: VideoFacts
    frames: int
    faces: int
    seconds: float
    settings: Mapping[str, Any]
    thresholds: Mapping[str, float]
    events: pd.DataFrame
    problem: str | None

    def with_events(self, events: pd.DataFrame) -> "Spotted":
        """The same with other columns of its events, which are written to `events.csv`."""
        write_table(self.folder / "events.csv", events)
        return replace(self, events=events)

    @property
    def unnamed_events(self) -> pd.DataFrame:
        """The events as they were spotted, without what a network said of them."""
        return self.events[[*EVENT_COLUMNS]]

    @property
    def frames_file(self) -> Path:
        """`frames.parquet`, with `FRAME_COLUMNS`."""
        return self.folder / "frames.parquet"


def spot_recording(
    stream: Stream, folder: Path, settings: SpottingSettings, *, say: Callable[[float], None] = lambda seconds: None
) -> Spotted:
    """Find the events of a recording and write `events.csv`, `frames.parquet` and `recording.json`.

    A recording that was interrupted goes on from its last finished minute; one that is finished is read from disk.

    Args:
        stream: the recording.
        folder: of the result.
        settings: of spotting.
        say: is called with the time of each frame that has been measured, s.

    Raises:
        MefusionError: the recording cannot be read.
    """
    facts, identity = stream.facts(), _identity(stream, settings)
    known = read_facts(folder)
    if known.get("identity") == identity and known.get("complete"):
        return read_spotted(folder)
    parts = folder / ".parts"
    if known.get("identity") != identity:
        shutil.rmtree(parts, ignore_errors=True)
    with told_if_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    started = {"identity": identity, "recording": stream.path.name, "complete": False}
    write_text(folder / "recording.json", json.dumps(started, indent=2))
    done = _measured_parts(parts)
    try:
        while not done or done[-1]["next"] is not None:
            done.append(_spot_part(stream, parts, settings, len(done), done[-1] if done else None, say))
    except BaseException:
        with suppress(OSError):  # where parts are kept, or there is no folder
            parts.rmdir()
        raise
    return _assemble(stream, folder, parts, settings, facts, identity, done)


def is_spotted(stream: Stream, folder: Path, settings: SpottingSettings) -> bool:
    """Whether a folder has the finished result of a recording, as it is now, with these settings."""
    known = _read_json(folder / "recording.json")
    try:
        return bool(known.get("complete")) and known.get("identity") == _identity(stream, settings)
    except OSError:  # the recording is not there any more
        return False


def read_spotted(folder: Path) -> Spotted:
    """Read a finished result.

    Raises:
        MefusionError: it is not there, or damaged.
    """
    known = read_facts(folder)
    try:
        events = pd.read_csv(folder / "events.csv")
        if not {*EVENT_COLUMNS} <= {*events}:
            raise KeyError("events.csv")
        if not known.get("complete") or sha256(folder / "frames.parquet") != known["checksum"]:
            raise KeyError("frames.parquet")
        return Spotted(
            folder=folder,
            events=events,
            facts=VideoFacts(**known["facts"]),
            **{
                name: known[name]
                for name in ("recording", "frames", "faces", "seconds", "settings", "thresholds", "problem")
            },
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MefusionError(f"{folder} has no finished result of mefusion-spot: delete it, and spot again") from error


def read_facts(folder: Path) -> dict[str, Any]:
    """What `recording.json` says; nothing if there is none, or it is damaged."""
    return _read_json(folder / "recording.json")


def _identity(stream: Stream, settings: SpottingSettings) -> str:
    files = sorted(stream.path.iterdir()) if stream.path.is_dir() else [stream.path]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    rate = stream.fps if stream.path.is_dir() else None
    return settings_hash({"files": facts, "fps": rate, "settings": asdict(settings), "version": SPOTTING})


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _measured_parts(parts: Path) -> list[dict[str, Any]]:
    """The finished parts, in order."""
    done: list[dict[str, Any]] = []
    while (part := _read_json(parts / f"{len(done):05d}.json")) and (parts / f"{len(done):05d}.parquet").is_file():
        done.append(part)
    return done


def _spot_part(
    stream: Stream,
    parts: Path,
    settings: SpottingSettings,
    number: int,
    before: dict[str, Any] | None,
    say: Callable[[float], None],
) -> dict[str, Any]:
    """Measure a part of the recording with its context, and write its result."""
    backend = make_backend("dlib")
    assert backend is not None
    people = People([np.array(known) for known in (before["people"] if before else [])])
    tracker = FaceTracker(backend, people, settings.wanted)
    begin, end = number * LENGTH, (number + 1) * LENGTH
    start = (before["next"][0], before["next"][1]) if before else None
    frames = _until(stream, start, end + CONTEXT, lambda time: say(min(max(time, begin), end)))
    measured = measure(frames, tracker, rate=settings.rate, begin=_begin(settings))
    if not measured.frames:
        raise MefusionError(f"{stream.path} has no frame that can be read: replace the file")
    motions = motions_of(measured, settings)
    rows = frame_rows(measured, motions, settings, begin=begin, end=end)
    part = {
        "intervals": {
            person: [asdict(interval) for interval in motion.intervals] for person, motion in motions.items()
        },
        "thresholds": [motion.thresholds.tolist() for motion in motions.values()],
        "people": [known.tolist() for known in people.descriptors],
        "next": _context_of_next(measured.frames, end),
        "problem": stream.problem,
    }
    write_table(parts / f"{number:05d}.parquet", rows)
    write_text(parts / f"{number:05d}.json", json.dumps(part))
    return json.loads(json.dumps(part))


def _begin(settings: SpottingSettings) -> Begin:
    """What begins the curve that the method needs."""
    if settings.method == Method.apex_score:
        return functools.partial(PairCurve.begun, halves=settings.k or HALVES)
    return DisplacementCurve.begun


def _context_of_next(frames: list[tuple[int, float]], end: float) -> tuple[int, float] | None:
    """Number and time of the first frame that the next part needs; None if there is no frame after `end`."""
    if frames[-1][1] < end:
        return None
    return next((number, time) for number, time in frames if time >= end - CONTEXT)


def _until(
    stream: Stream, start: tuple[int, float] | None, end: float, say: Callable[[float], None]
) -> Iterator[Frame]:
    for frame in stream.frames(after=start):
        if frame.time >= end - 1e-9:
            return
        yield frame
        say(frame.time)


def _assemble(
    stream: Stream,
    folder: Path,
    parts: Path,
    settings: SpottingSettings,
    facts: VideoFacts,
    identity: str,
    done: list[dict[str, Any]],
) -> Spotted:
    """Join the parts to the result."""
    columns = ["frame", "time", "track", "blink"]
    narrow = []
    with replacing(folder / "frames.parquet") as temporary:
        writer = None
        for number in range(len(done)):
            table = pq.read_table(parts / f"{number:05d}.parquet")
            writer = writer or pq.ParquetWriter(temporary, table.schema)
            writer.write_table(table)
            narrow.append(table.select(columns).to_pandas())
        assert writer is not None
        writer.close()
    frames = pd.concat(narrow, ignore_index=True).astype({"track": "Int32"})
    found: dict[int, list[Interval]] = {}
    for part in done:
        for person, intervals in part["intervals"].items():
            found.setdefault(int(person), []).extend(
                Interval(**(values | {"regions": tuple(values["regions"])})) for values in intervals
            )
    events = events_of(stream.path.name, found, frames, settings)
    write_table(folder / "events.csv", events)
    problem = done[-1]["problem"]
    spotted = {
        "frames": int(frames["frame"].nunique()),
        "faces": int(frames.loc[frames["track"].notna(), "frame"].nunique()),
        "seconds": float(frames["time"].max()),
        "settings": asdict(settings),
        "thresholds": _typical_thresholds(done, settings),
        "problem": problem,
    }
    content = {"identity": identity, "recording": stream.path.name, "complete": True, **spotted}
    content |= {"facts": asdict(facts), "checksum": sha256(folder / "frames.parquet")}
    write_text(folder / "recording.json", json.dumps(content, indent=2))
    shutil.rmtree(parts, ignore_errors=True)
    return Spotted(folder=folder, recording=stream.path.name, facts=facts, events=events, **spotted)


def _typical_thresholds(done: list[dict[str, Any]], settings: SpottingSettings) -> dict[str, float]:
    found = [values for part in done for values in part["thresholds"]]
    typical = np.median(found, axis=0) if found else thresholds_of(np.zeros(len(REGIONS)), settings)
    return dict(zip(REGIONS, typical.round(3).tolist(), strict=True))
