"""F1 of action units, by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from mefusion.evaluation import bootstrap
from mefusion.evaluation.measures import Measure, TaskReport
from mefusion.evaluation.scoring import score
from mefusion.evaluation.units import unit_columns, unit_scores

UNITS = (1, 4, 9)
REPORT = TaskReport(
    measures=(Measure("unit_f1", "F1", entry="f1"), Measure("left", "left out", ".0f", entry="left_out")),
    headline="F1 {unit_f1} without {left}",
    units=UNITS,
)
LABELS = {"s1": [(1, 0, 0), (1, 1, 0)], "s2": [(0, 1, 0), (1, -1, 0)], "s3": [(-1, -1, -1)]}
ANSWERS = {"s1": [(0.9, 0.2, 0.1), (0.4, 0.8, 0.6)], "s2": [(0.7, 0.3, 0.2), (0.6, 0.9, 0.1)], "s3": [(0.9, 0.9, 0.9)]}


def table(**changes):
    """Five clips of three subjects; the one of s3 has no coding, and unit 4 of a clip of s2 is not known."""
    rows = [
        {"study": "s", "dataset": "d", "subject": subject, "clip_id": f"{subject}{number}", "fold": subject, "seed": 0}
        | {"label": "a", "prediction": "a", "probability_a": 1.0, "rule": "last", "epoch": 1}
        | dict(zip(unit_columns(UNITS), (*ANSWERS[subject][number], *labels), strict=True))
        for subject, clips in LABELS.items()
        for number, labels in enumerate(clips)
    ]
    return pd.DataFrame(rows).assign(**changes)


def test_columns_are_probabilities_then_labels():
    assert unit_columns((1, 4)) == {"unit_1": 0.0, "unit_4": 0.0, "unit_1_label": -1.0, "unit_4_label": -1.0}
    assert REPORT.columns == unit_columns(UNITS)


def test_f1_by_hand():
    # Unit 1: two hits, one false alarm, one miss: 4 / 6. Unit 4: a hit and a miss: 2 / 3. Unit 9 does not occur.
    scores = unit_scores(table(), UNITS)
    one, four = scores["units"]["1"], scores["units"]["4"]
    assert (one["clips"], one["present"], four["clips"], four["present"]) == (4, 3, 3, 2)
    assert (one["f1"], four["f1"]) == pytest.approx((4 / 6, 2 / 3))
    assert (one["recall"], four["recall"]) == pytest.approx((2 / 3, 1 / 2))
    # Of all units in all clips: 2 p / (1 + p) with p = 3/4 and 2/3.
    assert (one["reference"], four["reference"]) == pytest.approx((6 / 7, 4 / 5))
    assert scores["f1"] == pytest.approx((4 / 6 + 2 / 3) / 2)
    assert scores["reference"] == pytest.approx((6 / 7 + 4 / 5) / 2)
    assert (scores["clips"], scores["left_out"], scores["absent_units"]) == (4, 1, [9])
    assert {*scores["units"]} == {"1", "4"}


def test_a_probability_of_a_half_is_no_prediction():
    scores = unit_scores(table(unit_1=0.5), UNITS)
    assert scores["units"]["1"]["f1"] == 0


def test_several_seeds_are_averaged_and_their_clips_counted_once():
    other = table(seed=1, unit_1=[1.0, 1.0, 0.0, 1.0, 0.0])  # all of unit 1 right
    scores = unit_scores(pd.concat([table(), other]), UNITS)
    assert scores["units"]["1"]["f1"] == pytest.approx((4 / 6 + 1) / 2)
    assert (scores["clips"], scores["left_out"], scores["units"]["1"]["present"]) == (4, 1, 3)


def test_intervals_are_those_of_resampled_subjects():
    scores = unit_scores(table(), UNITS)
    # Of two coded subjects a resample has both, or one twice: unit 1 gives 4/6, 2/3 (s1) or 2/3 (s2).
    assert scores["units"]["1"]["interval"] == pytest.approx([2 / 3, 2 / 3])
    # Unit 4: s1 alone 1, s2 alone 0.
    assert scores["units"]["4"]["interval"] == pytest.approx([0, 1])
    assert scores["interval"] == pytest.approx([1 / 3, 5 / 6])
    alone = unit_scores(table().query("subject == 's1'"), UNITS)
    assert (alone["interval"], alone["units"]["1"]["interval"]) == (None, None)


def test_without_any_coding_there_is_no_score():
    bare = table(**dict.fromkeys(("unit_1_label", "unit_4_label", "unit_9_label"), -1))
    scores = unit_scores(bare, UNITS)
    assert (scores["clips"], scores["left_out"], scores["f1"], scores["units"]) == (0, 5, None, {})
    assert scores["absent_units"] == [*UNITS]
    assert REPORT.phrase(REPORT.summary(bare)) == "F1 - without 5"


def test_a_study_s_scores_have_units_for_each_dataset_and_by_the_rule(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 50)
    summary = score(table(dataset=["d", "d", "e", "e", "e"]), ["a"], [REPORT])
    assert summary["unit_f1"] == summary["action_units"]["f1"] == pytest.approx(2 / 3)
    assert summary["datasets"]["e"]["action_units"]["left_out"] == 1
    assert REPORT.phrase(summary) == "F1 0.667 without 1"
    json.dumps(summary)
    oracle = score(table(rule="oracle"), ["a"], [REPORT])
    assert "action_units" not in oracle
    assert oracle["oracle_action_units"]["oracle_f1"] == oracle["oracle_unit_f1"]


def test_the_report_comes_back_from_json_and_older_ones_have_no_units():
    plain = json.loads(json.dumps(REPORT.to_plain()))
    assert TaskReport.from_plain(plain) == REPORT
    del plain["units"]
    assert TaskReport.from_plain(plain | {"measures": []}).units == ()


def test_labels_do_not_count_where_they_are_unknown():
    changed = table()
    changed.loc[changed["unit_4_label"] == -1, "unit_4"] = np.array([0.0, 0.0])
    assert unit_scores(changed, UNITS)["units"]["4"] == unit_scores(table(), UNITS)["units"]["4"]
