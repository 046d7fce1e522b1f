import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mefusion.evaluation.calibration import (
    LIMITS,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    reliability,
    with_temperature,
)


def test_a_temperature_takes_roots_of_the_odds():
    # At T = 2 the odds 9 : 1 become 3 : 1; at T = .5 they become 81 : 1.
    values = np.array([[0.9, 0.1]])
    assert with_temperature(values, 2) == pytest.approx(np.array([[0.75, 0.25]]))
    assert with_temperature(values, 0.5) == pytest.approx(np.array([[81 / 82, 1 / 82]]))
    assert with_temperature(values, 1) is values


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(any), min_size=1), st.floats(0.2, 5))
def test_a_temperature_gives_probabilities_in_the_same_order(rows, temperature):
    values = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    changed = with_temperature(values, temperature)
    assert changed.sum(axis=1) == pytest.approx(1)
    best = values.argmax(axis=1)
    assert np.take_along_axis(changed, best[:, None], 1)[:, 0] == pytest.approx(changed.max(axis=1))


def test_the_fitted_temperature_makes_confidence_the_share_of_right_answers():
    # 3 of 4 answers of the odds 9 : 1 are right: the best odds are 3 : 1, and so T = 2.
    values = np.array([[0.9, 0.1]] * 4)
    assert fit_temperature(values, np.array([0, 0, 0, 1])) == pytest.approx(2, abs=1e-3)
    # 9 of 10: they are right as they are.
    assert fit_temperature(np.array([[0.9, 0.1]] * 10), np.array([0] * 9 + [1])) == pytest.approx(1, abs=1e-3)


def test_where_all_answers_are_right_the_temperature_has_a_limit():
    assert fit_temperature(np.array([[0.6, 0.4]] * 3), np.zeros(3, int)) == pytest.approx(LIMITS[0], abs=1e-3)


def test_the_expected_calibration_error_by_hand():
    # .95 and .93 in one bin: confidence .94, one of two right. .62 and .68: confidence .65, both right.
    confidence, right = np.array([0.95, 0.93, 0.62, 0.68]), np.array([True, False, True, True])
    assert expected_calibration_error(confidence, right) == pytest.approx(0.5 * 0.44 + 0.5 * 0.35)
    rows = reliability(confidence, right)
    assert rows["low"].tolist() == pytest.approx([0.6, 0.9])
    assert rows["high"].tolist() == pytest.approx([0.7, 1.0])
    assert rows["accuracy"].tolist() == [1, 0.5]
    assert rows["share"].tolist() == [0.5, 0.5]


def test_the_upper_limit_of_a_bin_belongs_to_it():
    rows = reliability(np.array([0.0, 0.5, 1.0]), np.array([False, True, True]), bins=2)
    assert rows["low"].tolist() == [0, 0.5]
    assert rows["share"].tolist() == pytest.approx([2 / 3, 1 / 3])


def table(probabilities, labels):
    first = np.array(probabilities)
    return pd.DataFrame({"label": labels, "probability_a": first, "probability_b": 1 - first})


def test_each_run_has_its_own_temperature_and_the_test_clips_have_no_part_in_it():
    validation = table([0.9] * 4, ["a", "a", "a", "b"])  # T = 2
    sure = table([0.9] * 10, ["a"] * 9 + ["b"])  # T = 1
    test = table([0.9, 0.1], ["a", "a"])
    found = calibrate([(validation, test), (sure, test)])
    assert found.temperatures == pytest.approx([2, 1], abs=1e-3)
    assert found.temperature == pytest.approx(1.5, abs=1e-3)
    assert found.before["confidence"].tolist() == pytest.approx([0.9] * 4)
    assert found.after["confidence"].tolist() == pytest.approx([0.75, 0.75, 0.9, 0.9], abs=1e-3)
    assert found.after["right"].tolist() == [True, False] * 2
    # .9, half of them right; then .75 and .9, half of each right.
    assert found.errors == pytest.approx((0.4, 0.5 * 0.25 + 0.5 * 0.4), abs=1e-3)
    other = calibrate([(validation, table([0.2, 0.6], ["b", "b"]))])
    assert other.temperatures == pytest.approx([2], abs=1e-3)
