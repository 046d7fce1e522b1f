"""Charts of a track over time: curves by region, events, blinks, action units, and where no face was found."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mefusion.plots.style import BLACK, BLUE, GREEN, PURPLE
from mefusion.report.recording.curves import TimeAxis, clock, curve_path, runs
from mefusion.report.recording.units import UnitLane, unit_lanes

# By the last word of a region's name, so that left is the same colour in all plots.
_COLOURS = {"left": BLUE, "middle": BLACK, "upper": BLACK, "right": GREEN, "lower": PURPLE}

KINDS = ("micro", "macro")
"""The kinds of events; each has a line of its own above the curves, so that colour is not needed to tell them."""

_KIND_HEIGHT, _BLINK_HEIGHT, _AXIS_HEIGHT, _GAP = 15, 9, 18, 8
_NARROWEST = 2.5  # px of a band, so that a micro-expression shows in an hour
_WITH_APEX = 6  # px of a band on which its apex is marked
_DIGIT = 7  # px

MOST_ROWS = 6
"""Rows into which the timeline of a long recording is cut."""

_ROW = 120.0  # s; a shorter recording has one row
_ROW_STEP = 30.0


@dataclass(frozen=True)
class Curve:
    """The curve of a region: its name, its colour, and its path, see `curve_path`."""

    name: str
    colour: str
    path: str


@dataclass(frozen=True)
class Panel:
    """A plot of the score, or of some regions. `top`, `bottom` and `threshold` (1) are px from the chart's top."""

    title: str
    top: float
    bottom: float
    threshold: float
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Band:
    """An event. `left`, `width` and `apex` are px; `top` and `height` those of its mark, above the curves.

    A narrow band has no apex, and a number only where there is room for it.
    """

    target: str
    number: int
    kind: str
    title: str
    left: float
    width: float
    apex: float | None
    top: float
    height: float
    numbered: bool = True


@dataclass(frozen=True)
class Chart:
    """A chart: sizes in px.

    Attributes:
        ceiling: the value at the top of each panel.
        absent: left and width of the stretches without the face.
        blinks: left and width of each blink.
        lanes: name and place of the lines above and below the panels.
        units: the lines of action units, below the others; most recordings have none.
        floor: lower end of the lines that go through all, px.
        step: from one frame to the next.
    """

    title: str
    width: float
    height: float
    axis: TimeAxis
    ceiling: float
    panels: Sequence[Panel]
    bands: Sequence[Band]
    absent: Sequence[tuple[float, float]]
    blinks: Sequence[tuple[float, float]]
    blinks_top: float
    lanes: Sequence[tuple[str, float]]
    step: float
    units: Sequence[UnitLane]
    floor: float


@dataclass(frozen=True)
class Layout:
    """Sizes of a chart, px: its width, the room for names at its left, and the height of a panel; has it units?"""

    width: float
    left: float
    panel: float
    right: float = 20
    units: bool = False


WIDE = Layout(width=1100, left=70, panel=64, units=True)
"""The timeline of a recording."""

SMALL = Layout(width=460, left=52, panel=52)
"""The curves around an event."""


@dataclass(frozen=True)
class Track:
    """What a chart shows of a track.

    Attributes:
        times: [n] s, of all frames of the recording.
        present: [n], whether the face is found.
        blink: [n], whether its eyes are closed.
        curves: [n] by name: `score`, and for each region motion / threshold; NaN where they were not measured.
        events: rows of the events table.
    """

    times: np.ndarray
    present: np.ndarray
    blink: np.ndarray
    curves: Mapping[str, np.ndarray]
    events: Sequence[Mapping[str, Any]]


def score_ceiling(highest: float) -> float:
    """Top of the panels, 2 to 6, for a highest value: a large motion must not flatten the small ones."""
    return float(np.clip(np.ceil(np.nan_to_num(highest)), 2, 6))


def make_track(
    frames: pd.DataFrame, number: int, thresholds: Mapping[str, float], events: Sequence[Mapping[str, Any]]
) -> Track:
    """Spread the rows of a track over all frames of the recording.

    Args:
        frames: frame, time, track, blink, score and the motion of each region.
        number: of the track.
        thresholds: for each region, in the unit of its motion.
        events: of the track.
    """
    every = frames.drop_duplicates("frame")
    own = frames[frames["track"] == number].set_index("frame").reindex(every["frame"])
    motions = {region: (f"motion_{region}", threshold) for region, threshold in thresholds.items()}
    return Track(
        times=every["time"].to_numpy(np.float64),
        present=own["track"].notna().to_numpy(bool),
        blink=own["blink"].eq(True).fillna(False).to_numpy(bool),
        curves={
            name: own[column].to_numpy(np.float32) / unit
            for name, (column, unit) in {"score": ("score", 1.0), **motions}.items()
        },
        events=events,
    )


def colour_of(name: str) -> str:
    """Colour of a curve, as CSS has it."""
    return _COLOURS.get(name.split("_")[-1], BLACK)


def colour_key(regions: Iterable[str]) -> dict[str, str]:
    """What each colour of the curves means: the last words of its regions' names."""
    words: dict[str, list[str]] = {}
    for name in ("score", *regions):
        words.setdefault(colour_of(name), []).append(name.split("_")[-1])
    return {", ".join(dict.fromkeys(names)): colour for colour, names in words.items()}


def rows_of(end: float) -> list[tuple[float, float]]:
    """Start and end, s, of the rows of a recording's timeline: one up to two minutes, at most six."""
    length = max(_ROW, np.ceil(end / MOST_ROWS / _ROW_STEP) * _ROW_STEP)
    count = max(int(np.ceil(end / length)), 1)
    return [(row * length, min((row + 1) * length, end)) for row in range(count)]


def draw(
    track: Track, span: tuple[float, float], title: str, layout: Layout, *, ceiling: float, regions: Sequence[str]
) -> Chart:
    """Chart of a stretch of a track.

    Args:
        track: see `Track`.
        span: start and end, s.
        title: what the chart shows, for those who cannot see it.
        layout: `WIDE` or `SMALL`.
        ceiling: value at the top of the panels; higher ones are drawn there.
        regions: those that are shown, below the score; regions of one part of the face, such as `brow_left`, share a
            panel.
    """
    axis = TimeAxis(*span, left=layout.left, width=layout.width - layout.left - layout.right)
    kinds_height = len(KINDS) * _KIND_HEIGHT
    panels, top = [], float(kinds_height + _GAP)
    shown = ["score", *regions]
    for part in dict.fromkeys(name.split("_")[0] for name in shown):
        names = [name for name in shown if name.split("_")[0] == part]
        panels.append(_panel(track, axis, names, part, top=top, height=layout.panel, ceiling=ceiling))
        top += layout.panel + _GAP
    lanes = [(kind, (place + 0.5) * _KIND_HEIGHT) for place, kind in enumerate(KINDS)]
    units = unit_lanes(track.events, axis, top=top + _BLINK_HEIGHT + _GAP) if layout.units else []
    bottom = units[-1].bottom if units else top + _BLINK_HEIGHT
    return Chart(
        title=title,
        width=layout.width,
        height=bottom + _AXIS_HEIGHT,
        axis=axis,
        ceiling=ceiling,
        panels=panels,
        bands=_bands(track, axis),
        absent=_stretches(track.times, ~track.present, axis),
        blinks=_stretches(track.times, track.blink, axis),
        blinks_top=top,
        lanes=[*lanes, ("blink", top + _BLINK_HEIGHT / 2)],
        step=axis.width / (axis.end - axis.start) * float(np.median(np.diff(track.times)))
        if len(track.times) > 1
        else 0.0,
        units=units,
        floor=bottom if units else panels[-1].bottom,
    )


def _panel(
    track: Track, axis: TimeAxis, names: Sequence[str], part: str, *, top: float, height: float, ceiling: float
) -> Panel:
    inside = slice(*np.searchsorted(track.times, [axis.start, axis.end + 1e-9]))
    x, bottom = axis.x(track.times[inside]), top + height
    curves = [
        Curve(
            name=name.replace("_", " "),
            colour=colour_of(name),
            path=curve_path(x, bottom - height * np.clip(track.curves[name][inside], 0, ceiling) / ceiling),
        )
        for name in names
    ]
    return Panel(part, top, bottom, bottom - height / ceiling, curves)


def _bands(track: Track, axis: TimeAxis) -> list[Band]:
    shown = [event for event in track.events if event["offset_time"] >= axis.start and event["onset_time"] <= axis.end]
    bands = [_band(event, axis) for event in shown]
    free = dict.fromkeys(KINDS, np.inf)  # a number has room up to the next event of its kind
    for place, band in reversed([*enumerate(bands)]):
        end = band.left + band.width + _DIGIT * (len(str(band.number)) + 1)
        bands[place] = replace(band, numbered=end <= free[band.kind])
        free[band.kind] = band.left
    return bands


def _band(event: Mapping[str, Any], axis: TimeAxis) -> Band:
    left, apex, right = (float(axis.x(event[f"{name}_time"])) for name in ("onset", "apex", "offset"))
    number, kind = event["event"], event["kind"]
    return Band(
        target=f"event-{event['track']}-{number}",
        number=number,
        kind=kind,
        title=f"event {number}: {kind}, {clock(event['onset_time'])} to {clock(event['offset_time'])}",
        left=round(left, 1),
        width=round(max(right - left, _NARROWEST), 1),
        apex=round(apex, 1) if right - left > _WITH_APEX else None,
        top=KINDS.index(kind) * _KIND_HEIGHT,
        height=_KIND_HEIGHT - 3,
    )


def _stretches(times: np.ndarray, mask: np.ndarray, axis: TimeAxis) -> list[tuple[float, float]]:
    """Left and width, px, of the stretches where a mask over frames is true; a frame lasts until the next one."""
    ends = np.append(times, times[-1])  # the last frame has no next one
    found = runs(mask)
    lefts, rights = axis.x(ends[found[:, 0]]), axis.x(ends[found[:, 1]])
    shown = (ends[found[:, 1]] > axis.start) & (ends[found[:, 0]] < axis.end)
    widths = np.maximum(rights - lefts, 0.5)
    return [(round(float(x), 1), round(float(w), 1)) for x, w in zip(lefts[shown], widths[shown], strict=True)]
