"""One page about a spotted recording, which needs no other file and no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from mefusion import __version__
from mefusion.common.files import write_text
from mefusion.common.units import UNITS
from mefusion.evaluation.spotting import MICRO_SECONDS
from mefusion.report.recording.curves import FINE, clock
from mefusion.report.recording.strips import PHASES, SIDE, Key, Read, Strip, frames_of, key_of, make_strips
from mefusion.report.recording.tables import load_columns, load_faces
from mefusion.report.recording.timeline import (
    SMALL,
    WIDE,
    Chart,
    Track,
    colour_key,
    draw,
    make_track,
    rows_of,
    score_ceiling,
)
from mefusion.report.recording.units import present_units, units_of

MOST_STRIPS = 60
"""Events that get pictures, those with the highest scores: more would make the page too large for a browser."""

_AROUND = 1.0  # s of the curves before and after an event

PROBABILITY = "probability_"
"""How the columns of the classes begin."""


@dataclass(frozen=True)
class RecordingFacts:
    """What the page says about a recording, beside its tables.

    Attributes:
        name: name of the video file.
        duration: s.
        rate: mean frame rate, frames/s.
        rate_varies: whether frames are shown for different times.
        width, height: of the displayed picture, px.
        thresholds: typical threshold of each region, % of the inter-ocular distance; the unit of its curve.
        command: that spotted it.
        date: when.
        bundle: the network that named the events; empty if none did.
        face: whose events: `largest`, `all`, or the number of a track.
    """

    name: str
    duration: float
    rate: float
    rate_varies: bool
    width: int
    height: int
    thresholds: Mapping[str, float]
    command: str
    date: str
    bundle: str = ""
    face: str = "largest"


@dataclass(frozen=True)
class ShownEvent:
    """An event as the page shows it.

    Attributes:
        row: of the events table; a missing value is None.
        anchor: its id on the page.
        facts: in words.
        warnings: sentences.
        prediction: the class; empty without a network.
        probabilities: by class, the highest first; empty without a network.
        units: probability by action unit; empty without a network that tells them.
        present: the units above .5, such as "1+2".
        strip: its pictures, or why there are none; None if there are too many events.
        chart: the curves around it; None without pictures.
    """

    row: Mapping[str, Any]
    anchor: str
    facts: str
    warnings: Sequence[str]
    prediction: str
    probabilities: Mapping[str, float]
    units: Mapping[int, float]
    present: str
    strip: Strip | str | None
    chart: Chart | None


def write_page(path: Path, facts: RecordingFacts, events: pd.DataFrame, frames: Path, read: Read) -> None:
    """Write the page of a recording: its curves over time with its events, a table of them, and pictures of each.

    Args:
        path: of the HTML file.
        facts: about the recording.
        events: the events table.
        frames: the frames table, a Parquet file. Its landmarks are read for the frames of events only.
        read: gives the frames [H, W, 3] of the video with some ascending numbers, in one pass; those that cannot be
            read are missing.

    Raises:
        WriteError: the page cannot be written.
    """
    rows = events.astype(object).where(events.notna(), None).to_dict("records")
    motions = {f"motion_{region}": threshold for region, threshold in facts.thresholds.items()}
    table = load_columns(frames, ["blink", "score", *motions])
    scales = pd.Series({"score": 1.0, **motions})
    highest = float((table[[*scales.index]].max() / scales).max())  # NaN without a face
    ceiling = score_ceiling(highest)
    pictured = sorted(rows, key=lambda row: -row["score"])[:MOST_STRIPS]
    strips = make_strips(pictured, load_faces(frames, frames_of(pictured)), read) if pictured else {}
    timelines: dict[int, list[Chart]] = {}
    close_ups: dict[Key, Chart] = {}
    for number in sorted(map(int, table["track"].dropna().unique())):  # one at a time: hours of many tracks are large
        track = make_track(table, number, facts.thresholds, [row for row in rows if row["track"] == number])
        timelines[number] = _timeline(track, number, facts, ceiling)
        close_ups |= {key_of(row): _close_up(row, track, facts) for row in track.events if key_of(row) in strips}
    shown = [_shown(row, strips.get(key_of(row)), close_ups.get(key_of(row))) for row in rows]
    text = (
        _environment()
        .get_template("page.html.j2")
        .render(
            facts=facts,
            header=_header(facts, table, rows),
            timelines=timelines,
            events=shown,
            pictured=[event for event in shown if event.strip is not None],
            several_tracks=len(timelines) > 1,
            ceiling=ceiling,
            cut=highest > ceiling,
            region_colours=colour_key(facts.thresholds),
            named=any(event.probabilities for event in shown),
            coded=any(event.units for event in shown),
            unit_names=UNITS,
            longest_micro=MICRO_SECONDS,
            phases=PHASES,
            side=SIDE,
            fine=FINE,
            version=__version__,
        )
    )
    write_text(path, text)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mefusion.report.recording", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"clock": clock, "in_words": regions_in_words}
    return environment


def _header(facts: RecordingFacts, table: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    count = table["frame"].nunique()
    with_face = table.loc[table["track"].notna(), "frame"].nunique() / max(count, 1)
    kinds = {kind: sum(row["kind"] == kind for row in rows) for kind in ("micro", "macro")}
    entries = {
        "Recording": facts.name,
        "Length": f"{clock(facts.duration)} ({'h:' if facts.duration >= 3600 else ''}min:s), {count} frames",
        "Frame rate": f"{facts.rate:.2f} frames/s on average; it varies"
        if facts.rate_varies
        else f"{facts.rate:.2f} frames/s",
        "Size": f"{facts.width} x {facts.height} px",
        "Faces": f"{_count(table['track'].nunique(), 'track')}; a face in {100 * with_face:.1f} % of the frames"
        if with_face
        else "none found",
        "Spotted": f"{kinds['micro']} micro, {kinds['macro']} macro",
        "Thresholds": _thresholds(facts.thresholds),
        "Named by": facts.bundle,
        "Date": facts.date,
        "Command": facts.command,
    }
    return {name: text for name, text in entries.items() if text}


def _thresholds(thresholds: Mapping[str, float]) -> str:
    """Thresholds in words; regions of one part of the face can differ."""
    parts: dict[str, list[float]] = {}
    for region, threshold in thresholds.items():
        parts.setdefault(region.partition("_")[0], []).append(threshold)
    texts = [
        f"{part} {min(values):.1f}" + (f" to {max(values):.1f}" if max(values) - min(values) >= 0.05 else "") + " %"
        for part, values in parts.items()
    ]
    return f"{', '.join(texts)} of the distance between the eyes"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _timeline(track: Track, number: int, facts: RecordingFacts, ceiling: float) -> list[Chart]:
    """The rows in which the track's face is found."""
    charts = []
    for start, end in rows_of(max(facts.duration, float(track.times[-1]))):
        if track.present[(track.times >= start) & (track.times <= end)].any():
            title = f"Curves of track {number} from {clock(start, 0)} to {clock(end, 0)}"
            charts.append(draw(track, (start, end), title, WIDE, ceiling=ceiling, regions=list(facts.thresholds)))
    return charts


def _shown(row: Mapping[str, Any], strip: Strip | str | None, chart: Chart | None) -> ShownEvent:
    found = {name.removeprefix(PROBABILITY): value for name, value in row.items() if name.startswith(PROBABILITY)}
    known = {name: float(value) for name, value in found.items() if value is not None}
    return ShownEvent(
        row=row,
        anchor=f"event-{row['track']}-{row['event']}",
        facts=describe(row),
        warnings=warnings_of(row),
        prediction=row.get("prediction") or "",
        probabilities=dict(sorted(known.items(), key=lambda item: -item[1])),
        units=units_of(row),
        present=present_units(row),
        strip=strip,
        chart=chart,
    )


def _close_up(row: Mapping[str, Any], track: Track, facts: RecordingFacts) -> Chart:
    last = max(facts.duration, float(track.times[-1]))
    span = max(row["onset_time"] - _AROUND, 0.0), min(row["offset_time"] + _AROUND, last)
    moved = row["regions"].split("+")
    parts = {region.split("_")[0] for region in moved}
    regions = [region for region in facts.thresholds if region.split("_")[0] in parts]
    title = f"Curves around event {row['event']}"
    return draw(track, span, title, SMALL, ceiling=max(2.0, float(row["score"])) * 1.05, regions=regions)


def describe(row: Mapping[str, Any]) -> str:
    """An event in words, such as "0.32 s; moves brow (left), nose, by 4.1 % of the distance between the eyes, ..."."""
    return (
        f"{row['duration']:.2f} s; moves {regions_in_words(row['regions'])}, by {row['strength']:.1f} % of the "
        f"distance between the eyes, {row['score']:.1f} times the threshold"
    )


def regions_in_words(regions: str) -> str:
    """Regions by part of the face, such as "brow (left, right), nose" for "brow_left+brow_right+nose"."""
    sides: dict[str, list[str]] = {}
    for region in regions.split("+"):
        part, _, side = region.partition("_")
        sides.setdefault(part, []).extend(filter(None, [side]))
    return ", ".join(f"{part} ({', '.join(found)})" if found else part for part, found in sides.items())


def warnings_of(row: Mapping[str, Any]) -> list[str]:
    """Sentences about what speaks against an event, from its row of the events table; a missing value is None."""
    warnings = []
    if row["blink"]:
        warnings.append(f"A blink hides {100 * row['blink']:.0f} % of its frames.")
    if row["speech"]:
        warnings.append("It looks like speech.")
    if unlike := row.get("warnings"):
        refused = unlike.startswith("not recognised")
        warnings.append(f"{'' if refused else 'Unlike what the network was trained on: '}{unlike}.")
    return warnings
