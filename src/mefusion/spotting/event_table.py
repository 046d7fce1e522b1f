"""The events table: a row for each event, from the intervals of each person."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mefusion.evaluation.spotting import kind_of_duration
from mefusion.spotting.events import Interval, merge
from mefusion.spotting.settings import SpottingSettings

EVENT_COLUMNS = (
    "recording", "track", "event", "kind", "onset_frame", "apex_frame", "offset_frame",
    "onset_time", "apex_time", "offset_time", "duration", "regions", "strength", "score", "blink", "speech",
)  # fmt: skip
"""Columns of `events.csv`: a row for each event."""


def events_of(
    name: str, found: Mapping[int, Sequence[Interval]], frames: pd.DataFrame, settings: SpottingSettings
) -> pd.DataFrame:
    """Join the intervals of each person to events, with `EVENT_COLUMNS`.

    An interval in which its person has no rows of the frames table is left out.

    Args:
        name: of the recording.
        found: intervals of each person, in any order.
        frames: the frames table, of which frame, time, track and blink are used.
        settings: of spotting.
    """
    rows = []
    for person, intervals in sorted(found.items()):
        own = frames[frames["track"] == person]
        for interval in merge(intervals):
            # A part of a recording is measured with seconds of the next one, which may not find the face there again.
            has_rows = own["time"].between(interval.onset, interval.offset).any()
            if has_rows and _has_allowed_duration(interval, settings):
                rows.append({"recording": name, "track": person, **_event(interval, own)})
    rows.sort(key=lambda row: (row["onset_time"], row["track"]))
    table = pd.DataFrame(rows, columns=[*EVENT_COLUMNS])
    table["event"] = range(1, len(rows) + 1)
    return table.astype({name: "int64" for name in EVENT_COLUMNS if name.endswith("_frame")})


def _has_allowed_duration(interval: Interval, settings: SpottingSettings) -> bool:
    """Whether an interval is neither too short nor too long; people may speak for any time."""
    return settings.shortest <= interval.duration and (interval.speech or interval.duration <= settings.longest)


def _event(interval: Interval, frames: pd.DataFrame) -> dict[str, Any]:
    """An event's row, from the rows of its person."""
    times, numbers = frames["time"].to_numpy(), frames["frame"].to_numpy()
    places = [int(np.abs(times - moment).argmin()) for moment in (interval.onset, interval.apex, interval.offset)]
    onset, apex, offset = (float(times[place]) for place in places)
    inside = slice(places[0], places[2] + 1)
    duration = offset - onset
    return {
        "kind": kind_of_duration(duration),
        **dict(zip(("onset_frame", "apex_frame", "offset_frame"), numbers[places].tolist(), strict=True)),
        "onset_time": onset,
        "apex_time": apex,
        "offset_time": offset,
        "duration": duration,
        "regions": "+".join(interval.regions),
        "strength": interval.strength,
        "score": interval.score,
        "blink": float(frames["blink"].to_numpy()[inside].mean()),
        "speech": interval.speech,
    }
