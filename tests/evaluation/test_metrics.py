import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from mefusion.common.errors import MefusionError
from mefusion.evaluation import metrics

CLASSES = ["negative", "positive", "surprise"]
# 3 negative (2 right, 1 taken for positive), 2 positive (1 right, 1 taken for negative), 1 surprise, missed.
LABELS = ["negative", "negative", "negative", "positive", "positive", "surprise"]
PREDICTIONS = ["negative", "negative", "positive", "positive", "negative", "negative"]


def matrix_of(labels=LABELS, predictions=PREDICTIONS, classes=CLASSES):
    return metrics.confusion_matrix(labels, predictions, classes)


def test_hand_worked_scores():
    matrix = matrix_of()
    assert matrix.tolist() == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    # negative: TP 2, FP 2, FN 1 -> 4/7. positive: TP 1, FP 1, FN 1 -> 1/2. surprise: 0.
    assert metrics.f1_per_class(matrix) == pytest.approx([4 / 7, 1 / 2, 0])
    assert metrics.recall_per_class(matrix) == pytest.approx([2 / 3, 1 / 2, 0])
    assert metrics.recognition_metrics(matrix) == pytest.approx(
        {
            "uf1": (4 / 7 + 1 / 2) / 3,
            "uar": (2 / 3 + 1 / 2) / 3,
            "acc": 3 / 6,
            "wf1": (3 * 4 / 7 + 2 * 1 / 2) / 6,
        }
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=80))
def test_equals_scikit_learn(pairs):
    """Over the scheme's classes, whether they occur or not."""
    labels, predictions = (list(column) for column in zip(*pairs, strict=True))
    classes = list("dbac")  # the scheme's order, not the alphabet's
    matrix = matrix_of(labels, predictions, classes)
    options = {"labels": classes, "zero_division": 0}
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(labels, predictions, labels=classes))
    assert metrics.recognition_metrics(matrix) == pytest.approx(
        {
            "uf1": reference.f1_score(labels, predictions, average="macro", **options),
            "uar": reference.recall_score(labels, predictions, average="macro", **options),
            "acc": reference.accuracy_score(labels, predictions),
            "wf1": reference.f1_score(labels, predictions, average="weighted", **options),
        }
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=60))
def test_mean_of_folds_equals_scikit_learn_fold_by_fold(rows):
    labels, predictions, folds = (list(column) for column in zip(*rows, strict=True))
    of_fold = [[(a, b) for a, b, fold in rows if fold == name] for name in {*folds}]
    expected = [reference.f1_score(*zip(*part, strict=True), average="macro", zero_division=0) for part in of_fold]
    assert metrics.mean_of_folds_uf1(labels, predictions, folds, list("abc")) == pytest.approx(np.mean(expected))


def test_always_negative_on_megc_2019():
    labels = ["negative"] * 250 + ["positive"] * 109 + ["surprise"] * 83
    matrix = matrix_of(labels, ["negative"] * 442)
    scores = metrics.recognition_metrics(matrix)
    assert scores["acc"] == pytest.approx(250 / 442)
    # F1 of negative = 2 * 250 / (2 * 250 + 192) = .7225; over three classes .2408.
    assert [round(scores[key], 3) for key in ("acc", "uf1", "uar")] == [0.566, 0.241, 0.333]


def test_majority_is_that_of_the_labels_not_of_the_predictions():
    labels = ["negative"] * 250 + ["positive"] * 109 + ["surprise"] * 83
    report = metrics.recognition_report(labels, ["surprise"] * 442, ["s1"] * 442, CLASSES)
    assert report["majority"]["class"] == "negative"
    assert round(report["majority"]["uf1"], 3) == 0.241
    assert report["uf1"] == pytest.approx(2 * 83 / (83 + 442) / 3)


def test_balanced_classes_have_a_majority_of_one_sixth():
    # 36 clips of each of 3 classes: F1 = 2 * 36 / (2 * 36 + 72) = 1/2 of one class in three.
    labels = CLASSES * 36
    report = metrics.recognition_report(labels, labels, ["s1"] * 108, CLASSES)
    assert report["majority"]["uf1"] == pytest.approx(1 / 6)
    assert report["majority"]["class"] == "negative"
    assert report["uf1"] == 1


def test_mean_of_folds_trap():
    """Nine tenths right, but the folds say a half: in each, one class has a single clip, missed."""
    labels = (["negative"] * 9 + ["positive"]) + (["positive"] * 9 + ["negative"])
    predictions = ["negative"] * 10 + ["positive"] * 10
    folds = ["s1"] * 10 + ["s2"] * 10
    classes = ["negative", "positive"]
    # Pooled: each class TP 9, FP 1, FN 1 -> 18/20. A fold: (18/19 + 0) / 2.
    assert metrics.uf1(matrix_of(labels, predictions, classes)) == pytest.approx(0.9)
    assert metrics.mean_of_folds_uf1(labels, predictions, folds, classes) == pytest.approx(9 / 19)


def test_mean_of_folds_leaves_out_what_a_fold_does_not_have():
    folds = ["s1", "s1", "s2"]
    labels = ["negative", "negative", "positive"]
    assert metrics.mean_of_folds_uf1(labels, labels, folds, CLASSES) == 1
    # The pooled score keeps the class that never occurs in its denominator.
    assert metrics.uf1(matrix_of(labels, labels)) == pytest.approx(2 / 3)
    assert metrics.uar(matrix_of(labels, labels)) == pytest.approx(2 / 3)


def test_report_is_plain_data():
    report = metrics.recognition_report(LABELS, PREDICTIONS, ["s1"] * 3 + ["s2"] * 3, CLASSES)
    assert (report["clips"], report["folds"], report["classes"]) == (6, 2, CLASSES)
    assert report["per_class"]["negative"] == {
        "f1": pytest.approx(4 / 7),
        "recall": pytest.approx(2 / 3),
        "clips": 3,
    }
    assert report["confusion_matrix"] == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert type(report["per_class"]["negative"]["f1"]) is float


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([], [], "no clip"),
        (["negative"], ["fear"], "'fear'"),
        (["joy"], ["negative"], "'joy'"),
        (["negative"], [], "1 labels but 0"),
    ],
)
def test_what_cannot_be_scored(labels, predictions, message):
    with pytest.raises(MefusionError, match=message):
        matrix_of(labels, predictions)
