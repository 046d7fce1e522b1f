import numpy as np
import pandas as pd
import pytest
from fake_examples import texts
from fake_studies import CLASSES
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mefusion import plots
from mefusion.common.errors import MefusionError
from mefusion.plots.style import PAGE, PALETTE

SUBJECTS = [
    {"dataset": "samm", "subject": "samm/s1", "clips": 4, "acc": 0.25},
    {"dataset": "casme2", "subject": "casme2/s1", "clips": 6, "acc": 1.0},
]


def test_confusion_matrix_shows_counts_and_shares():
    figure = plots.confusion_matrix_figure(np.array([[3, 1, 0], [0, 0, 0], [0, 2, 8]]), CLASSES, "mol $1$")
    shown = texts(figure)
    assert isinstance(figure, Figure)
    assert {"3\n75%", "1\n25%", "8\n80%", "0\n0%", "mol $1$", *CLASSES} <= {*shown}
    image = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(image, [[0.75, 0.25, 0], [0, 0, 0], [0, 0.2, 0.8]])


def test_subjects_are_ordered_by_accuracy_and_coloured_by_dataset():
    figure = plots.subject_bars(SUBJECTS, "mol")
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.patches] == [1.0, 0.25]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()
    assert {"casme2/s1", "samm/s1", "6", "4", "mol", "casme2", "samm"} <= {*texts(figure)}
    assert axes.lines[0].get_ydata()[0] == pytest.approx((6 * 1 + 4 * 0.25) / 10)
    with pytest.raises(MefusionError, match="no subject"):
        plots.subject_bars([])


def test_subjects_outside_the_range_have_other_marks():
    rows = [("s1", 10, 9.0, 2, 8, 1), ("s2", 10, 1.0, 2, 8, -1), ("s3", 2, 1.0, 0, 2, 0)]
    table = pd.DataFrame(rows, columns=["subject", "clips", "right", "low", "high", "outside"])
    figure = plots.subject_spread_figure(table.assign(acc=table["right"] / table["clips"]))
    axes = figure.axes[0]
    ranges = [(bar.get_y(), bar.get_height()) for bar in axes.patches]
    np.testing.assert_allclose(ranges, [(0.2, 0.6), (0.2, 0.6), (0, 1)])
    overall, *marks = axes.lines
    assert overall.get_ydata()[0] == pytest.approx(11 / 22)
    np.testing.assert_allclose([line.get_xydata()[0] for line in marks], [(1, 0.1), (2, 0.5), (0, 0.9)])
    assert len({line.get_marker() for line in marks}) == 3
    assert {"s1 (10)", "s3 (2)", "below", "within", "above", "95 % range"} <= {*texts(figure)}


def test_bars_of_many_subjects_go_into_rows():
    subjects = [SUBJECTS[0] | {"subject": f"s{i:02}"} for i in range(92)]
    figure = plots.subject_bars(subjects)
    assert [len(axes.patches) for axes in figure.axes] == [40, 40, 12]
    assert figure.get_figwidth() == PAGE


def test_line_of_all_clips_leaves_the_numbers_readable():
    figure = plots.subject_bars(SUBJECTS)
    numbers = [text for text in figure.axes[0].texts if text.get_text() in {"4", "6"}]
    assert [text.get_bbox_patch().get_facecolor()[:3] for text in numbers] == [(1, 1, 1)] * 2


@pytest.mark.parametrize("colour", PALETTE)
def test_lines_of_every_colour_show_on_white(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = np.dot([0.2126, 0.7152, 0.0722], linear)
    assert 1.05 / (luminance + 0.05) > 2  # the contrast of WCAG; yellow's is 1.3


def test_labels_of_each_subject_are_stacked():
    counts = pd.DataFrame({"negative": [3, 1], "$1$ surprise": [0, 2]}, index=["s1", "s2"])
    figure = plots.label_counts(counts, "casme2")
    bars = [(bar.get_y(), bar.get_height()) for bar in figure.axes[0].patches]
    assert bars == [(0, 3), (0, 1), (3, 0), (1, 2)]
    assert {"s1", "s2", "negative", "$1$ surprise", "casme2"} <= {*texts(figure)}
    assert not any(text.get_parse_math() for text in figure.legends[0].get_texts())
    many = pd.DataFrame(1, index=range(50), columns=range(9))
    rows = plots.label_counts(many).axes
    assert [len(axes.patches) for axes in rows] == [40 * 9, 10 * 9]
    looks = {(bar.get_facecolor(), bar.get_hatch()) for bar in rows[0].patches}
    assert len(looks) == 9


def test_learning_curves_are_a_line_a_run_and_their_median():
    epochs = [0, 1, 2]
    runs = [
        {"fold": fold, "seed": seed, "epoch": epochs, "train/loss": np.array([3, 2, 1]) * factor, "val/loss": 5.0}
        for fold, seed, factor in (("s1", 0, 1), ("s1", 1, 2), ("s2", 0, 6))
    ]
    curves = pd.concat([pd.DataFrame(run) for run in runs], ignore_index=True).assign(step=1)
    figure = plots.learning_curves(curves.assign(**{"train/accuracy": 0.5, "train/empty": np.nan}))
    assert [axes.get_title() for axes in figure.axes] == ["accuracy", "loss"]
    lines = figure.axes[1].lines
    assert len(lines) == 2 * (3 + 1)
    np.testing.assert_array_equal(lines[3].get_xydata(), [[1, 6], [2, 4], [3, 2]])
    assert lines[3].get_color() != lines[7].get_color()
    with pytest.raises(MefusionError, match="nothing was logged"):
        plots.learning_curves(curves[["fold", "seed", "epoch"]])


def test_intervals_are_drawn_from_the_top():
    figure = plots.uf1_intervals(["a", "b_$x$"], [0.5, 0.6], [[0.4, 0.7], None], majority=0.17)
    axes = figure.axes[0]
    interval, points, majority = axes.lines
    np.testing.assert_array_equal(interval.get_xydata(), [[0.4, 0], [0.7, 0]])
    np.testing.assert_array_equal(points.get_xydata(), [[0.5, 0], [0.6, 1]])
    assert majority.get_xdata()[0] == 0.17
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert {"a", "b_$x$"} <= {*texts(figure)}


def test_heat_map_shows_each_score_and_what_is_not_there():
    table = pd.DataFrame([[0.5, np.nan], [0.61, 0.7]], index=[0.0, 300.0], columns=[0.0, 0.1])
    figure = plots.weight_heat_map(table, "tasks.flow", "tasks.landmarks")
    assert {"0.500", "-", "0.610", "0.700", "0", "300", "0.1", "tasks.flow", "tasks.landmarks"} <= {*texts(figure)}


@pytest.mark.parametrize(
    "figure",
    [
        plots.confusion_matrix_figure(np.eye(7), list("abcdefg"), "title"),
        plots.subject_bars(SUBJECTS * 20),
        plots.confusion_matrix_figure(np.eye(12), list("abcdefghijkl")),
        plots.subject_bars([subject | {"dataset": f"dataset {i}"} for i, subject in enumerate(SUBJECTS * 6)]),
        plots.label_counts(pd.DataFrame(1, index=["s1"], columns=[f"emotion {i}" for i in range(9)])),
        plots.uf1_intervals(["tasks.flow=300, tasks.landmarks=0.1"], [0.5], [[0.4, 0.6]]),
        plots.uf1_intervals(["some.setting=with_its_value, " * 6], [0.5], [[0.4, 0.6]]),
        plots.weight_heat_map(pd.DataFrame(np.eye(12)), "tasks.flow", "tasks.landmarks"),
    ],
    ids=["confusion", "subjects", "classes", "datasets", "labels", "intervals", "names", "weights"],
)
def test_figures_fit_a_page_with_text_that_can_be_read(figure):
    figure.draw_without_rendering()
    assert figure.get_figwidth() <= PAGE
    shown = [text for axes in figure.axes for text in (*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels())]
    assert shown
    assert min(text.get_fontsize() for text in shown) >= 7
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.x1 <= figure.get_figwidth()
