"""What tasks measure, by hand."""

import json

import pandas as pd
import pytest

from mefusion.evaluation.measures import Measure, TaskReport

REPORT = TaskReport(
    measures=(
        Measure("error", "error px"),
        Measure("relative", "error / zero", ".2f", column="error", over="error_zero"),
        Measure("failed", "failed %", ".1%", column="error", above=0.4),
    ),
    headline="error {error} px ({relative} of zero), {failed} % failed",
    note="Below 1 is better.",
)


def test_measures_by_hand():
    # Clips that move more weigh more: the ratio of the means (.5 / 1.25), not the mean of the ratios (.6).
    table = pd.DataFrame({"error": [0.3, 0.7], "error_zero": [0.5, 2.0]})
    summary = REPORT.summary(table)
    assert summary == pytest.approx({"error": 0.5, "relative": 0.4, "failed": 0.5})
    assert REPORT.phrase(summary) == "error 0.500 px (0.40 of zero), 50.0 % failed"


def test_a_ratio_to_zero_is_a_dash():
    summary = REPORT.summary(pd.DataFrame({"error": [0.1], "error_zero": [0.0]}))
    assert summary["relative"] is None
    assert "(- of zero)" in REPORT.phrase(summary)


def test_a_value_at_the_limit_has_not_failed():
    assert REPORT.measures[2].of(pd.DataFrame({"error": [0.4, 0.4, 0.5, 0.6]})) == 0.5


def test_columns_are_named_once_with_their_lowest_value():
    assert REPORT.columns == {"error": 0.0, "error_zero": 0.0}
    assert TaskReport((Measure("ssim", "SSIM", lowest=-1.0),)).columns == {"ssim": -1.0}


def test_a_report_comes_back_from_json():
    assert TaskReport.from_plain(json.loads(json.dumps(REPORT.to_plain()))) == REPORT


@pytest.mark.parametrize(
    "change",
    [{"form": "x"}, {"form": 3}, {"name": None}, {"lowest": "low"}, {"size": 1}],
)
def test_what_is_no_measure_is_refused(change):
    data = REPORT.to_plain()
    data["measures"] = [data["measures"][0] | change]
    with pytest.raises((TypeError, ValueError)):
        TaskReport.from_plain(data)
