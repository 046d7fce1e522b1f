"""The page and the overlay video of a spotted recording."""

import datetime
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mefusion import __version__
from mefusion.clips.stream import Frame, Stream, read_frames
from mefusion.common.files import told_if_unwritable, write_text
from mefusion.report.recording.overlay import write_overlay
from mefusion.report.recording.page import RecordingFacts, write_page
from mefusion.report.recording.tables import load_columns
from mefusion.spotting.recording import Spotted, read_facts

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
    """Write `page.html` and, if wanted, `overlay.mp4` into a recording's folder; an overlay that was there is removed.

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
    video = spotted.folder / "overlay.mp4"
    with told_if_unwritable(video):
        video.unlink(missing_ok=True)  # one of other events would pass for that of these
    write_page(
        spotted.folder / "page.html",
        recording_facts(spotted, command=command, bundle=bundle),
        spotted.events,
        spotted.frames_file,
        lambda numbers: read_frames(stream.path, list(numbers), fps=stream.fps),
    )
    if overlay:
        write_overlay(video, _told(stream, say), spotted.frames_file, spotted.events)


def problems_shown(folder: Path, *, network: str, overlay: bool) -> list[str] | None:
    """What could not be read or recognised of a result that was drawn before; None if it has to be drawn.

    Args:
        folder: of the result.
        network: checksum of the bundle that named its events; empty if none did.
        overlay: whether the video is wanted.
    """
    shown = read_facts(folder).get("shown")
    if not isinstance(shown, dict) or (shown.get("network"), shown.get("version")) != (network, __version__):
        return None
    files = ["page.html", *(["overlay.mp4"] if overlay else [])]
    return shown["problems"] if all((folder / name).is_file() for name in files) else None


def note_shown(folder: Path, problems: Sequence[str], *, network: str) -> None:
    """Note in `recording.json` that the result is drawn, for `problems_shown`."""
    shown = {"network": network, "version": __version__, "problems": [*problems]}
    write_text(folder / "recording.json", json.dumps(read_facts(folder) | {"shown": shown}, indent=2))


def forget_shown(folder: Path) -> None:
    """Take `note_shown` back, before the events get other names: if that is interrupted, the result is not drawn."""
    facts = read_facts(folder)
    if facts.pop("shown", None) is not None:
        write_text(folder / "recording.json", json.dumps(facts, indent=2))


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
        face=spotted.settings["face"],
        bundle=bundle,
    )


def summarise(spotted: Spotted) -> str:
    """One line about a recording: its events, faces and length, and what could not be seen."""
    events = spotted.events
    micro, macro = ((events["kind"] == kind).sum() for kind in ("micro", "macro"))
    found = f"{micro} micro- and {macro} macro-expressions in {spotted.seconds:.1f} s"
    if speech := int(events["speech"].sum()):
        found += f" ({speech} of them look like speech)"
    wanted = spotted.settings["face"]
    face = f"face {wanted}" if wanted.isdecimal() else "a face"
    seen = f"{face} in {spotted.faces / spotted.frames:.0%} of {spotted.frames} frames"
    if not spotted.faces:
        seen = f"{face} in no frame" if wanted.isdecimal() else "no face in any frame"
    if "prediction" in events and events["prediction"].notna().any():
        counts = events["prediction"].value_counts().sort_index()
        found += f", named {', '.join(f'{name} ({count})' for name, count in counts.items())}"
    return f"{spotted.recording}: {found}; {seen}; {spotted.folder / 'page.html'}"


def _told(stream: Stream, say: Callable[[float], None]) -> Iterator[Frame]:
    for frame in stream.frames():
        yield frame
        say(frame.time)
