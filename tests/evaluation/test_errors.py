import pandas as pd
import pytest
from fake_studies import CLASSES, fold_table

from mefusion.evaluation.errors import binomial_range, constant_folds, subject_spread, unanimous_errors


def test_errors_that_all_studies_make_alike():
    # The first clip is wrong in all, the second differently, the third in two of three.
    answers = [
        ["surprise", "negative", "surprise"],
        ["surprise", "surprise", "negative"],
        ["surprise", "negative", "negative"],
    ]
    tables = [fold_table("s1", predictions=own) for own in answers]
    tables[0].loc[0, ["probability_surprise", "probability_negative"]] = [0.5, 0.4]
    found = unanimous_errors(tables, CLASSES)
    assert found.drop(columns="probability").to_dict("records") == [
        {"dataset": "synthetic", "subject": "s1", "clip_id": "s1_0", "label": "negative", "answer": "surprise"}
    ]
    assert found["probability"].tolist() == pytest.approx([(0.5 + 0.8 + 0.8) / 3])
    assert unanimous_errors([fold_table("s1")] * 3, CLASSES).empty


def test_several_seeds_answer_with_their_mean_probability():
    right, wrong = fold_table("s1"), fold_table("s1", seed=1, predictions=["surprise", "positive", "surprise"])
    wrong.loc[0, ["probability_surprise", "probability_negative", "probability_positive"]] = [1.0, 0.0, 0.0]
    # Of the first clip: surprise (.1 + 1) / 2 = .55, negative (.8 + 0) / 2 = .4.
    found = unanimous_errors([pd.concat([right, wrong])] * 3, CLASSES)
    assert found["clip_id"].tolist() == ["s1_0"]
    assert found["probability"].tolist() == pytest.approx([0.55])


def test_range_of_a_binomial():
    # Of 10 coins, P(k <= 1) = 11 / 1024 = .011 and P(k <= 2) = .055; the other end is the mirror image.
    assert binomial_range(10, 0.5) == (2, 8)
    assert binomial_range(2, 0.5) == (0, 2)  # P(k = 0) = .25
    assert binomial_range(1, 0.98) == (1, 1)
    assert binomial_range(4, 1.0) == (4, 4)
    assert binomial_range(4, 0.0) == (0, 0)


def test_subjects_outside_the_range():
    subjects = [
        {"dataset": "d", "subject": name, "clips": clips, "acc": acc}
        for name, clips, acc in (("few", 2, 0.5), ("hard", 10, 0.1), ("easy", 10, 0.9))
    ]
    table = subject_spread(subjects)  # 1 + 1 + 9 of 22: pooled .5
    assert table[["subject", "right", "low", "high", "outside"]].to_numpy().tolist() == [
        ["easy", 9.0, 2, 8, 1],
        ["hard", 1.0, 2, 8, -1],
        ["few", 1.0, 0, 2, 0],
    ]
    assert table["chance"].tolist() == pytest.approx([22 / 1024, 22 / 1024, 0])


def test_folds_with_the_same_probabilities_for_all_clips():
    # Of seed 0, a: they differ by .03. b: by .009. c: one clip. d, e: sure of all clips. Of seed 1, a and b: the same.
    folds = {
        ("a", 0): [0.6, 0.63], ("b", 0): [0.6, 0.609], ("c", 0): [0.5], ("d", 0): [0.999, 0.995], ("e", 0): [1.0, 1.0],
        ("a", 1): [0.4, 0.4], ("b", 1): [0.0, 0.0],
    }  # fmt: skip
    table = pd.DataFrame(
        [(*fold, p, 0.5 - p / 2, 0.5 - p / 2) for fold, values in folds.items() for p in values],
        columns=["fold", "seed", "probability_x", "probability_y", "probability_z"],
    )
    assert constant_folds(table) == [("b", 0), ("a", 1), ("b", 1)]
    assert constant_folds(table[table["fold"] == "c"]) == []
