"""Check every clip of a cache, and show all of them on one page that needs no other file."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from mefusion import __version__
from mefusion.clips.cache import RECORDED_COLUMNS, load_arrays
from mefusion.common.errors import MefusionError
from mefusion.common.files import write_text
from mefusion.preparation.quality import WARNINGS, Measures, mean_shape, measure, warnings_of
from mefusion.processes.parallel import parallel_map
from mefusion.report.prepared.strips import Strip, make_strip

_RECORDED = {"faces": "faces", "edge": "edge", "interpolated": "frames_read", "past_end": "frames_past_end"}
"""Warnings that need what preparation recorded: the column of the cache's index that they need."""


@dataclass(frozen=True)
class CheckedClip:
    """A clip of a cache, as the page shows it.

    Attributes:
        row: of the cache's index; a missing value is None.
        strip: None where the file cannot be read.
        measures: of its arrays.
        warnings: kind (see `WARNINGS`) and sentence of each.
    """

    row: Mapping[str, Any]
    strip: Strip | None
    measures: Measures
    warnings: Sequence[tuple[str, str]]

    @property
    def kinds(self) -> list[str]:
        """Kinds of its warnings, each once."""
        return list(dict.fromkeys(kind for kind, _ in self.warnings))


def check_clips(index: pd.DataFrame, folder: Path, *, workers: int | None = None) -> list[CheckedClip]:
    """Look at every clip of a cache, in parallel.

    Args:
        index: of the cache.
        folder: of the cache.
        workers: number of processes; None is one a core.

    Returns:
        The clips in the order of the index.
    """
    columns = {name: index.get(name) for name in RECORDED_COLUMNS}  # None in caches of version 0.1
    rows = index.assign(**columns).astype(object).where(lambda table: table.notna(), None).to_dict("records")
    items = [(number, str(row["file"]), int(row["stride"])) for number, row in enumerate(rows)]
    looks = parallel_map(functools.partial(_look, folder), items, description="Checking", workers=workers)
    seen = [look for _, look in sorted(looks, key=lambda pair: pair[0])]
    shapes = [measures.shapes.mean(axis=0) for _, measures, _ in seen if measures.shapes is not None]
    mean = mean_shape(shapes) if shapes else None
    checked = []
    for row, (strip, measures, problem) in zip(rows, seen, strict=True):
        warnings = [("damaged", problem)] if problem else warnings_of(row, measures, mean)
        checked.append(CheckedClip(row, strip, measures, list(warnings)))
    return checked


def _look(folder: Path, item: tuple[int, str, int]) -> tuple[Strip | None, Measures, str]:
    _, file, stride = item
    try:
        arrays = load_arrays(folder / file)
    except MefusionError as error:
        return None, Measures(), str(error)
    return make_strip(arrays), measure(arrays, stride), ""


def write_page(path: Path, clips: Sequence[CheckedClip], left_out: pd.DataFrame, *, title: str) -> None:
    """Write the page: what each warning means and how often it is, a strip of every clip, and what is left out.

    Clips with warnings come first, those with the most kinds at the top.

    Args:
        path: of the HTML file.
        clips: see `check_clips`.
        left_out: clips that preparation left out, see `mefusion.clips.cache.read_left_out`.
        title: of the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mefusion.report.prepared", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=title,
        clips=sorted(clips, key=lambda clip: -len(clip.kinds)),
        kinds=WARNINGS,
        counts={kind: sum(kind in clip.kinds for clip in clips) for kind in WARNINGS},
        not_recorded={
            kind: sum(clip.row[column] is None and clip.measures.motion is not None for clip in clips)
            for kind, column in _RECORDED.items()
        },
        old=sum(clip.row["frames_read"] is None and clip.measures.motion is not None for clip in clips),
        left_out=left_out.to_dict("records"),
        version=__version__,
    )
    write_text(path, page)
