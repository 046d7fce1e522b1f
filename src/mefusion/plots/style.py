"""What all figures share: width, text sizes, colours, the legend and which frames of a clip are shown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

COLUMN, PAGE = 3.5, 7.0
"""Inches: widths of a figure over one and two columns of a paper."""

# Okabe and Ito's palette, without its yellow: a line of that is lost on white.
ORANGE, SKY, GREEN, BLACK = "#E69F00", "#56B4E9", "#009E73", "#000000"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#666666"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, BLACK)

# Points; the grid is faint, as it only helps to read the marks.
_PAPER: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=PALETTE),
}


def paper_style() -> Any:
    """Decorator of a function that draws: its figure has these sizes and colours."""
    return rc_context(_PAPER)


def shown_frames(length: int, columns: int) -> list[int]:
    """At most `columns` frames of a clip's `length`, by their places from 0: the first, the last, evenly between."""
    return np.unique(np.linspace(0, length - 1, min(columns, length)).round().astype(int)).tolist()


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Give a figure a legend under its axes, in as many columns as its width takes; names are shown as they are."""
    column = 0.5 + 0.062 * max(map(len, labels))  # inches: the mark with its space, and 7 point letters
    columns = max(1, min(len(labels), int(figure.get_figwidth() / column)))
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
