"""One recording of a spotting study, from its frames to its page; what is finished is told by `done.json`."""

import glob
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mefusion.clips.stream import FOLDER_RATE, Stream
from mefusion.common.errors import MefusionError, WriteError
from mefusion.common.files import replacing, write_table, write_text
from mefusion.spotting.recording import Spotted, is_spotted, read_spotted, spot_recording
from mefusion.spotting.settings import SpottingSettings

if TYPE_CHECKING:  # spotting alone does without torch
    from mefusion.spotting_studies.networks import Network

DONE = "done.json"
RATE_TOLERANCE = 0.02
"""Share by which a video's frame rate may differ from its dataset's before it is told."""

Show = Callable[..., None]
"""Draws a recording's result: called with the stream and what was spotted, `command`, `overlay` and `bundle`."""


@dataclass(frozen=True)
class Job:
    """One recording of a study.

    Attributes:
        recording: its name.
        path: a video file, or a folder of frames.
        fps: frames/s as the dataset says; None if it does not.
        folder: of the result.
        settings: of spotting.
        network: that names its events; None if there is none.
        digest: of the study's recogniser; empty if there is none.
    """

    recording: str
    path: Path
    fps: float | None
    folder: Path
    settings: SpottingSettings
    network: "Network | None"
    digest: str

    @property
    def stream(self) -> Stream:
        """The recording."""
        return Stream(self.path, self.fps or FOLDER_RATE)

    @property
    def recognised_by(self) -> str:
        """What `done.json` has of the recogniser."""
        return f"{self.digest} {self.network.fold or ''}".strip() if self.network else ""


@dataclass(frozen=True)
class Outcome:
    """What became of a recording.

    Attributes:
        problems: a sentence for each thing that could not be used as it is.
        left_out: why there is no result; None if there is one.
    """

    problems: tuple[str, ...] = ()
    left_out: str | None = None


def read_outcome(job: Job, *, overlay: bool) -> Outcome | None:
    """The outcome of a recording that is finished; None if it is not.

    Args:
        job: the recording.
        overlay: whether the overlay video is wanted too.
    """
    try:
        known: dict[str, Any] = json.loads((job.folder / DONE).read_text(encoding="utf-8"))
        problems, recognised_by = tuple(map(str, known["problems"])), known["recognised_by"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    wanted = [job.folder / name for name in ("events.csv", "page.html", *(("overlay.mp4",) if overlay else ()))]
    whole = recognised_by == job.recognised_by and all(path.is_file() for path in wanted)
    return Outcome(problems) if whole and is_spotted(job.stream, job.folder, job.settings) else None


def work_on(show: Show, command: str, overlay: bool, job: Job) -> Outcome:
    """Spot a recording, name its events, and draw the result; goes on where an earlier run was interrupted.

    Raises:
        WriteError: a file of the result cannot be written.
    """
    try:
        stream = job.stream
        (job.folder / DONE).unlink(missing_ok=True)
        _take_over(job)
        spotted = spot_recording(stream, job.folder, job.settings)
        problems = [spotted.problem] if spotted.problem else []
        problems += _other_rate(job, spotted)
        name = ""
        if job.network is not None:
            from mefusion.inference.events import recognise_events  # torch takes seconds to import in each process
            from mefusion.spotting_studies.networks import load_network

            predictor = load_network(job.network)
            events, unused = recognise_events(predictor, stream, spotted)
            spotted, name, problems = spotted.with_events(events), predictor.name, problems + unused
        show(stream, spotted, command=command, overlay=overlay, bundle=name)
    except WriteError:
        raise
    except MefusionError as error:
        return Outcome(left_out=str(error))
    write_text(job.folder / DONE, json.dumps({"recognised_by": job.recognised_by, "problems": problems}, indent=2))
    return Outcome(tuple(problems))


def _take_over(job: Job) -> None:
    """Copy what another study in the same folder has spotted in this very recording with these settings, if one has."""
    if is_spotted(job.stream, job.folder, job.settings):
        return
    for other in sorted(job.folder.parents[2].glob(f"*/recordings/{glob.escape(job.folder.name)}")):
        if is_spotted(job.stream, other, job.settings):
            try:
                spotted = read_spotted(other)
                with replacing(job.folder / "frames.parquet") as temporary:
                    shutil.copyfile(spotted.frames_file, temporary)
                write_table(job.folder / "events.csv", spotted.unnamed_events)
                write_text(job.folder / "recording.json", (other / "recording.json").read_text(encoding="utf-8"))
                return
            except WriteError:
                raise
            except MefusionError:  # it is damaged
                continue


def _other_rate(job: Job, spotted: Spotted) -> list[str]:
    found = spotted.facts.fps
    if job.fps is None or abs(found - job.fps) <= RATE_TOLERANCE * job.fps:
        return []
    return [
        f"{job.path} has {found:.1f} frames/s where the dataset says {job.fps:g}: if it is a copy of another rate, its "
        "frames are not those of the annotation table"
    ]
