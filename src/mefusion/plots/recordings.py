"""Figures of recordings: how the parts of a face move over time, and the events that were spotted."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mefusion.common.errors import MefusionError
from mefusion.plots.style import BLACK, BLUE, GREEN, GREY, PAGE, PURPLE, SKY, VERMILION, legend_below, paper_style

_KINDS = {"micro": VERMILION, "macro": SKY}
_SIDES = {"left": BLUE, "right": GREEN, "lower": PURPLE}  # black: the middle, and what has no sides
_PREFIX = "motion_"


@paper_style()
def motion_curves(frames: pd.DataFrame, events: pd.DataFrame, *, track: int | None = None, title: str = "") -> Figure:
    """Draw the score and the movement of each part of a face over time, with the events of its track.

    Args:
        frames: of `mefusion.spot`, or `frames.parquet`.
        events: of `mefusion.spot`, or `events.csv`; with `prediction`, events are named.
        track: number of the face; None means the one that is seen longest.
        title: a line above it.

    Returns:
        The figure. Events are shaded, with their numbers above; frames without the face are grey.

    Raises:
        MefusionError: there is no such track.
    """
    seen = frames["track"].value_counts()
    if seen.empty:
        raise MefusionError("no face was found in this recording: there is nothing to draw")
    chosen = int(seen.index[0]) if track is None else track
    if chosen not in seen.index:
        raise MefusionError(f"track={chosen}: choose from {', '.join(map(str, sorted(map(int, seen.index))))}")
    every = frames.drop_duplicates("frame")
    own = frames[frames["track"] == chosen].set_index("frame").reindex(every["frame"])
    time = every["time"].to_numpy(float)
    parts = _parts(frames)
    figure = Figure(figsize=(PAGE, 0.9 * (1 + len(parts)) + 0.7), layout="constrained")
    axes = figure.subplots(1 + len(parts), sharex=True)
    axes[0].plot(time, own["score"].to_numpy(float), color=BLACK)
    axes[0].axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    axes[0].set_ylabel("score")
    for part, regions in parts.items():
        axis = axes[1 + [*parts].index(part)]
        for region in regions:
            colour = _SIDES.get(region.rpartition("_")[2], BLACK)
            axis.plot(time, own[_PREFIX + region].to_numpy(float), color=colour, linewidth=0.9)
        axis.set_ylabel(f"{part}, %")
    here = events[events["track"] == chosen]
    for axis in axes:
        _shade(axis, time, own["track"].notna().to_numpy(bool), here)
        axis.set_ylim(bottom=0)
        axis.margins(x=0)
    _number(axes[0], here)
    axes[-1].set_xlabel("time, s")
    figure.suptitle(title or f"track {chosen}", parse_math=False)
    _legend(figure)
    return figure


def _parts(frames: pd.DataFrame) -> Mapping[str, list[str]]:
    """Regions by part of the face, such as brow: brow_left, brow_right."""
    parts: dict[str, list[str]] = {}
    for column in frames:
        if str(column).startswith(_PREFIX):
            region = str(column).removeprefix(_PREFIX)
            parts.setdefault(region.partition("_")[0], []).append(region)
    return parts


def _shade(axis: Axes, time: np.ndarray, present: np.ndarray, events: pd.DataFrame) -> None:
    axis.fill_between(
        time, 0, 1, where=~present, transform=axis.get_xaxis_transform(), color="#DDDDDD", linewidth=0, step="post"
    )
    for event in events.itertuples():
        axis.axvspan(event.onset_time, event.offset_time, color=_KINDS[event.kind], alpha=0.3, linewidth=0)


def _number(axis: Axes, events: pd.DataFrame) -> None:
    """The number of each event above its apex, and what a network calls it."""
    named = "prediction" in events
    for event in events.to_dict("records"):
        name = f" {event['prediction']}" if named and isinstance(event["prediction"], str) else ""
        axis.annotate(
            f"{event['event']}{name}", (event["apex_time"], 1), (0, 2), xycoords=axis.get_xaxis_transform(),
            textcoords="offset points", ha="center", fontsize=7, parse_math=False,
        )  # fmt: skip


def _legend(figure: Figure) -> None:
    marks = {f"{kind} event": Patch(color=colour, alpha=0.3) for kind, colour in _KINDS.items()}
    lines = {name: Line2D([], [], color=colour) for name, colour in {**_SIDES, "middle, upper, nose": BLACK}.items()}
    shown = {**marks, "no face": Patch(color="#DDDDDD"), **lines}
    shown["threshold"] = Line2D([], [], color=GREY, linestyle="--", linewidth=0.8)
    legend_below(figure, [*shown.values()], [*shown])
