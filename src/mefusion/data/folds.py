"""Protocols: how the subjects of labelled clips are split into folds of disjoint training and test subjects."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mefusion.data.records import file_name
from mefusion.errors import MefusionError


@dataclass(frozen=True)
class Fold:
    """Disjoint training and test subjects; the name is that of the fold's folder and of its rows."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


def leave_one_subject_out(subjects: Iterable[str]) -> list[Fold]:
    """One fold a subject, in the order of their names.

    Raises:
        MefusionError: there are fewer than two subjects.
    """
    ordered = sorted(set(subjects))
    if len(ordered) < 2:
        raise MefusionError(
            "leave-one-subject-out needs at least two subjects with labelled clips, "
            f"there is {', '.join(ordered) or 'none'}"
        )
    return [_fold(_subject_fold_name(subject), ordered, {subject}) for subject in ordered]


def k_fold(clips: pd.DataFrame, *, k: int = 5, seed: int = 0) -> list[Fold]:
    """Groups of subjects that have about the same share of each class's clips; each group is tested once.

    As in scikit-learn's StratifiedGroupKFold, subjects are dealt out one by one, those with most clips first, each
    to the group where the classes' shares then differ least between groups.

    Args:
        clips: labelled clips with the columns subject and label.
        k: number of groups.
        seed: of the order among subjects with equally many clips.

    Raises:
        MefusionError: k is below 2 or above the number of subjects.
    """
    counts = pd.crosstab(clips["subject"].astype(str), clips["label"].astype(str))
    subjects = list(counts.index)
    if not 2 <= k <= len(subjects):
        raise MefusionError(
            f"protocol.k={k}: choose from 2 to {len(subjects)}, the number of subjects with labelled clips"
        )
    clips_of = counts.sum(axis=1).to_numpy()
    shares = (counts / counts.sum()).to_numpy()  # of each class: a rare one counts as much as a common one
    order = np.random.default_rng(seed).permutation(len(subjects))
    groups: list[set[str]] = [set() for _ in range(k)]
    held, sizes = np.zeros((k, shares.shape[1])), np.zeros(k, int)
    for subject in order[np.argsort(-clips_of[order], kind="stable")]:
        # Adding x to a group that holds h raises the sum of squares, and so the variance over groups, by
        # x^2 + 2 h x, of which only h x differs. It is 0 for an empty group: none stays empty.
        rise = held @ shares[subject]
        group = min(range(k), key=lambda number: (rise[number], sizes[number]))
        groups[group].add(subjects[subject])
        held[group] += shares[subject]
        sizes[group] += clips_of[subject]
    width = len(str(k))
    return [_fold(f"fold{number:0{width}d}", subjects, group) for number, group in enumerate(groups, 1)]


def cross_dataset(clips: pd.DataFrame, *, test: Sequence[str] | None = None) -> list[Fold]:
    """Train on some datasets, test on others.

    Args:
        clips: labelled clips with the columns dataset and subject.
        test: the datasets of the one fold's test; None makes a fold of each dataset in turn.

    Raises:
        MefusionError: a dataset is not there, none is left on one side, or a subject is on both.
    """
    subjects = {str(name): set(rows["subject"]) for name, rows in clips.groupby("dataset")}
    present = ", ".join(subjects) or "none"
    if len(subjects) < 2:
        raise MefusionError(
            f"protocol=cross_dataset needs clips of two datasets, there is {present}: join some with data=pooled"
        )
    chosen = [[name] for name in subjects] if test is None else [list(dict.fromkeys(map(str, test)))]
    folds = []
    for names in chosen:
        unknown = [name for name in names if name not in subjects]
        if unknown:
            raise MefusionError(f"protocol.test: {unknown[0]} is no dataset with labelled clips; choose from {present}")
        if not 0 < len(names) < len(subjects):
            raise MefusionError(
                f"protocol.test=[{', '.join(names)}]: choose some of the datasets {present} and leave one to train on"
            )
        tested = set().union(*(subjects[name] for name in names))
        for other in sorted(set(subjects) - set(names)):
            if shared := sorted(tested & subjects[other]):
                raise MefusionError(
                    f"protocol=cross_dataset: {shared[0]} is in {' or '.join(names)} and in {other}, so it would be on "
                    f"both sides: leave one of these datasets out of data.sources"
                )
        folds.append(_fold(file_name("-".join(names)), set().union(*subjects.values()), tested))
    return folds


def hold_out(clips: pd.DataFrame, *, test: Sequence[str] = ()) -> list[Fold]:
    """One fold that tests the named subjects and trains on all others.

    Args:
        clips: labelled clips with the column subject.
        test: subjects; a name may leave out the dataset.

    Raises:
        MefusionError: a name is no subject's or that of several, or none is left on one side.
    """
    subjects = sorted(set(clips["subject"]))
    tested = {_the_one(str(name), subjects, "protocol.test") for name in test}
    if not 0 < len(tested) < len(subjects):
        raise MefusionError(
            f"protocol.test=[{', '.join(map(str, test))}]: name some of the {len(subjects)} subjects to test and leave "
            "one to train on"
        )
    return [_fold("holdout", subjects, tested)]


PROTOCOLS: Mapping[str, Callable[..., list[Fold]]] = {
    "loso": lambda clips: leave_one_subject_out(clips["subject"]),
    "kfold": k_fold,
    "cross_dataset": cross_dataset,
    "holdout": hold_out,
}
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "loso": (),
    "kfold": ("k", "seed"),
    "cross_dataset": ("test",),
    "holdout": ("test",),
}


def make_folds(protocol: str, clips: pd.DataFrame, **options: object) -> list[Fold]:
    """Folds of a protocol by name.

    Args:
        protocol: a key of `PROTOCOLS`.
        clips: labelled clips with the columns dataset, subject and label.
        options: of the protocol; those that are None are left to it.

    Raises:
        MefusionError: there is no such protocol, an option is not its own, or the clips do not allow it.
    """
    if protocol not in PROTOCOLS:
        raise MefusionError(f"protocol.name={protocol}: choose from {', '.join(PROTOCOLS)}")
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in OPTIONS[protocol]:
            users = " or ".join(f"protocol={user}" for user, names in OPTIONS.items() if name in names)
            raise MefusionError(f"protocol.{name}={value} says nothing to protocol={protocol}: it is for {users}")
    return PROTOCOLS[protocol](clips, **given)


def select_folds(folds: list[Fold], names: Iterable[str] | None) -> list[Fold]:
    """The folds of these names or test subjects, all if None; a subject's name may leave out the dataset.

    Raises:
        MefusionError: a name is no fold's.
    """
    if names is None:
        return folds
    chosen = [_named(str(name), folds) for name in names]
    if not chosen:
        raise MefusionError("protocol.folds names no fold and no subject: name some, or leave it out for all")
    return list(dict.fromkeys(chosen))


def _named(name: str, folds: list[Fold]) -> Fold:
    fold_of = {subject: fold for fold in folds for subject in fold.test}
    by_name = {fold.name: fold for fold in folds}
    return by_name[name] if name in by_name else fold_of[_the_one(name, list(fold_of), "protocol.folds", by_name)]


def _the_one(name: str, subjects: Sequence[str], setting: str, choices: Iterable[str] = ()) -> str:
    """The subject of a name, which may leave out the dataset."""
    if name in subjects:
        return name
    found = [subject for subject in subjects if subject.split("/")[-1] == name]
    if len(found) == 1:
        return found[0]
    problem = "is in several datasets" if found else "is no subject with labelled clips"
    raise MefusionError(f"{setting}: {name} {problem}; choose from {', '.join(found or choices or subjects)}")


def _fold(name: str, subjects: Iterable[str], test: set[str]) -> Fold:
    return Fold(name, train=tuple(sorted(set(subjects) - test)), test=tuple(sorted(test)))


def _subject_fold_name(subject: str) -> str:
    """As `casme2-sub01`; where this is no file name, or could be read in two ways, a name with a hash."""
    dataset, _, _ = subject.partition("/")
    plain = subject.replace("/", "-", 1)
    return plain if "-" not in dataset and file_name(plain) == plain else file_name(subject)
