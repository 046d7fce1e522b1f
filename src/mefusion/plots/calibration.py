"""Figure of calibration: how often answers are right, by how sure the network is of them."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from mefusion.plots.style import BLUE, COLUMN, GREY, ORANGE, legend_below, paper_style


@paper_style()
def reliability_figure(parts: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Draw the accuracy of answers over their confidence; the area of a mark is its share of the answers.

    Args:
        parts: name -> rows of `mefusion.evaluation.calibration.reliability`: `confidence`, `accuracy` and `share` of
            each bin, 0..1; at most two parts, such as before and after a temperature.
        title: a line above it.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(COLUMN, COLUMN), layout="constrained")
    axes = figure.subplots()
    (perfect,) = axes.plot([0, 1], [0, 1], color=GREY, linestyle="--")
    handles = [perfect]
    for (_, rows), colour, marker in zip(parts.items(), (ORANGE, BLUE), ("o", "s"), strict=False):
        (line,) = axes.plot(rows["confidence"], rows["accuracy"], color=colour, marker=marker, markersize=4)
        axes.scatter(
            rows["confidence"], rows["accuracy"], s=400 * rows["share"], color=colour, alpha=0.35, marker=marker
        )
        handles.append(line)
    axes.set(
        xlim=(0, 1.04),
        ylim=(-0.04, 1.04),
        xlabel="confidence: probability of the answer",
        ylabel="share of right answers",
    )
    axes.grid(visible=True)
    axes.set_title(title, parse_math=False)
    legend_below(figure, handles, ["perfectly calibrated", *parts])
    return figure
