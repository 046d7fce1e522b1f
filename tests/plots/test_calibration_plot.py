import numpy as np

from mefusion.evaluation.calibration import reliability
from mefusion.plots import reliability_figure


def test_each_part_is_a_line_over_its_bins():
    before = reliability(np.array([0.95, 0.93, 0.62]), np.array([True, False, True]))
    after = reliability(np.array([0.7, 0.6, 0.5]), np.array([True, False, True]))
    (axes,) = reliability_figure({"before": before, "after": after}).axes
    _, first, second = axes.lines
    np.testing.assert_allclose(first.get_xydata(), [[0.62, 1], [0.94, 0.5]])
    np.testing.assert_allclose(second.get_xydata(), after[["confidence", "accuracy"]])
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == [
        "perfectly calibrated",
        "before",
        "after",
    ]
