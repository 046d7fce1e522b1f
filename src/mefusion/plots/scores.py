"""Figures of tables: labels of a dataset, and scores of one study or several."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mefusion.common.errors import MefusionError
from mefusion.plots.style import BLUE, COLUMN, GREY, ORANGE, PAGE, PALETTE, VERMILION, legend_below, paper_style

_BARS_A_ROW = 40

# Marks of subjects by where they are: below the range, within, above.
_SIDES = {-1: ("v", VERMILION, "below"), 0: ("o", BLUE, "within"), 1: ("^", ORANGE, "above")}

_NAME_LETTERS = 45
"""Longer names of studies are broken into lines, so that half of the figure is left for the intervals."""


@paper_style()
def confusion_matrix_figure(matrix: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Draw a confusion matrix: counts, and shares of each label's clips in per cent and as colour.

    Args:
        matrix: counts [C, C]; rows are labels, columns predictions.
        classes: names of the rows and columns.
        title: a line above it.

    Returns:
        The figure.
    """
    matrix = np.asarray(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(max(COLUMN, 1.9 + 0.5 * len(classes)), PAGE) - 0.7
    figure = Figure(figsize=(side + 0.7, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.55 else "black"
        axes.text(column, row, f"{matrix[row, column]}\n{share:.0%}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(len(classes)), classes, parse_math=False)
    axes.set(xlabel="predicted", ylabel="label")
    axes.spines[:].set_visible(False)
    axes.set_title(title, wrap=True, parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the label's clips", shrink=0.8).outline.set_visible(False)
    return figure


@paper_style()
def subject_bars(subjects: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Draw the accuracy on each subject as a bar, highest first, with the number of clips above it.

    Args:
        subjects: for each subject `dataset`, `subject`, `clips` and `acc`, as in `summary.json`.
        title: a line above it.

    Returns:
        The figure; the dashed line is the accuracy on all clips. The colours of the bars are those of the datasets.

    Raises:
        MefusionError: there is no subject.
    """
    if not subjects:
        raise MefusionError("There is no subject to show; give at least one.")
    ordered = sorted(subjects, key=lambda subject: (-subject["acc"], subject["dataset"], subject["subject"]))
    datasets = sorted({subject["dataset"] for subject in ordered})
    colours = dict(zip(datasets, PALETTE * len(datasets), strict=False))
    overall = sum(s["acc"] * s["clips"] for s in ordered) / sum(s["clips"] for s in ordered)
    parts = [ordered[start : start + _BARS_A_ROW] for start in range(0, len(ordered), _BARS_A_ROW)]
    figure = Figure(figsize=(COLUMN if len(ordered) <= 12 else PAGE, 0.4 + 1.7 * len(parts)), layout="constrained")
    for axes, part in zip(np.ravel(figure.subplots(len(parts), squeeze=False)), parts, strict=True):
        bars = axes.bar(
            range(len(part)), [s["acc"] for s in part], width=0.7, color=[colours[s["dataset"]] for s in part]
        )
        # A white ground, so that the dashed line does not cross the numbers.
        clear = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}
        axes.bar_label(bars, [str(s["clips"]) for s in part], fontsize=7, padding=1.5, bbox=clear)
        axes.axhline(overall, color=GREY, linestyle="--", linewidth=0.8)
        names = [str(s["subject"]) for s in part]
        axes.set_xticks(range(len(part)), names, rotation=90, parse_math=False)
        axes.tick_params(axis="x", length=0)
        axes.set(ylim=(0, 1.12), yticks=[0, 0.5, 1], ylabel="accuracy")
        axes.set_xlim(-0.6, min(_BARS_A_ROW, len(ordered)) - 0.4)
    if len(datasets) > 1:
        legend_below(figure, [Patch(color=colours[name]) for name in datasets], datasets)
    figure.suptitle(title, parse_math=False)
    return figure


@paper_style()
def subject_spread_figure(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw the accuracy on each subject against the range that equally hard subjects would give.

    Args:
        table: rows of `mefusion.evaluation.errors.subject_spread`, in the order in which they are drawn.
        title: a line above it.

    Returns:
        The figure; bars are the ranges, the dashed line the accuracy on all clips. Subjects outside have triangles,
        those within dots. The number of clips is beside each name.
    """
    overall = table["right"].sum() / table["clips"].sum()
    parts = [table.iloc[start : start + _BARS_A_ROW] for start in range(0, len(table), _BARS_A_ROW)]
    letters = max(len(f"{row.subject} ({row.clips})") for row in table.itertuples())
    size = (COLUMN if len(table) <= 12 else PAGE, 0.4 + (1.3 + 0.06 * letters) * len(parts))
    figure = Figure(figsize=size, layout="constrained")
    for axes, part in zip(np.ravel(figure.subplots(len(parts), squeeze=False)), parts, strict=True):
        places, clips = np.arange(len(part)), part["clips"]
        low, high = part["low"] / clips, part["high"] / clips
        # A range of one number of right answers has no height: the edge shows it.
        axes.bar(places, high - low, 0.7, low, color="#D9E6F0", edgecolor="#9DB8CC", linewidth=0.6)
        axes.axhline(overall, color=GREY, linestyle="--", linewidth=0.8)
        for side, (marker, colour, _) in _SIDES.items():
            chosen = (part["outside"] == side).to_numpy()
            axes.plot(places[chosen], part["acc"][chosen], marker, color=colour, markersize=4, clip_on=False)
        names = [f"{row.subject} ({row.clips})" for row in part.itertuples()]
        axes.set_xticks(places, names, rotation=90, parse_math=False)
        axes.tick_params(axis="x", length=0)
        axes.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1], ylabel="accuracy")
        axes.set_xlim(-0.6, min(_BARS_A_ROW, len(table)) - 0.4)
    shown = [side for side in _SIDES if (table["outside"] == side).any()]
    handles = [Line2D([], [], color=_SIDES[s][1], marker=_SIDES[s][0], markersize=4, linestyle="none") for s in shown]
    expected = Patch(facecolor="#D9E6F0", edgecolor="#9DB8CC")
    legend_below(figure, [*handles, expected], [*(_SIDES[side][2] for side in shown), "95 % range"])
    figure.suptitle(title, parse_math=False)
    return figure


@paper_style()
def label_counts(counts: pd.DataFrame, title: str = "") -> Figure:
    """Draw the number of clips of each label that each subject has.

    Args:
        counts: one row for each subject, one column for each label.
        title: a line above it.

    Returns:
        The figure, with a stacked bar for each subject. Labels after the seventh have hatched bars.
    """
    parts = [counts.iloc[start : start + _BARS_A_ROW] for start in range(0, len(counts), _BARS_A_ROW)]
    figure = Figure(figsize=(COLUMN if len(counts) <= 12 else PAGE, 0.8 + 1.7 * len(parts)), layout="constrained")
    for axes, part in zip(np.ravel(figure.subplots(len(parts), squeeze=False)), parts, strict=True):
        bottom = np.zeros(len(part))
        for number, label in enumerate(counts.columns):
            style = {"color": PALETTE[number % len(PALETTE)], "hatch": "////" * (number // len(PALETTE))}
            axes.bar(range(len(part)), part[label], 0.7, bottom, label=label, edgecolor="white", linewidth=0, **style)
            bottom += part[label].to_numpy()
        axes.set_xticks(range(len(part)), [str(name) for name in part.index], rotation=90, parse_math=False)
        axes.tick_params(axis="x", length=0)
        axes.set(ylabel="clips", ylim=(0, 1.05 * counts.sum(axis=1).max()))
        axes.set_xlim(-0.6, min(_BARS_A_ROW, len(counts)) - 0.4)
    handles, labels = axes.get_legend_handles_labels()
    legend_below(figure, handles, labels)
    figure.suptitle(title, parse_math=False)
    return figure


@paper_style()
def learning_curves(curves: pd.DataFrame, title: str = "") -> Figure:
    """Draw learning curves: the values logged in each epoch, as a thin line for each run, and their median.

    Args:
        curves: rows of `metrics.csv`, with the columns `fold`, `seed`, `epoch` and, for each logged value,
            `<stage>/<name>`.
        title: a line above it.

    Returns:
        The figure, with a panel for each name; stages (train, validation) differ in colour.

    Raises:
        MefusionError: nothing was logged.
    """
    logged = [name for name in curves.columns if "/" in name and curves[name].notna().any()]
    if not logged:
        raise MefusionError("There is no learning curve to show: nothing was logged.")
    names = sorted({name.partition("/")[2] for name in logged}, key=lambda name: (name != "accuracy", name))
    stages = dict(zip(dict.fromkeys(name.partition("/")[0] for name in logged), PALETTE, strict=False))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(PAGE * columns / 3, 0.4 + 1.7 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels, names, strict=False):
        for stage, colour in stages.items():
            if f"{stage}/{name}" in logged:
                _draw_curves(axes, curves, f"{stage}/{name}", stage, colour)
        axes.set_title(name.replace("_", " ").replace("uf1", "UF1"), parse_math=False)
        axes.grid(visible=True)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        if name.endswith("accuracy"):
            axes.set_ylim(0, 1.02)
    panels[0].legend(frameon=False)
    figure.suptitle(title, parse_math=False)
    return figure


def _draw_curves(axes: Axes, curves: pd.DataFrame, column: str, stage: str, colour: str) -> None:
    logged = curves.dropna(subset=[column])
    for _, run in logged.groupby(["fold", "seed"]):
        axes.plot(run["epoch"] + 1, run[column], color=colour, linewidth=0.5, alpha=0.35)
    median = logged.groupby("epoch")[column].median()
    marker = "o" if len(median) == 1 else None  # one epoch alone gives no line
    axes.plot(median.index + 1, median, color=colour, marker=marker, label=f"{stage}, median of runs")


@paper_style()
def uf1_intervals(
    names: Sequence[str],
    scores: Sequence[float],
    intervals: Sequence[Sequence[float] | None],
    majority: float | None = None,
    title: str = "",
) -> Figure:
    """Draw the UF1 of studies with 95 % intervals, the first study at the top.

    Args:
        names: names of the studies.
        scores: UF1 of each study.
        intervals: lower and upper end for each study; None for a study without an interval.
        majority: UF1 of always predicting the most frequent class.
        title: a line above it.

    Returns:
        The figure.
    """
    names = [textwrap.fill(name, _NAME_LETTERS) for name in names]
    lines = max(name.count("\n") + 1 for name in names)
    figure = Figure(figsize=(PAGE, 0.9 + (0.1 + 0.12 * lines) * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    for place, interval in zip(places, intervals, strict=True):
        if interval is not None:
            axes.plot(interval, [place, place], color=BLUE, linewidth=1.4, solid_capstyle="butt")
    axes.plot(scores, places, "o", color=BLUE, markersize=4.5)
    if majority is not None:
        axes.axvline(majority, color=VERMILION, linestyle="--", linewidth=0.9, label="majority class")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0)
    axes.set_yticks(places, names, parse_math=False)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xlabel="UF1, 95 % interval over subjects")
    axes.grid(visible=True, axis="x")
    axes.set_title(title, loc="left", parse_math=False)
    return figure


@paper_style()
def weight_heat_map(
    table: pd.DataFrame, row_label: str, column_label: str, value_label: str = "UF1", title: str = ""
) -> Figure:
    """Draw a score as a heat map over two settings of a sweep, such as the weights of two tasks.

    Args:
        table: scores; the index has the values of one setting, the columns those of the other; NaN means no study.
        row_label, column_label: names of the two settings.
        value_label: name of the score.
        title: a line above it.

    Returns:
        The figure.
    """
    values = table.to_numpy(float)
    size = (min(max(COLUMN, 1.7 + 0.55 * values.shape[1]), PAGE), max(1.8, 1.1 + 0.36 * values.shape[0]))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(values), cmap="cividis", aspect="auto")
    low, high = image.get_clim()
    for (row, column), value in np.ndenumerate(values):
        text = "-" if np.isnan(value) else f"{value:.3f}"
        dark = not np.isnan(value) and value < (low + high) / 2
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(values.shape[1]), [_setting(value) for value in table.columns], parse_math=False)
    axes.set_yticks(range(values.shape[0]), [_setting(value) for value in table.index], parse_math=False)
    axes.set(xlabel=column_label, ylabel=row_label)
    axes.spines[:].set_visible(False)
    axes.set_title(title, parse_math=False)
    figure.colorbar(image, ax=axes, label=value_label).outline.set_visible(False)
    return figure


def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
