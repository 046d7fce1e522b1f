"""Figures: functions that take plain data and return a matplotlib Figure, without pyplot.

Most figures are one or two columns of a paper wide. Their text has at least 7 points, and colour-blind people can tell
their colours apart.
"""

from mefusion.plots.attention import attention_figure
from mefusion.plots.calibration import reliability_figure
from mefusion.plots.clips import contact_sheet, flow_key, flow_to_rgb, rank_scores_figure
from mefusion.plots.recordings import motion_curves
from mefusion.plots.scores import (
    confusion_matrix_figure,
    label_counts,
    learning_curves,
    subject_bars,
    subject_spread_figure,
    uf1_intervals,
    weight_heat_map,
)

__all__ = [
    "attention_figure",
    "confusion_matrix_figure",
    "contact_sheet",
    "flow_key",
    "flow_to_rgb",
    "label_counts",
    "learning_curves",
    "motion_curves",
    "rank_scores_figure",
    "reliability_figure",
    "subject_bars",
    "subject_spread_figure",
    "uf1_intervals",
    "weight_heat_map",
]
