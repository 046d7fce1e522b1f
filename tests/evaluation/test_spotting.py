import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score

from mefusion.common.errors import MefusionError
from mefusion.evaluation.spotting import kind_of_duration, match, overlaps, recognition_f1, score_spotting, strs


def table(*rows, columns=("recording", "onset", "offset", "kind")):
    return pd.DataFrame(rows, columns=list(columns))


RECORDINGS = table(
    ("a", "casme", "casme/1"), ("b", "casme", "casme/1"), ("c", "casme", "casme/2"), ("empty", "casme", "casme/3"),
    columns=("recording", "dataset", "subject"),
)  # fmt: skip


def frames(onset, offset):
    return set(range(onset, offset + 1))


def iou_by_sets(first, second):
    first, second = frames(*first), frames(*second)
    return len(first & second) / len(first | second)


INTERVALS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)), max_size=6)


@given(first=INTERVALS, second=INTERVALS)
def test_the_overlap_is_that_of_sets_of_frames(first, second):
    one, other = (np.array([(a, a + n) for a, n in each], int).reshape(-1, 2) for each in (first, second))
    expected = [[iou_by_sets(a, b) for b in other] for a in one]
    np.testing.assert_allclose(overlaps(one, other), np.array(expected).reshape(len(one), len(other)))


def match_by_hand(spotted, truth):
    """The best pair that is left, again and again."""
    left_s, left_t, pairs = set(range(len(spotted))), set(range(len(truth))), []
    while True:
        candidates = [
            (iou_by_sets(spotted[s], truth[t]), -truth[t][0], -spotted[s][0], -s, -t) for s in left_s for t in left_t
        ]
        best = max(candidates, default=(0,))
        if best[0] < 0.5:
            return sorted(pairs)
        s, t = -best[3], -best[4]
        pairs.append((s, t))
        left_s.remove(s)
        left_t.remove(t)


@given(first=INTERVALS, second=INTERVALS)
def test_matching_takes_the_best_pair_again_and_again(first, second):
    spotted, truth = ([(a, a + n) for a, n in each] for each in (first, second))
    pairs = match(*(table(*[("a", *each, "micro") for each in side]) for side in (spotted, truth)))
    assert sorted(zip(pairs["spotted"], pairs["truth"], strict=True)) == match_by_hand(spotted, truth)
    assert (pairs["iou"] >= 0.5).all()


def test_intervals_of_other_recordings_do_not_match():
    assert match(table(("a", 0, 9, "micro")), table(("b", 0, 9, "micro"))).empty


def test_a_true_interval_is_found_once_and_by_the_best():
    pairs = match(table(("a", 0, 13, "micro"), ("a", 1, 10, "micro")), table(("a", 0, 9, "micro")))
    assert pairs.to_dict("list") == {"spotted": [1], "truth": [0], "iou": [9 / 11]}


# Worked by hand. 10 frames are a third of a second.
TRUTH = table(
    ("a", 100, 109, "micro"),  # found, by a spotted interval that is macro
    ("a", 200, 259, "macro"),  # found
    ("b", 50, 59, "micro"),  # found
    ("b", 300, 309, "micro"),  # missed: 5 of 15 frames are common
    ("c", 10, 69, "macro"),  # missed
)
SPOTTED = table(
    ("a", 95, 110, "macro"),  # IoU 10 / 16
    ("a", 200, 239, "macro"),  # IoU 40 / 60
    ("b", 52, 61, "micro"),  # IoU 8 / 12
    ("b", 305, 314, "micro"),  # wrong
    ("empty", 0, 9, "micro"),  # wrong: nothing is there
    ("empty", 50, 99, "macro"),  # wrong
)


def test_scores_are_those_worked_by_hand():
    scores = score_spotting(SPOTTED, TRUTH, RECORDINGS)
    json.dumps(scores)
    assert (scores["recordings"], scores["subjects"]) == (4, 3)
    parts = {
        "micro": ({"true": 3, "found": 2, "spotted": 3, "right": 1}, 1 / 3, 2 / 3),
        "macro": ({"true": 2, "found": 1, "spotted": 3, "right": 2}, 2 / 3, 1 / 2),
        "all": ({"true": 5, "found": 3, "spotted": 6, "right": 3}, 1 / 2, 3 / 5),
    }
    for kind, (counts, precision, recall) in parts.items():
        assert {name: scores[kind][name] for name in counts} == counts
        assert scores[kind]["precision"] == pytest.approx(precision)
        assert scores[kind]["recall"] == pytest.approx(recall)
        assert scores[kind]["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_f1_of_all_is_that_of_counts():
    scores = score_spotting(SPOTTED, TRUTH, RECORDINGS)["all"]
    assert scores["f1"] == pytest.approx(2 * 3 / (5 + 6))  # 2 TP / (true + spotted)


def test_a_recording_without_an_expression_lowers_precision():
    without = score_spotting(SPOTTED[:4], TRUTH, RECORDINGS)["all"]
    assert without["precision"] == pytest.approx(3 / 4)
    assert without["recall"] == score_spotting(SPOTTED, TRUTH, RECORDINGS)["all"]["recall"]


@pytest.mark.parametrize(("spotted", "truth"), [(SPOTTED[:0], TRUTH), (SPOTTED, TRUTH[:0]), (SPOTTED[:0], TRUTH[:0])])
def test_nothing_spotted_and_nothing_to_spot_is_zero(spotted, truth):
    scores = score_spotting(spotted, truth, RECORDINGS)
    assert [scores[kind]["f1"] for kind in ("micro", "macro", "all")] == [0, 0, 0]


def test_intervals_are_those_of_resampled_subjects():
    scores = score_spotting(SPOTTED, TRUTH, RECORDINGS, resamples=2000)
    rng = np.random.default_rng(1)
    of = {row.recording: row.subject for row in RECORDINGS.itertuples()}
    drawn = []
    for _ in range(2000):
        subjects = rng.choice(["casme/1", "casme/2", "casme/3"], 3)
        true = sum(of[name] == s for s in subjects for name in TRUTH["recording"])
        spotted = sum(of[name] == s for s in subjects for name in SPOTTED["recording"])
        found = sum(3 for s in subjects if s == "casme/1")
        drawn.append(2 * found / (true + spotted) if true + spotted else 0)
    np.testing.assert_allclose(scores["all"]["intervals"]["f1"], np.quantile(drawn, [0.025, 0.975]), atol=0.05)


def test_one_subject_has_no_interval():
    one = RECORDINGS.assign(subject="casme/1")
    assert score_spotting(SPOTTED, TRUTH, one)["all"]["intervals"] == {}


@pytest.mark.parametrize(
    ("seconds", "kind"), [(0.1, "micro"), (15 / 30, "micro"), (100 / 200, "micro"), (16 / 30, "macro"), (4.0, "macro")]
)
def test_half_a_second_is_micro(seconds, kind):
    assert kind_of_duration(seconds) == kind


# Spot, then recognise.


@pytest.mark.parametrize(
    ("spotting", "recognition", "product"),
    [(0.1214, 0.6667, 0.0809), (0.0278, 0.2222, 0.0062), (0.0387, 0.2222, 0.0086)],
)
def test_published_products(spotting, recognition, product):
    assert round(strs(spotting, recognition), 4) == product


def test_recognition_of_the_baseline_of_2025():
    """Two pairs of three classes, one right: precision .1667, recall .3333, F1 .2222, as published for SAMM."""
    assert recognition_f1(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]])) == pytest.approx(0.2222, abs=5e-5)


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz")), min_size=1, max_size=20))
def test_recognition_is_that_of_scikit_learn(pairs):
    labels, predictions = zip(*pairs, strict=True)
    matrix = np.zeros((3, 3))
    np.add.at(matrix, (["xyz".index(x) for x in labels], ["xyz".index(x) for x in predictions]), 1)
    options = {"labels": list("xyz"), "average": "macro", "zero_division": 0}
    precision, recall = (each(labels, predictions, **options) for each in (precision_score, recall_score))
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert recognition_f1(matrix) == pytest.approx(expected)


def test_only_true_positives_are_recognised():
    truth = TRUTH.assign(emotion=["negative", None, "surprise", "positive", "positive"])
    spotted = SPOTTED.assign(prediction=["negative", "positive", "negative", "negative", "negative", "positive"])
    scores = score_spotting(spotted, truth, RECORDINGS, classes=["negative", "positive", "surprise"])
    part = scores["recognition"]
    json.dumps(part)
    assert (part["pairs"], part["without_emotion"]) == (2, 1)
    assert part["confusion_matrix"] == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert part["f1"] == pytest.approx(2 / 9)  # precision 1/6, recall 1/3
    assert part["strs"] == pytest.approx(scores["all"]["f1"] * 2 / 9)
    low, high = part["intervals"]["strs"]
    assert 0 <= low <= part["strs"] <= high <= 1


def test_a_class_that_is_not_listed_is_told():
    truth, spotted = TRUTH.assign(emotion="fear"), SPOTTED.assign(prediction="negative")
    with pytest.raises(MefusionError, match="label 'fear' is not one of the classes negative, positive"):
        score_spotting(spotted, truth, RECORDINGS, classes=["negative", "positive"])


@pytest.mark.parametrize(
    ("spotted", "truth", "recordings", "told"),
    [
        (table(("z", 0, 9, "micro")), TRUTH, RECORDINGS, "spotted interval is of 'z'"),
        (SPOTTED, table(("z", 0, 9, "micro")), RECORDINGS, "true interval is of 'z'"),
        (table(("a", 9, 0, "micro")), TRUTH, RECORDINGS, "ends at 0, before 9"),
        (table(("a", 0, 9, "tiny")), TRUTH, RECORDINGS, "kind 'tiny'"),
        (SPOTTED, TRUTH, pd.concat([RECORDINGS, RECORDINGS[:1]]), "'a' is listed twice"),
    ],
)
def test_tables_that_make_no_sense_are_refused(spotted, truth, recordings, told):
    with pytest.raises(MefusionError, match=told):
        score_spotting(spotted, truth, recordings)


@given(first=INTERVALS, second=INTERVALS, seed=st.integers(0, 99))
def test_scores_depend_neither_on_the_order_of_rows_nor_on_the_index(first, second, seed):
    rng = np.random.default_rng(seed)
    kinds, names = ("micro", "macro"), ("a", "b", "c", "empty")
    spotted, truth = (
        table(*[(str(rng.choice(names)), a, a + n, str(rng.choice(kinds))) for a, n in each])
        for each in (first, second)
    )
    truth = truth.drop_duplicates(["recording", "onset"])  # else equal intervals of different kinds may change places
    spotted = spotted.drop_duplicates(["recording", "onset"])
    scores = score_spotting(spotted, truth, RECORDINGS, resamples=50)
    shuffled = (each.sample(frac=1, random_state=seed) for each in (spotted, truth, RECORDINGS))
    assert score_spotting(*shuffled, resamples=50) == scores
    whole = scores["all"]
    pairs = len(match(spotted, truth))
    assert (whole["true"], whole["found"], whole["spotted"], whole["right"]) == (len(truth), pairs, len(spotted), pairs)
    assert whole["f1"] == pytest.approx(2 * pairs / max(len(truth) + len(spotted), 1))
