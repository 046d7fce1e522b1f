import runpy
from math import comb

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from fake_studies import CLASSES, fold_table

from mefusion.common.errors import MefusionError
from mefusion.configuration.cli import configuration_folder
from mefusion.evaluation import bootstrap, metrics

SIMULATION = runpy.run_path(str(configuration_folder("experiments") / "benchmarks" / "interval_coverage.py"))


def random_study(seed, subjects=12, **options):
    rows = zip(*SIMULATION["draw"](seed, subjects=subjects, **options), strict=True)
    names = np.array(CLASSES)
    return pd.concat(
        [
            fold_table(f"s{number:02}", labels=names[labels].tolist(), predictions=names[guesses].tolist())
            for number, (labels, guesses) in enumerate(rows)
        ],
        ignore_index=True,
    )


def uf1_of(table):
    return metrics.uf1(metrics.confusion_matrix(table["label"].tolist(), table["prediction"].tolist(), CLASSES))


def test_matrices_of_subjects_add_up_to_that_of_the_study():
    table = random_study(0)
    matrices, datasets = bootstrap.subject_matrices(table.sample(frac=1, random_state=1), CLASSES)
    assert matrices.shape == (1, 12, 3, 3)
    assert datasets == ["synthetic"] * 12
    np.testing.assert_array_equal(
        matrices.sum(axis=(0, 1)), metrics.confusion_matrix(table["label"], table["prediction"], CLASSES)
    )
    third = table[table["subject"] == "s02"]
    np.testing.assert_array_equal(
        matrices[0, 2], metrics.confusion_matrix(third["label"].tolist(), third["prediction"].tolist(), CLASSES)
    )


def test_a_resample_is_scored_as_a_table_of_the_drawn_subjects():
    """Brute force: the clips of a subject drawn twice are in the table twice."""
    table = random_study(1, subjects=5)
    matrices, datasets = bootstrap.subject_matrices(table, CLASSES)
    counts = bootstrap.resample_counts(datasets, resamples=20)
    parts = [part for _, part in table.groupby("subject")]
    expected = [
        uf1_of(pd.concat([part for part, n in zip(parts, row, strict=True) for _ in range(int(n))])) for row in counts
    ]
    np.testing.assert_allclose(bootstrap.resampled_scores(matrices, counts), expected)


def test_strata_keep_their_size():
    counts = bootstrap.resample_counts(["samm"] * 3 + ["casme2"] * 5, resamples=50)
    assert (counts[:, :3].sum(axis=1) == 3).all()
    assert (counts[:, 3:].sum(axis=1) == 5).all()
    assert len(np.unique(counts, axis=0)) > 30


def test_interval_is_that_of_scipys_bootstrap():
    table = random_study(2)
    parts = [part for _, part in table.groupby("subject")]
    matrices, _ = bootstrap.subject_matrices(table, CLASSES)

    def score(drawn):
        return metrics.uf1(matrices[0][drawn].sum(axis=0))

    reference = scipy.stats.bootstrap(
        (np.arange(len(parts)),), score, method="percentile", vectorized=False, n_resamples=5000, random_state=7
    ).confidence_interval
    ours = bootstrap.score_intervals(table, CLASSES)["uf1"]
    assert ours == pytest.approx([reference.low, reference.high], abs=0.01)
    assert ours[0] < uf1_of(table) < ours[1]
    assert bootstrap.score_intervals(table, CLASSES)["uf1"] == ours  # the same whenever it is asked


def test_interval_of_several_seeds_is_of_their_mean():
    one, other = random_study(3), random_study(3, right=0.5)
    other = one.assign(prediction=other["prediction"], seed=1)
    both = pd.concat([one, other], ignore_index=True)
    matrices, datasets = bootstrap.subject_matrices(both, CLASSES)
    counts = bootstrap.resample_counts(datasets)
    means = (bootstrap.resampled_scores(matrices[:1], counts) + bootstrap.resampled_scores(matrices[1:], counts)) / 2
    assert bootstrap.score_intervals(both, CLASSES)["uf1"] == pytest.approx(np.quantile(means, [0.025, 0.975]))


def test_one_subject_has_no_interval():
    """Nor have two of two datasets: each resample would be the study itself, and the interval a point."""
    one = fold_table("s1")
    for table in (one, pd.concat([one, fold_table("s2", dataset="other", predictions=CLASSES[:1] * 3)])):
        assert bootstrap.score_intervals(table, CLASSES) == {}
        assert bootstrap.compare(table, table, CLASSES)["interval"] is None


def test_intervals_cover_the_truth():
    """Of 400 studies of 30 subjects from one population, about 95 % of the intervals hold its UF1."""
    share, width = SIMULATION["coverage"](30, studies=400)
    assert 0.90 <= share <= 0.98
    assert 0.1 < width < 0.15


@pytest.mark.parametrize(("first", "second"), [(12, 3), (3, 12), (5, 5), (1, 0), (0, 0), (30, 14)])
def test_mcnemar_adds_up_what_is_no_likelier(first, second):
    """Two-sided: every split of the differing clips that is no likelier than this one, under even chances."""
    n = first + second
    likelihood = [comb(n, k) for k in range(n + 1)]
    p = sum(ways for ways in likelihood if ways <= likelihood[first]) / 2**n
    assert bootstrap.mcnemar(first, second) == pytest.approx(p)


def test_mcnemar_by_hand():
    # 5 of 5 differing clips for the one: 2 * (1/2)^5.
    assert bootstrap.mcnemar(5, 0) == pytest.approx(1 / 16)


def test_comparison_by_hand():
    labels = CLASSES * 2
    one = pd.concat([fold_table(name, labels=labels, predictions=labels) for name in ("s1", "s2")])
    wrong = ["negative", "positive", "positive"] * 2
    other = pd.concat([fold_table(name, labels=labels, predictions=wrong) for name in ("s1", "s2")])
    found = bootstrap.compare(one, other.sample(frac=1, random_state=0), CLASSES)
    # The other: negative 1, positive 2 * 4 / (8 + 4), surprise 0; it misses 4 of 12 clips.
    assert found == {
        "clips": 12,
        "difference": pytest.approx(1 - 5 / 9),
        "interval": pytest.approx([1 - 5 / 9] * 2),  # both subjects are alike
        "only_study": 4,
        "only_reference": 0,
        "mcnemar": pytest.approx(2 / 16),
    }


def test_pairing_takes_out_what_subjects_have_in_common():
    """Two studies that err on the same hard subjects: their difference is surer than each of them."""
    one = random_study(5, spread=0.4, subjects=20)
    better = one.copy()
    better.loc[better.index % 6 == 0, "prediction"] = better["label"]
    found = bootstrap.compare(better, one, CLASSES)
    low, high = bootstrap.score_intervals(one, CLASSES)["uf1"]
    assert found["interval"][0] > 0
    assert found["interval"][1] - found["interval"][0] < (high - low) / 2
    swapped = bootstrap.compare(one, better, CLASSES)
    assert swapped["difference"] == -found["difference"]
    assert swapped["interval"] == pytest.approx([-found["interval"][1], -found["interval"][0]], abs=1e-9)
    assert (swapped["only_study"], swapped["only_reference"]) == (found["only_reference"], found["only_study"])


def test_several_seeds_meet_mcnemar_as_one_prediction_a_clip():
    sure = {"probability_negative": 0.98, "probability_positive": 0.01, "probability_surprise": 0.01}
    guesses = ["negative"] * 3
    one = pd.concat([fold_table("s1"), fold_table("s1", seed=1, predictions=guesses, **sure)])
    # Mean probabilities: negative (.8 + .98) / 2 of the first clip, (.1 + .98) / 2 of the others, against .405.
    found = bootstrap.compare(one, fold_table("s1"), CLASSES)
    assert (found["only_study"], found["only_reference"]) == (0, 2)
    # The mean of the seeds' scores: 1, and of always negative 2 / (2 + 2) / 3.
    assert found["difference"] == pytest.approx((1 + 1 / 6) / 2 - 1)


def test_comparison_is_on_common_clips_only():
    both, more = fold_table("s1"), pd.concat([fold_table("s1"), fold_table("s2", predictions=["negative"] * 3)])
    found = bootstrap.compare(more, both, CLASSES)
    assert (found["clips"], found["difference"]) == (3, 0)
    with pytest.raises(MefusionError, match="no clip in common"):
        bootstrap.compare(fold_table("s1"), fold_table("s2"), CLASSES)
    with pytest.raises(MefusionError, match="label the same clips differently"):
        bootstrap.compare(fold_table("s1"), fold_table("s1", labels=CLASSES[::-1]), CLASSES)
