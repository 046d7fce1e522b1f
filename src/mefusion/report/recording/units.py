"""Action units on the page of a recording: a line for each unit over time, as coders of faces draw them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mefusion.common.units import UNITS
from mefusion.evaluation.units import THRESHOLD, UNIT
from mefusion.report.recording.curves import TimeAxis, clock

LANE = 16  # px, height of a unit's line
_HIGHEST = 13  # px, a bar of probability 1
_NARROWEST = 2.5  # px, as of the events above


@dataclass(frozen=True)
class UnitBar:
    """The probability of a unit in an event: a bar, px, that is the higher the more probable; `present` is above .5."""

    left: float
    width: float
    top: float
    height: float
    present: bool
    title: str


@dataclass(frozen=True)
class UnitLane:
    """The line of a unit: its number and name, its lower edge, px, and a bar for each event."""

    unit: int
    name: str
    bottom: float
    bars: Sequence[UnitBar]


def units_of(row: Mapping[str, Any]) -> dict[int, float]:
    """Probability of each action unit that a row of the events table has; a missing value is None."""
    found = {unit: row.get(f"{UNIT}{unit}") for unit in UNITS}
    return {unit: float(value) for unit, value in found.items() if value is not None}


def present_units(row: Mapping[str, Any]) -> str:
    """The units with a probability above .5, such as "1+2"; empty if there are none."""
    return "+".join(str(unit) for unit, value in units_of(row).items() if value > THRESHOLD)


def unit_lanes(events: Sequence[Mapping[str, Any]], axis: TimeAxis, *, top: float) -> list[UnitLane]:
    """The lines of the units below a chart.

    Args:
        events: rows of the events table of a track.
        axis: of the chart.
        top: of the first line, px.

    Returns:
        A line for each unit that an event of the track has a probability of.
    """
    shown = [row for row in events if row["offset_time"] >= axis.start and row["onset_time"] <= axis.end]
    units = [unit for unit in UNITS if any(unit in units_of(row) for row in events)]
    lanes = []
    for place, unit in enumerate(units):
        bottom = top + (place + 1) * LANE - 2
        bars = [_bar(row, unit, axis, bottom) for row in shown if unit in units_of(row)]
        lanes.append(UnitLane(unit, UNITS[unit], bottom, bars))
    return lanes


def _bar(row: Mapping[str, Any], unit: int, axis: TimeAxis, bottom: float) -> UnitBar:
    left, right = (float(axis.x(row[f"{end}_time"])) for end in ("onset", "offset"))
    value = units_of(row)[unit]
    height = round(_HIGHEST * value, 1)
    return UnitBar(
        left=round(left, 1),
        width=round(max(right - left, _NARROWEST), 1),
        top=round(bottom - height, 1),
        height=height,
        present=value > THRESHOLD,
        title=f"event {row['event']}, from {clock(row['onset_time'])}: {unit} {UNITS[unit]} {value:.2f}",
    )
