"""Spotting from Python."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mefusion.clips.stream import FOLDER_RATE, Stream
from mefusion.spotting.recording import spot_recording
from mefusion.spotting.settings import SpottingSettings


@dataclass(frozen=True)
class Tables:
    """What was found in a recording.

    Attributes:
        events: a row for each event, see `mefusion.spotting.event_table.EVENT_COLUMNS`.
        frames: a row for each frame and face, see `mefusion.spotting.tables.FRAME_COLUMNS`.
        problem: why frames at the end could not be read; None if all could.
    """

    events: pd.DataFrame
    frames: pd.DataFrame
    problem: str | None


def spot(path: str | Path, *, output: str | Path | None = None, fps: float = FOLDER_RATE, **settings: Any) -> Tables:
    """Find when a face moved in a recording, without training.

    Args:
        path: a video file, or a folder of numbered images.
        output: folder that keeps the tables, so that the next call reads them; None keeps nothing.
        fps: rate of a folder's images, frames/s.
        settings: see `mefusion.spotting.settings.SpottingSettings`, as `face="all"`.

    Raises:
        MefusionError: the recording cannot be read, or a setting is not allowed.
    """
    stream, chosen = Stream(Path(path), fps), SpottingSettings(**settings)
    with tempfile.TemporaryDirectory() as temporary:
        spotted = spot_recording(stream, Path(output or temporary), chosen)
        return Tables(spotted.events, pd.read_parquet(spotted.frames_file), spotted.problem)
