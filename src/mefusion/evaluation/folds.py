"""Protocols: ways to split the subjects of labelled clips into folds of disjoint training and test subjects."""

import inspect
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from mefusion.clips.table import file_name
from mefusion.common.errors import MefusionError

T = TypeVar("T")

ALL = "all"
"""The protocol that tests no one, and the name of its fold."""


@dataclass(frozen=True)
class Fold:
    """Disjoint training, validation and test subjects.

    Attributes:
        name: of the fold's folder, and in the column `fold` of prediction tables.
        train, test: subjects; the protocol `all` tests none.
        validation: subjects that the best epoch is selected on; none if no epoch is selected. Only under the rule
            `oracle` are they the test subjects.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()


def leave_one_subject_out(subjects: Iterable[str]) -> list[Fold]:
    """One fold for each subject, in the order of their names.

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


def leave_out_of_datasets(clips: pd.DataFrame, *, test: Sequence[str] | None = None) -> list[Fold]:
    """One fold for each subject, or for each of some datasets; the subjects of the others train in every fold.

    Args:
        clips: labelled clips with the columns dataset and subject.
        test: datasets whose subjects are tested; None means all.

    Raises:
        MefusionError: there are fewer than two subjects, or a dataset does not exist.
    """
    folds = leave_one_subject_out(clips["subject"])
    if test is None:
        return folds
    present = sorted({*clips["dataset"]})
    if unknown := [name for name in map(str, test) if name not in present]:
        raise MefusionError(
            f"protocol.test: {unknown[0]} is no dataset with labelled clips; choose from {', '.join(present)}"
        )
    tested = {*clips["subject"][clips["dataset"].isin([*map(str, test)])]}
    if not tested:
        raise MefusionError(f"protocol.test=[] tests no one: choose from {', '.join(present)}")
    return [fold for fold in folds if tested.issuperset(fold.test)]


def k_fold(clips: pd.DataFrame, *, k: int = 5, seed: int = 0) -> list[Fold]:
    """Split the subjects into k groups with about equal shares of each class's clips; each group is tested once.

    As in scikit-learn's StratifiedGroupKFold, subjects are assigned one by one, those with most clips first. Each goes
    to the group for which the classes' shares then differ least between the groups.

    Args:
        clips: labelled clips with the columns subject and label.
        k: number of groups.
        seed: for the order of subjects with equally many clips.

    Raises:
        MefusionError: k is below 2 or above the number of subjects, or the seed is below 0.
    """
    # Not scikit-learn's class itself: it gives other folds, and the folds of existing studies must stay the same.
    counts = pd.crosstab(clips["subject"].astype(str), clips["label"].astype(str))
    subjects = list(counts.index)
    if not 2 <= k <= len(subjects):
        raise MefusionError(
            f"protocol.k={k}: choose from 2 to {len(subjects)}, the number of subjects with labelled clips"
        )
    if seed < 0:
        raise MefusionError(f"protocol.seed={seed}: give a number from 0 up")
    clips_of = counts.sum(axis=1).to_numpy()
    shares = (counts / counts.sum()).to_numpy()  # of each class: a rare class counts as much as a frequent one
    order = np.random.default_rng(seed).permutation(len(subjects))
    groups: list[set[str]] = [set() for _ in range(k)]
    held, sizes = np.zeros((k, shares.shape[1])), np.zeros(k, int)
    for subject in order[np.argsort(-clips_of[order], kind="stable")]:
        # Let a group have the shares h. Adding a subject's shares x raises the sum of squares over the groups, and so
        # their variance, by x^2 + 2 h x. Only h x depends on the group. It is 0 for an empty group: none stays empty.
        rise = held @ shares[subject]
        group = min(range(k), key=lambda number: (rise[number], sizes[number]))
        groups[group].add(subjects[subject])
        held[group] += shares[subject]
        sizes[group] += clips_of[subject]
    width = len(str(k))
    return [_fold(f"fold{number:0{width}d}", subjects, group) for number, group in enumerate(groups, 1)]


def cross_dataset(clips: pd.DataFrame, *, test: Sequence[str] | None = None) -> list[Fold]:
    """Train on some datasets and test on others.

    Args:
        clips: labelled clips with the columns dataset and subject.
        test: datasets that one fold tests; None gives one fold for each dataset, which tests that dataset.

    Raises:
        MefusionError: a dataset does not exist, no dataset is left to train or test on, or a subject is in both.
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
                f"protocol.test=[{', '.join(names)}]: choose some of the datasets {present}, but leave one to train on"
            )
        tested = set().union(*(subjects[name] for name in names))
        for other in sorted(set(subjects) - set(names)):
            if shared := sorted(tested & subjects[other]):
                raise MefusionError(
                    f"protocol=cross_dataset: {shared[0]} is in {' or '.join(names)} and in {other}, so it would be in "
                    f"training and in test: leave one of these datasets out of data.sources"
                )
        folds.append(_fold(file_name("-".join(names)), set().union(*subjects.values()), tested))
    return folds


def hold_out(clips: pd.DataFrame, *, test: Sequence[str] = ()) -> list[Fold]:
    """One fold that tests the given subjects and trains on all others.

    Args:
        clips: labelled clips with the column subject.
        test: subjects, with or without their dataset, as `casme2/sub01` or `sub01`.

    Raises:
        MefusionError: a name fits no subject or several, or no subject is left to train or test on.
    """
    subjects = sorted(set(clips["subject"]))
    tested = {_the_one(str(name), subjects, "protocol.test") for name in test}
    if not 0 < len(tested) < len(subjects):
        raise MefusionError(
            f"protocol.test=[{', '.join(map(str, test))}]: name some of the {len(subjects)} subjects, but leave one to "
            "train on"
        )
    return [_fold("holdout", subjects, tested)]


def train_on_all(clips: pd.DataFrame) -> list[Fold]:
    """One fold that trains on all subjects and tests none: its network is for use, and no score stands for it.

    Args:
        clips: labelled clips with the column subject.
    """
    return [_fold(ALL, clips["subject"], set())]


PROTOCOLS: Mapping[str, Callable[..., list[Fold]]] = {
    "loso": leave_out_of_datasets,
    "kfold": k_fold,
    "cross_dataset": cross_dataset,
    "holdout": hold_out,
    ALL: train_on_all,
}


def make_folds(protocol: str, clips: pd.DataFrame, **options: object) -> list[Fold]:
    """Make the folds of a protocol.

    Args:
        protocol: a key of `PROTOCOLS`.
        clips: labelled clips with the columns dataset, subject and label.
        options: options of the protocol; None means its default.

    Raises:
        MefusionError: the protocol does not exist, does not have an option, is not possible with these clips, or tests
            a subject twice.
    """
    if protocol not in PROTOCOLS:
        raise MefusionError(f"protocol.name={protocol}: choose from {', '.join(PROTOCOLS)}")
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if name not in _options(protocol):
            users = " or ".join(f"protocol={user}" for user in PROTOCOLS if name in _options(user))
            raise MefusionError(f"protocol.{name}={value} has no meaning for protocol={protocol}: it is for {users}")
    folds = PROTOCOLS[protocol](clips, **given)
    tested = Counter(subject for fold in folds for subject in fold.test)
    if twice := [subject for subject, times in tested.items() if times > 1]:
        raise MefusionError(
            f"protocol={protocol} tests {twice[0]} in {tested[twice[0]]} folds, but predictions are scored together: "
            "let it test each subject at most once"
        )
    return folds


def _options(protocol: str) -> list[str]:
    """Names of a protocol's options: what its function takes by keyword."""
    parameters = inspect.signature(PROTOCOLS[protocol]).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]


def take_out_validation(fold: Fold, clips: pd.DataFrame, *, share: float, seed: int) -> Fold:
    """Move some training subjects of a fold to its validation subjects.

    The subjects are put into a random order, which depends on the seed and the fold's name, and are taken one by one.
    Each time it is the first of those subjects that cost the training the fewest classes, and among these, that give
    the validation the most new classes.

    Args:
        fold: a fold without validation subjects.
        clips: labelled clips with the columns subject and label.
        share: share of the training subjects to move, above 0 and below 1; at least one is moved, and one stays.
        seed: seed of the random order.

    Raises:
        MefusionError: the share is not between 0 and 1, or the fold has a single training subject.
    """
    if not 0 < share < 1:
        raise MefusionError(f"protocol.validation={share}: give a share above 0 and below 1")
    if len(fold.train) < 2:
        raise MefusionError(
            f"rule=inner_val needs two training subjects, one of them to validate on; fold {fold.name} has only "
            f"{fold.train[0]}: use rule=last or rule=average"
        )
    rng = np.random.default_rng(zlib.crc32(f"{seed}/{fold.name}/validation".encode()))
    subjects = rng.permutation(fold.train)
    shows = (pd.crosstab(clips["subject"], clips["label"]).loc[subjects] > 0).to_numpy()
    chosen = np.zeros(len(subjects), bool)
    for _ in range(min(max(1, round(share * len(subjects))), len(subjects) - 1)):
        last, held = shows[~chosen].sum(axis=0) == 1, shows[chosen].any(axis=0)
        lost, new = (shows & last).sum(axis=1), (shows & ~held).sum(axis=1)
        gain = new - (1 + shows.shape[1]) * lost
        chosen[np.where(chosen, gain.min() - 1, gain).argmax()] = True
    train, validation = (tuple(sorted(map(str, subjects[mask]))) for mask in (~chosen, chosen))
    return replace(fold, train=train, validation=validation)


def select_shard(runs: Sequence[T], shard: str | None) -> list[T]:
    """The runs of shard `i/n`: every n-th run, starting with the i-th; all runs if the shard is None.

    Raises:
        MefusionError: the shard is not i/n with i from 1 to n.
    """
    if shard is None:
        return list(runs)
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise MefusionError(
            f"protocol.shard={shard}: give i/n with i from 1 to n, for example 1/4 for the first of four"
        )
    return list(runs[number - 1 :: count])


def select_folds(folds: Sequence[Fold], names: Iterable[str] | None) -> list[Fold]:
    """The folds of these names or test subjects, all if None; a subject's name may leave out the dataset.

    Raises:
        MefusionError: a name is no fold's.
    """
    if names is None:
        return list(folds)
    chosen = [_named(str(name), folds) for name in names]
    if not chosen:
        raise MefusionError("protocol.folds names no fold and no subject: name some, or leave it out for all")
    return list(dict.fromkeys(chosen))


def _named(name: str, folds: Sequence[Fold]) -> Fold:
    fold_of = {subject: fold for fold in folds for subject in fold.test}
    by_name = {fold.name: fold for fold in folds}
    return by_name[name] if name in by_name else fold_of[_the_one(name, list(fold_of), "protocol.folds", by_name)]


def _the_one(name: str, subjects: Sequence[str], setting: str, choices: Iterable[str] = ()) -> str:
    """The subject that a name means, with or without its dataset."""
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
    """Such as `casme2-sub01`; with a hash if this is no valid file name, or if two subjects could get the same name."""
    dataset, _, _ = subject.partition("/")
    plain = subject.replace("/", "-", 1)
    return plain if "-" not in dataset and file_name(plain) == plain else file_name(subject)
