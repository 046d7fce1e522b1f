from dataclasses import replace

import pytest
from fake_answers import judgement, line_of, write_answers
from fake_segments import fake_segments

from mefusion.annotation.labelling.table import dominant, majority, read_judgements, read_labels
from mefusion.common.errors import MefusionError

LABELS = ("neutral", "surprise", "joy", "anger")


def test_the_dominant_emotion_is_the_strongest_and_ties_follow_the_vocabulary():
    assert dominant({"anger": 50, "joy": 60}, LABELS) == "joy"
    assert dominant({"anger": 60, "joy": 60}, LABELS) == "joy"


def test_most_runs_decide_and_then_the_mean_intensity():
    runs = [judgement("a", 0, joy=10), judgement("a", 1, joy=20, anger=10), judgement("a", 2, anger=90)]
    assert majority(runs, LABELS) == "joy"
    assert majority(runs[1:], LABELS) == "anger"
    assert majority([judgement("a", 0, "refused")], LABELS) is None


def test_intensities_are_means_over_the_usable_runs(tmp_path):
    segment = fake_segments(1)[0]
    lines = [
        line_of(segment, 0, {"joy": 30, "surprise": 60}, rationale="a start"),
        line_of(segment, 1, {"joy": 90}, rationale="glad"),
        line_of(segment, 2, {"joy": 30}, rationale="glad too"),
        line_of(segment, 3, {}, status="unusable"),
        line_of(segment, 4, {}, status="failed"),
    ]
    write_answers(tmp_path, lines)
    (row,) = read_labels(tmp_path, LABELS, 5).to_dict("records")
    assert row["dominant"] == "joy"
    assert row["emotions"] == [{"label": "joy", "intensity": 50.0}, {"label": "surprise", "intensity": 20.0}]
    assert (row["n_runs"], row["rationale"], row["status"]) == (3, "glad", "ok")
    assert row["agreement"] == pytest.approx(2 / 3)
    (row,) = read_labels(tmp_path, LABELS, 1).to_dict("records")
    assert row["dominant"] == "surprise"


def test_a_segment_that_most_runs_reject_has_no_label(tmp_path):
    segment = fake_segments(1)[0]
    lines = [line_of(segment, 0, {"joy": 30}), *(line_of(segment, run, {}, status="unusable") for run in (1, 2))]
    write_answers(tmp_path, lines)
    (row,) = read_labels(tmp_path, LABELS, 3).to_dict("records")
    assert (row["dominant"], row["status"]) == (None, "unusable: too dark")


def test_only_the_last_way_of_asking_counts(tmp_path):
    segment, other = fake_segments(2)
    old = line_of(segment, 0, {"anger": 30}, key="old")
    write_answers(tmp_path, [old | {"model": "earlier"}, line_of(other, 0, {"anger": 5}) | {"model": "earlier"}])
    write_answers(tmp_path, [old, line_of(segment, 0, {"joy": 30}, key="new")])
    (found,) = read_judgements(tmp_path, LABELS, 1)
    assert found.intensities == {"joy": 30}
    write_answers(tmp_path, [line_of(segment, 0, {}, status="failed", key="new")])  # changes nothing
    assert read_judgements(tmp_path, LABELS, 1) == [found]


def test_answers_about_another_stretch_of_the_video_do_not_count(tmp_path):
    segment = fake_segments(1)[0]
    write_answers(tmp_path, [line_of(segment, 0, {"joy": 30})])
    assert len(read_labels(tmp_path, LABELS, 1, [segment])) == 1
    assert len(read_labels(tmp_path, LABELS, 1, [replace(segment, end=9.0)])) == 0
    assert len(read_labels(tmp_path, LABELS, 1, [])) == 0


def test_another_vocabulary_is_named(tmp_path):
    write_answers(tmp_path, [line_of(fake_segments(1)[0], 0, {"joy": 30})])
    with pytest.raises(MefusionError, match="vocabulary=own, and joy is not in the one that is set"):
        read_labels(tmp_path, ["Joy"], 1)


def test_without_answers_there_are_no_labels(tmp_path):
    assert read_labels(tmp_path, LABELS, 5).empty
