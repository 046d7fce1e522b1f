import pytest
from hypothesis import given
from hypothesis import strategies as st

from mefusion.data.folds import Fold, leave_one_subject_out, select_folds
from mefusion.errors import MefusionError

names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8)
subjects = st.lists(st.tuples(st.sampled_from(["a", "b"]), names).map("/".join), min_size=1, max_size=30)


@given(subjects.filter(lambda clips: len(set(clips)) > 1))
def test_folds_never_share_a_subject_and_test_each_once(clips):
    folds = leave_one_subject_out(clips)
    for fold in folds:
        assert not set(fold.train) & set(fold.test)
        assert set(fold.train) | set(fold.test) == set(clips)
        assert len(fold.test) == 1
    assert sorted(subject for fold in folds for subject in fold.test) == sorted(set(clips))


@given(subjects.filter(lambda clips: len(set(clips)) > 1))
def test_fold_names_are_distinct_and_name_one_folder(clips):
    found = [fold.name for fold in leave_one_subject_out(clips)]
    assert len(set(found)) == len(found)
    for name in found:
        assert "/" not in name
        assert name not in ("", ".", "..")


@given(st.permutations(["a/1", "a/2", "a/10", "b/1"]))
def test_folds_do_not_depend_on_the_order_of_clips(clips):
    assert [fold.test[0] for fold in leave_one_subject_out(clips)] == ["a/1", "a/10", "a/2", "b/1"]


@pytest.mark.parametrize("clips", [[], ["a/1"], ["a/1", "a/1"]])
def test_one_subject_cannot_be_left_out(clips):
    with pytest.raises(MefusionError, match="at least two subjects"):
        leave_one_subject_out(clips)


def test_folds_are_chosen_by_subject_with_or_without_dataset():
    folds = leave_one_subject_out(["s/sub01", "s/sub02", "s/006"])
    assert folds[1] == Fold(name="s-sub01", train=("s/006", "s/sub02"), test=("s/sub01",))
    assert select_folds(folds, None) == folds
    assert select_folds(folds, ["sub02", "s/sub01", "006"]) == [folds[2], folds[1], folds[0]]


def test_an_unknown_fold_is_named_with_those_there_are():
    folds = leave_one_subject_out(["s/sub01", "s/sub02"])
    with pytest.raises(MefusionError, match=r"sub99.*sub01.*sub02"):
        select_folds(folds, ["sub01", "sub99"])


def test_a_short_name_that_two_datasets_share_is_not_taken_for_one_of_them():
    folds = leave_one_subject_out(["casme2/sub01", "casme3/sub01"])
    assert select_folds(folds, ["casme2/sub01"]) == [folds[0]]
    with pytest.raises(MefusionError, match="sub01"):
        select_folds(folds, ["sub01"])
