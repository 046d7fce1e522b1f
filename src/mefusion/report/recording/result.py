"""The page and the overlay video of a spotted recording."""

import datetime
from collections.abc import Callable, Iterator

import numpy as np

from mefusion.clips.stream import Frame, Stream, read_frames
from mefusion.report.recording.overlay import write_overlay
from mefusion.report.recording.page import RecordingFacts, write_page
from mefusion.report.recording.tables import load_columns
from mefusion.spotting.recording import Spotted

VARIES = 0.2  # share by which the time between two frames may differ from the usual one in a video of constant rate


def show_result(
    stream: Stream,
    spotted: Spotted,
    *,
    command: str,
    overlay: bool,
    bundle: str = "",
    say: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Write `page.html` and, if wanted, `overlay.mp4` into a recording's folder.

    Args:
        stream: the recording.
        spotted: what was found; its events may have probabilities.
        command: that found it.
        overlay: whether the video is written.
        bundle: name of the network that named the events.
        say: is called with the time of each frame of the overlay, s.

    Raises:
        WriteError: a file cannot be written.
    """
    write_page(
        spotted.folder / "page.html",
        recording_facts(spotted, command=command, bundle=bundle),
        spotted.events,
        spotted.frames_file,
        lambda numbers: read_frames(stream.path, list(numbers), fps=stream.fps),
    )
    if overlay:
        write_overlay(spotted.folder / "overlay.mp4", _told(stream, say), spotted.frames_file, spotted.events)


def recording_facts(spotted: Spotted, *, command: str, bundle: str = "") -> RecordingFacts:
    """What the page says about a recording."""
    times = np.unique(load_columns(spotted.frames_file, [])["time"])
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else 1 / spotted.facts.fps
    return RecordingFacts(
        name=spotted.recording,
        duration=spotted.seconds + usual,
        rate=1 / float(steps.mean()) if len(steps) else spotted.facts.fps,
        rate_varies=bool(len(steps) and (np.abs(steps - usual) > VARIES * usual).any()),
        width=spotted.facts.width,
        height=spotted.facts.height,
        thresholds=spotted.thresholds,
        command=command,
        date=datetime.date.today().isoformat(),
        bundle=bundle,
    )


def summarise(spotted: Spotted) -> str:
    """One line about a recording: its events, faces and length, and what could not be seen."""
    events = spotted.events
    micro, macro = ((events["kind"] == kind).sum() for kind in ("micro", "macro"))
    found = f"{micro} micro- and {macro} macro-expressions in {spotted.seconds:.1f} s"
    if speech := int(events["speech"].sum()):
        found += f" ({speech} of them look like speech)"
    share = spotted.faces / spotted.frames
    seen = "no face in any frame" if not spotted.faces else f"a face in {share:.0%} of {spotted.frames} frames"
    return f"{spotted.recording}: {found}; {seen}; {spotted.folder / 'page.html'}"


def _told(stream: Stream, say: Callable[[float], None]) -> Iterator[Frame]:
    for frame in stream.frames():
        yield frame
        say(frame.time)
