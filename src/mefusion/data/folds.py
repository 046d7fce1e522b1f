"""Folds: disjoint subjects for training and testing."""

from collections.abc import Iterable
from dataclasses import dataclass

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
    return [
        Fold(
            name=file_name(subject.replace("/", "-")),
            train=tuple(other for other in ordered if other != subject),
            test=(subject,),
        )
        for subject in ordered
    ]


PROTOCOLS = {"loso": leave_one_subject_out}


def make_folds(protocol: str, subjects: Iterable[str]) -> list[Fold]:
    """Folds of a protocol by name.

    Raises:
        MefusionError: there is no such protocol, or too few subjects for it.
    """
    if protocol not in PROTOCOLS:
        raise MefusionError(f"protocol.name={protocol}: choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol](subjects)


def select_folds(folds: list[Fold], names: Iterable[str] | None) -> list[Fold]:
    """The folds of the named test subjects, all if None; a name may leave out the dataset.

    Raises:
        MefusionError: a name is no fold's.
    """
    if names is None:
        return folds
    chosen = [_fold_of(str(name), folds) for name in names]
    if not chosen:
        raise MefusionError("protocol.folds names no subject: name some, or leave it out for all")
    return chosen


def _fold_of(name: str, folds: list[Fold]) -> Fold:
    found = [fold for fold in folds if any(name in (subject, subject.split("/")[-1]) for subject in fold.test)]
    if len(found) == 1:
        return found[0]
    subjects = ", ".join(subject for fold in folds for subject in fold.test)
    problem = "is in several datasets" if found else "is no subject with labelled clips"
    raise MefusionError(f"protocol.folds: {name} {problem}; choose from {subjects}")
