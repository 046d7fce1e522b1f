import json

import numpy as np
import pytest
import torch
from fake_answers import judgement, line_of, write_answers
from fake_segments import fake_segments
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.nominal import fleiss_kappa as torchmetrics_kappa

from mefusion.annotation.agreement.consistency import (
    fleiss_kappa,
    kappa_interval,
    krippendorff_alpha,
    measure_consistency,
    write_consistency,
)
from mefusion.common.errors import MefusionError

# Ten items, fourteen raters, five categories: a textbook's example, kappa .210.
TEXTBOOK = np.array(
    [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]
)  # fmt: skip

# Three raters, fifteen items, with gaps (Krippendorff); alpha of intervals .811.
_ = np.nan
WORKED = np.array(
    [
        [_, _, _, _, _, 3, 4, 1, 2, 1, 1, 3, 3, _, 3],
        [1, _, 2, 1, 3, 3, 4, 3, _, _, _, _, _, _, _],
        [_, _, 2, 1, 3, 4, 4, _, 2, 1, 1, 3, 3, _, 4],
    ]
).T
LABELS = ("neutral", "surprise", "joy", "anger")


def test_kappa_of_the_textbook():
    assert fleiss_kappa(TEXTBOOK) == pytest.approx(0.210, abs=5e-4)


def test_kappa_by_hand():
    # Two items of three raters: observed (1 + 1/3) / 2 = 2/3; shares 5/6, 1/6: expected 26/36.
    assert fleiss_kappa(np.array([[3, 0], [2, 1]])) == pytest.approx((2 / 3 - 26 / 36) / (1 - 26 / 36))


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=2, max_size=8))
def test_kappa_is_that_of_torchmetrics_where_that_is_defined(ratings):
    counts = np.stack([np.bincount(row, minlength=4) for row in ratings])
    found = fleiss_kappa(counts)
    if found is None:
        assert (counts.sum(axis=0) > 0).sum() == 1
    else:
        assert found == pytest.approx(float(torchmetrics_kappa(torch.tensor(counts))), abs=1e-4)


def test_kappa_is_undefined_if_there_is_one_category():
    assert fleiss_kappa(np.array([[5, 0], [5, 0]])) is None
    assert fleiss_kappa(np.zeros((0, 3))) is None


@pytest.mark.parametrize("counts", [[[5, 0], [4, 0]], [[1, 0], [0, 1]]])
def test_unequal_or_single_raters_are_refused(counts):
    with pytest.raises(MefusionError, match="as many raters for each item"):
        fleiss_kappa(np.array(counts))


def test_alpha_of_the_worked_example():
    assert krippendorff_alpha(WORKED) == pytest.approx(0.811, abs=5e-4)


def test_alpha_at_its_ends():
    assert krippendorff_alpha(np.array([[1, 1], [5, 5]])) == pytest.approx(1)
    assert krippendorff_alpha(np.array([[3, 3], [3, 3]])) is None
    assert krippendorff_alpha(np.array([[3, np.nan]])) is None
    assert krippendorff_alpha(np.array([[1, 5], [5, 1]])) < 0


def test_the_interval_is_over_videos():
    videos = [f"v{n}" for n in range(10)]
    low, high = kappa_interval(TEXTBOOK, videos)
    assert low < 0.21 < high
    assert kappa_interval(TEXTBOOK, ["one"] * 10) is None
    twice = kappa_interval(np.repeat(TEXTBOOK, 2, axis=0), np.repeat(videos, 2).tolist())
    assert twice == pytest.approx([low, high])  # more segments of the same videos tell no more


def test_segments_that_lack_a_run_are_left_out_and_counted():
    judgements = [
        *(judgement("a", run, joy=50) for run in range(2)),
        *(judgement("b", run, anger=50 + run) for run in range(2)),
        *(judgement("c", 0, joy=50), judgement("c", 1, "failed")),
        *(judgement("d", 0, joy=20), judgement("d", 1, "unusable")),
    ]
    found = measure_consistency(judgements, {"a": "v", "b": "w"}, LABELS, 2)
    assert (found["segments"], found["left_out"], found["videos"]) == (3, 1, 3)
    # Pairs agree in 2 of 3 segments; shares joy 3/6, anger 2/6, unusable 1/6.
    expected = (9 + 4 + 1) / 36
    assert found["kappa"] == pytest.approx((2 / 3 - expected) / (1 - expected))
    assert found["agreement"] == pytest.approx(2 / 3)
    assert found["alpha"]["joy"]["named"] == 2
    assert "surprise" not in found["alpha"]
    assert "not accuracy" in found["meaning"]
    assert "people" in found["meaning"]


def test_why_there_is_no_kappa_is_said():
    same = [judgement(name, run, joy=50) for name in "ab" for run in range(2)]
    assert measure_consistency(same, {}, LABELS, 2)["why_no_kappa"].startswith("all runs chose one label")
    assert measure_consistency(same[:1], {}, LABELS, 1)["why_no_kappa"].startswith("one run")
    assert measure_consistency(same[:1], {}, LABELS, 2)["why_no_kappa"].startswith("no segment")


def test_the_file_is_written(tmp_path):
    segments = fake_segments(4)
    assert write_consistency(tmp_path, segments, LABELS, 2) is None
    emotions = [{"joy": 50}, {"anger": 20}, {"joy": 10}, {"joy": 30, "anger": 40}]
    lines = [line_of(segment, run, emotions[n]) for n, segment in enumerate(segments) for run in range(2)]
    write_answers(tmp_path, lines)
    found = write_consistency(tmp_path, segments, LABELS, 2)
    assert found == json.loads((tmp_path / "consistency.json").read_text())
    assert found["kappa"] == pytest.approx(1)
    assert found["videos"] == 2
