from pathlib import PurePath

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from mefusion.common.errors import MefusionError
from mefusion.evaluation.folds import (
    PROTOCOLS,
    Fold,
    k_fold,
    leave_one_subject_out,
    make_folds,
    select_folds,
    select_shard,
    take_out_validation,
)

names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)
datasets = st.sampled_from(["a", "b", "a-b", "c"])
clips = st.tuples(datasets, names, st.sampled_from(["negative", "positive", "surprise"]))


def table(rows):
    """Labelled clips of (dataset, subject, label)."""
    return pd.DataFrame(
        [{"dataset": d, "subject": f"{d}/{s}", "clip_id": str(n), "label": k} for n, (d, s, k) in enumerate(rows)]
    )


tables = st.lists(clips, min_size=2, max_size=40).map(table).filter(lambda clips: len(set(clips["subject"])) > 1)


@st.composite
def planned(draw, protocols=("loso", "kfold", "cross_dataset", "holdout")):
    """(clips, options of a protocol that they allow)."""
    clips = draw(tables)
    protocol, subjects = draw(st.sampled_from(protocols)), sorted(set(clips["subject"]))
    if protocol == "kfold":
        return clips, protocol, {"k": draw(st.integers(2, len(subjects))), "seed": draw(st.integers(0, 99))}
    present = sorted(set(clips["dataset"]))
    if protocol == "cross_dataset":
        assume(len(present) > 1)
        some = st.lists(st.sampled_from(present), min_size=1, max_size=len(present) - 1, unique=True)
        return clips, protocol, {"test": draw(st.none() | some)}
    if protocol == "holdout":
        some = st.lists(st.sampled_from(subjects), min_size=1, max_size=len(subjects) - 1, unique=True)
        return clips, protocol, {"test": draw(some)}
    return clips, protocol, {}


@given(planned())
def test_no_subject_is_on_two_sides_of_a_fold(plan):
    clips, protocol, options = plan
    folds = make_folds(protocol, clips, **options)
    assert folds
    for fold in folds:
        assert fold.train
        assert fold.test
        assert not set(fold.train) & set(fold.test)
        assert set(fold.train) | set(fold.test) == set(clips["subject"])


@given(planned())
def test_fold_names_are_distinct_and_each_names_a_file(plan):
    clips, protocol, options = plan
    found = [fold.name for fold in make_folds(protocol, clips, **options)]
    assert len(set(found)) == len(found)
    for name in found:
        assert name == PurePath(name).name
        assert name.isascii()
        assert not set(name) & set(' /\\:*?"<>|')


@given(planned(["loso", "kfold"]))
def test_every_clip_is_tested_once(plan):
    clips, protocol, options = plan
    tested = [
        clip for fold in make_folds(protocol, clips, **options) for clip in clips.index[clips.subject.isin(fold.test)]
    ]
    assert sorted(tested) == list(clips.index)


@given(planned(), st.randoms())
def test_folds_do_not_depend_on_the_order_of_clips(plan, random):
    clips, protocol, options = plan
    order = list(clips.index)
    random.shuffle(order)
    assert make_folds(protocol, clips.loc[order], **options) == make_folds(protocol, clips, **options)


@given(planned())
def test_folds_are_chosen_by_their_name_or_a_test_subject(plan):
    clips, protocol, options = plan
    folds = make_folds(protocol, clips, **options)
    assert select_folds(folds, None) == folds
    for fold in folds:
        assert select_folds(folds, [fold.name]) == [fold]
        assert select_folds(folds, fold.test) == [fold]


# Leave one subject out.


@pytest.mark.parametrize("clips", [[], ["a/1"], ["a/1", "a/1"]])
def test_one_subject_cannot_be_left_out(clips):
    with pytest.raises(MefusionError, match="at least two subjects"):
        leave_one_subject_out(clips)


def test_folds_are_chosen_by_subject_with_or_without_dataset():
    folds = leave_one_subject_out(["s/sub01", "s/sub02", "s/006"])
    assert folds[1] == Fold(name="s-sub01", train=("s/006", "s/sub02"), test=("s/sub01",))
    assert select_folds(folds, None) == folds
    assert select_folds(folds, ["sub02", "s/sub01", "006"]) == [folds[2], folds[1], folds[0]]
    assert select_folds(folds, ["s-sub01", "sub01"]) == [folds[1]]


def test_an_unknown_fold_is_named_with_those_there_are():
    folds = leave_one_subject_out(["s/sub01", "s/sub02"])
    with pytest.raises(MefusionError, match=r"sub99.*sub01.*sub02"):
        select_folds(folds, ["sub01", "sub99"])
    with pytest.raises(MefusionError, match="names no fold"):
        select_folds(folds, [])


def test_a_short_name_that_two_datasets_share_is_not_taken_for_one_of_them():
    folds = leave_one_subject_out(["casme2/sub01", "casme3/sub01"])
    assert select_folds(folds, ["casme2/sub01"]) == [folds[0]]
    with pytest.raises(MefusionError, match="sub01 is in several datasets; choose from casme2/sub01, casme3/sub01"):
        select_folds(folds, ["sub01"])


# All subjects.


@given(tables)
def test_all_trains_on_everyone_and_tests_no_one(clips):
    (fold,) = make_folds("all", clips)
    assert fold == Fold("all", train=tuple(sorted(set(clips["subject"]))), test=())
    taken = take_out_validation(fold, clips, share=0.3, seed=0)
    assert not set(taken.train) & set(taken.validation)
    assert set(taken.train) | set(taken.validation) == set(fold.train)


def test_all_has_no_options():
    with pytest.raises(MefusionError, match=r"protocol.k=3 has no meaning for protocol=all: it is for protocol=kfold"):
        make_folds("all", table([("a", "1", "x")]), k=3)


# Groups of subjects.


def subjects_with(counts):
    """Clips of subjects; counts[s][k] of class k."""
    rows = [("d", f"{s:02d}", f"k{k}") for s, row in enumerate(counts) for k, n in enumerate(row) for _ in range(n)]
    return table(rows)


def imbalance(clips, folds):
    """How far folds differ in the classes' shares: the standard deviation over folds, mean over classes."""
    shares = pd.crosstab(clips["subject"], clips["label"])
    shares = shares / shares.sum()
    return np.std([shares.loc[list(fold.test)].sum() for fold in folds], axis=0).mean()


def test_groups_have_each_class_alike_where_that_can_be():
    clips = subjects_with([[4, 0], [4, 0], [4, 0], [0, 1], [0, 1], [0, 1]])
    for fold in k_fold(clips, k=3):
        assert clips.loc[clips["subject"].isin(fold.test), "label"].value_counts().to_dict() == {"k0": 4, "k1": 1}


def test_groups_are_about_as_balanced_as_those_of_scikit_learn():
    rng, ours, theirs = np.random.default_rng(0), [], []
    for seed in range(20):
        clips = subjects_with(rng.poisson([6, 2, 1], size=(26, 3)) + np.array([1, 0, 0]))
        ours.append(imbalance(clips, k_fold(clips, k=5, seed=seed)))
        splits = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(clips, clips["label"], clips["subject"])
        tested = [tuple(set(clips["subject"].iloc[test])) for _, test in splits]
        theirs.append(imbalance(clips, [Fold("", (), test) for test in tested]))
    assert np.mean(ours) < 1.1 * np.mean(theirs)


def test_the_seed_orders_subjects_that_are_alike():
    clips = subjects_with([[1, 1]] * 12)
    assert k_fold(clips, k=3, seed=1) == k_fold(clips, k=3, seed=1)
    assert len({tuple(k_fold(clips, k=3, seed=seed)) for seed in range(5)}) == 5
    assert [fold.name for fold in k_fold(clips, k=10)][::9] == ["fold01", "fold10"]


@pytest.mark.parametrize("k", [-1, 0, 1, 4])
def test_groups_that_cannot_be_made_are_refused(k):
    with pytest.raises(MefusionError, match=f"protocol.k={k}: choose from 2 to 3, the number of subjects"):
        k_fold(subjects_with([[1], [2], [3]]), k=k)


def test_a_seed_below_0_is_refused():
    with pytest.raises(MefusionError, match=r"protocol\.seed=-1: give a number from 0 up"):
        k_fold(subjects_with([[1], [2]]), k=2, seed=-1)


# Across datasets, named subjects.

THREE = table([("casme2", "sub01", "x"), ("casme2", "sub02", "y"), ("samm", "006", "x"), ("smic", "s1", "x")])


def test_datasets_are_tested_in_turn():
    folds = make_folds("cross_dataset", THREE, test=None)
    assert [fold.name for fold in folds] == ["casme2", "samm", "smic"]
    assert folds[0].test == ("casme2/sub01", "casme2/sub02")
    assert folds[0].train == ("samm/006", "smic/s1")


@given(planned(["cross_dataset"]))
def test_no_dataset_is_on_both_sides_and_each_is_tested_at_most_once(plan):
    clips, protocol, options = plan
    folds = make_folds(protocol, clips, **options)
    dataset_of = dict(zip(clips["subject"], clips["dataset"], strict=True))
    tested = [{dataset_of[subject] for subject in fold.test} for fold in folds]
    for fold, datasets in zip(folds, tested, strict=True):
        assert {dataset_of[subject] for subject in fold.train} == {*clips["dataset"]} - datasets
    assert sum(map(len, tested)) == len(set().union(*tested))
    if options["test"] is None:  # leave one dataset out
        assert sorted(tested, key=min) == [{name} for name in sorted({*clips["dataset"]})]


def test_named_datasets_are_tested_together():
    (fold,) = make_folds("cross_dataset", THREE, test=["samm", "casme2"])
    assert fold == Fold("samm-casme2", train=("smic/s1",), test=("casme2/sub01", "casme2/sub02", "samm/006"))


def test_named_subjects_are_held_out():
    (fold,) = make_folds("holdout", THREE, test=["sub01", "smic/s1"])
    assert fold == Fold("holdout", train=("casme2/sub02", "samm/006"), test=("casme2/sub01", "smic/s1"))
    assert select_folds([fold], ["s1"]) == select_folds([fold], ["holdout"]) == [fold]


@pytest.mark.parametrize(
    ("protocol", "options", "sentence"),
    [
        ("cross_dataset", {"test": ["casme9"]}, "protocol.test: casme9 is no dataset.*casme2, samm, smic"),
        ("cross_dataset", {"test": ["casme2", "samm", "smic"]}, "leave one to train on"),
        ("cross_dataset", {"test": []}, r"protocol.test=\[\]: choose some"),
        ("holdout", {"test": ["sub09"]}, "protocol.test: sub09 is no subject.*casme2/sub01.*smic/s1"),
        ("holdout", {"test": ["sub01", "sub02", "006", "s1"]}, "leave one to train on"),
        ("holdout", {"test": []}, "name some of the 4 subjects"),
        ("loso", {"k": 3}, "protocol.k=3 has no meaning for protocol=loso: it is for protocol=kfold"),
        ("kfold", {"test": ["s1"]}, "it is for protocol=cross_dataset or protocol=holdout"),
        ("bootstrap", {}, "protocol.name=bootstrap: choose from loso, kfold, cross_dataset, holdout"),
    ],
)
def test_what_cannot_be_split_is_one_sentence(protocol, options, sentence):
    with pytest.raises(MefusionError, match=sentence):
        make_folds(protocol, THREE, **options)


def test_one_dataset_has_nothing_across():
    with pytest.raises(MefusionError, match=r"two datasets, there is d: join some with data=pooled"):
        make_folds("cross_dataset", subjects_with([[1], [1]]))


def test_people_of_two_datasets_are_not_tested_across_them():
    """SMIC shows the same people in several of its parts."""
    same = THREE.assign(subject=THREE["subject"].replace("samm/006", "smic/s1"))
    with pytest.raises(MefusionError, match="smic/s1 is in smic and in samm"):
        make_folds("cross_dataset", same, test=["smic"])
    assert make_folds("cross_dataset", same, test=["casme2"])[0].train == ("smic/s1",)


# Validation subjects.


@given(planned(), st.floats(0.01, 0.99), st.integers(0, 9))
def test_validation_subjects_come_out_of_the_training_subjects(plan, share, seed):
    clips, protocol, options = plan
    for fold in make_folds(protocol, clips, **options):
        assume(len(fold.train) > 1)
        split = take_out_validation(fold, clips, share=share, seed=seed)
        assert (split.name, split.test) == (fold.name, fold.test)
        assert not set(split.train) & set(split.validation)
        assert {*split.train, *split.validation} == set(fold.train)
        assert split.train
        assert len(split.validation) == min(max(1, round(share * len(fold.train))), len(fold.train) - 1)
        shuffled = clips.sample(frac=1, random_state=0)
        assert take_out_validation(fold, shuffled, share=share, seed=seed) == split


def test_validation_has_the_classes_that_training_can_spare():
    # a1 alone is surprised, so training keeps it; of the others a2 shows both further classes.
    rows = [("a", "1", "surprise"), ("a", "1", "negative"), ("a", "2", "negative"), ("a", "2", "positive")]
    rows += [("a", name, "negative") for name in "3456"] + [("a", "7", "positive"), ("a", "8", "negative")]
    clips = table(rows)
    (fold,) = (fold for fold in leave_one_subject_out(clips["subject"]) if fold.test == ("a/8",))
    for seed in range(5):
        assert take_out_validation(fold, clips, share=0.1, seed=seed).validation == ("a/2",)
    three = {take_out_validation(fold, clips, share=0.5, seed=seed).validation for seed in range(9)}
    assert len(three) > 1  # the rest is drawn
    assert all("a/2" in chosen and "a/1" not in chosen for chosen in three)


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_a_share_that_leaves_no_one_is_refused(share):
    fold = Fold("f", train=("a/1", "a/2"), test=("a/3",))
    with pytest.raises(MefusionError, match=rf"protocol\.validation={share}"):
        take_out_validation(fold, table([("a", "1", "x"), ("a", "2", "x")]), share=share, seed=0)


def test_a_single_training_subject_cannot_be_validated_on():
    with pytest.raises(MefusionError, match="fold f has only a/1"):
        take_out_validation(Fold("f", train=("a/1",), test=("a/2",)), table([("a", "1", "x")]), share=0.2, seed=0)


# Shards.


@given(st.lists(st.integers(), max_size=12), st.integers(1, 5))
def test_shards_together_are_the_whole(items, count):
    shards = [select_shard(items, f"{number}/{count}") for number in range(1, count + 1)]
    assert sorted(item for shard in shards for item in shard) == sorted(items)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert select_shard(items, None) == items


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "abc", "1/0", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_named(shard):
    with pytest.raises(MefusionError, match=f"protocol.shard={shard}: give i/n"):
        select_shard([1, 2], shard)


def test_a_protocol_that_tests_a_subject_twice_is_refused_before_anything_is_trained(monkeypatch):
    folds = [Fold("one", ("a/2",), ("a/1",)), Fold("two", ("a/2",), ("a/1",))]
    monkeypatch.setitem(PROTOCOLS, "twice", lambda clips: folds)
    with pytest.raises(MefusionError, match="protocol=twice tests a/1 in 2 folds"):
        make_folds("twice", pd.DataFrame())
