import numpy as np
import pandas as pd
import pytest

from mefusion.common.units import UNITS
from mefusion.datasets.reading import facs
from mefusion.datasets.units import unit_labels


@pytest.mark.parametrize(
    ("coding", "present", "unknown"),
    [
        ("R12", {12}, set()),
        ("L4", {4}, set()),
        ("4+7B", {4, 7}, set()),
        ("4B+5A", {4, 5}, set()),  # a trace is present
        ("AU12 + AU 25", {12}, set()),
        ("A/L12 + U14", {12, 14}, set()),
        ("12 or 14?", set(), {12, 14}),
        ("(R6 or R12)+R15", {15}, {6, 12}),
        ("R12 + L12?", {12}, set()),  # sure of one side is sure
        ("ref(7B)+43", set(), {7}),
        ("43", set(), set()),  # coded, and none of these
        ("?", set(), set(UNITS)),
        ("soft focus", set(), set(UNITS)),
        ("", set(), set(UNITS)),
    ],
)
def test_what_coders_write_becomes_labels(coding, present, unknown):
    (labels,) = unit_labels([facs.columns(coding)["action_units"]])
    assert {unit for unit, label in zip(UNITS, labels, strict=True) if label == 1} == present
    assert {unit for unit, label in zip(UNITS, labels, strict=True) if label == -1} == unknown


def test_a_missing_cell_is_no_coding():
    labels = unit_labels(pd.Series(["4", pd.NA], dtype="string"))
    assert (labels.shape, labels.dtype) == ((2, 12), np.float32)
    assert labels[0].tolist() == [0, 0, 1, *[0] * 9]
    assert (labels[1] == -1).all()
    assert unit_labels([]).shape == (0, 12)
