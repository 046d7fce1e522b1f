"""From a recording to its whole result: spot its events, name them, draw the page and the overlay video."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from mefusion.clips.stream import Stream
from mefusion.report.recording.result import forget_shown, note_shown, problems_shown, show_result
from mefusion.spotting.recording import Spotted, spot_recording
from mefusion.spotting.settings import SpottingSettings

if TYPE_CHECKING:  # spotting alone does without torch
    from mefusion.inference.predictor import Predictor


def process(
    stream: Stream,
    folder: Path,
    settings: SpottingSettings,
    predictor: "Predictor | None",
    *,
    command: str,
    overlay: bool,
    shown: Callable[[str], AbstractContextManager[Callable[[float], None]]],
) -> tuple[Spotted, list[str]]:
    """Spot one recording, recognise its events if there is a network, and draw the result.

    What was drawn before, of the same events and by the same network, is not drawn again.

    Args:
        stream: the recording.
        folder: of the result.
        settings: of spotting.
        predictor: names the events; None leaves them without names.
        command: that the page tells.
        overlay: whether `overlay.mp4` is written.
        shown: is given the name of a stage, empty for the first, and shows how far it is: it yields a function that is
            called with the time that has been reached, s.

    Returns:
        What was found; and a sentence for each thing that could not be read or recognised.

    Raises:
        MefusionError: the recording cannot be read, or the network cannot be used on recordings.
    """
    with shown("") as say:
        spotted = spot_recording(stream, folder, settings, say=say)
    network = predictor.facts["checksum"] if predictor else ""
    problems = problems_shown(folder, network=network, overlay=overlay)
    if problems is not None:
        return spotted, problems
    problems = [spotted.problem] if spotted.problem else []
    events = spotted.unnamed_events
    if predictor is not None:
        from mefusion.inference.events import recognise_events

        with shown("naming") as say:
            events, unused = recognise_events(predictor, stream, spotted, say=say)
        problems += unused
    forget_shown(folder)
    spotted = spotted.with_events(events)
    with shown("overlay" if overlay else "page") as say:
        bundle = predictor.described if predictor else ""
        show_result(stream, spotted, command=command, overlay=overlay, bundle=bundle, say=say)
    note_shown(folder, problems, network=network)
    return spotted, problems
