"""Common style of all figures: widths, text sizes, colours, the legend, and which frames of a clip are shown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

COLUMN, PAGE = 3.5, 7.0
"""Widths of a figure over one and two columns of a paper, inches."""

# The palette of Okabe and Ito without its yellow, as yellow lines are hard to see on white.
ORANGE, SKY, GREEN, BLACK = "#E69F00", "#56B4E9", "#009E73", "#000000"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#666666"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, BLACK)

# Sizes in points. The grid is faint, so that the data stand out.
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
    """Decorator for functions that draw: their figures get these sizes and colours."""
    return rc_context(_PAPER)


def shown_frames(length: int, columns: int) -> list[int]:
    """Indices of at most `columns` of a clip's `length` frames: the first, the last, and others evenly between them."""
    return np.unique(np.linspace(0, length - 1, min(columns, length)).round().astype(int)).tolist()


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Put a legend below the axes of a figure, in as many columns as fit its width; labels are not read as formulas."""
    column = 0.5 + 0.062 * max(
        map(len, labels)
    )  # inches: 0.5 for the mark and spaces, the rest for letters of 7 points
    columns = max(1, min(len(labels), int(figure.get_figwidth() / column)))
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
