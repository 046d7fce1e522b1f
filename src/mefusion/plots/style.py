"""What all figures share: width, text sizes, colours."""

from typing import Any

from matplotlib import rc_context
from matplotlib.rcsetup import cycler

COLUMN, PAGE = 3.5, 7.0
"""Inches: widths of a figure over one and two columns of a paper."""

# Okabe and Ito's palette.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#666666"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)

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
