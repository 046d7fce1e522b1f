"""Write the page of an annotation run: one file, which needs no other and runs no code."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from mefusion import __version__
from mefusion.annotation.extraction.contents import segment_pictures
from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.labelling.answers import NOTICE
from mefusion.clips.stream import Stream
from mefusion.common.errors import MefusionError
from mefusion.common.files import write_text
from mefusion.report.annotation.run import AnnotationRun

PICTURES = 6  # of a segment
SIDE = 112  # px
MOST = 120  # segments of a sheet; more make a page that no browser likes

Draw = Callable[[Segment], list[np.ndarray]]


@dataclass(frozen=True)
class Card:
    """A segment of the sheet: what is known of it, and its pictures (base64 JPEG)."""

    segment: Segment
    row: Any
    pictures: Sequence[str]


def write_page(path: Path, run: AnnotationRun, command: str = "") -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        run: see `read_run`.
        command: the command line that makes the report.
    """

    def draw(segment: Segment) -> list[np.ndarray]:
        return face_pictures(segment, run.folder)

    by_status: dict[bool, list[Segment]] = {True: [], False: []}
    for segment in run.segments:
        if segment.name in run.labels:
            by_status[bool(run.labels[segment.name]["dominant"])].append(segment)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mefusion.report.annotation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        run=run,
        notice=NOTICE,
        most=max([1, *run.distribution.values()]),
        labelled=_cards(by_status[True], run, draw),
        rejected=_cards(by_status[False], run, draw),
        counts=by_status,
        command=command,
        version=__version__,
    )
    write_text(path, page)


def face_pictures(segment: Segment, folder: Path) -> list[np.ndarray]:
    """Faces of a segment, `SIDE` px, from its clip, or else from its video; none if neither can be read."""
    clip = folder / "clips" / f"{segment.name}.mp4"
    try:
        if clip.is_file():
            return [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in _spread(clip)]
        return segment_pictures(segment, folder, count=PICTURES, size=SIDE, picture="face")
    except (MefusionError, OSError):  # a folder or file of the run was deleted
        return []


def _spread(clip: Path) -> list[np.ndarray]:
    """Pictures of a clip at equal distances."""
    stream = Stream(clip)
    count = sum(1 for _ in stream.frames())
    wanted = {*np.linspace(0, count - 1, PICTURES).round().astype(int).tolist()} if count else set()
    return [frame.image for number, frame in enumerate(stream.frames()) if number in wanted]


def _cards(segments: Sequence[Segment], run: AnnotationRun, draw: Draw) -> list[Card]:
    """At most `MOST` segments, at equal distances in the run."""
    chosen: Iterable[Segment] = segments
    if len(segments) > MOST:
        chosen = [segments[place] for place in np.linspace(0, len(segments) - 1, MOST).round().astype(int)]
    return [Card(segment, run.labels[segment.name], [_jpeg(image) for image in draw(segment)]) for segment in chosen]


def _jpeg(image: np.ndarray) -> str:
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return base64.b64encode(data.tobytes()).decode()
