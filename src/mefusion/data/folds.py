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


def select_folds(folds: list[Fold], names: Iterable[str] | None) -> list[Fold]:
    """The folds of the named test subjects, all if None; a name may leave out the dataset.

    Raises:
        MefusionError: a name is no fold's.
    """
    if names is None:
        return folds
    known = {name: fold for fold in folds for subject in fold.test for name in (subject, subject.split("/")[-1])}
    unknown = [str(name) for name in names if str(name) not in known]
    if unknown:
        raise MefusionError(f"protocol.folds has no subject {', '.join(unknown)}: choose from {', '.join(known)}")
    return [known[str(name)] for name in names]
