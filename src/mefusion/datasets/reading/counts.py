"""Official numbers of clips, to detect a download that is incomplete or changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import pandas as pd


@dataclass(frozen=True)
class Counts:
    """Official numbers of a dataset's clips and subjects in a label scheme.

    Attributes:
        subjects: number of subjects with at least one clip in the scheme.
        classes: class -> number of clips; if empty, only their sum `clips` is known.
        clips: number of clips of all classes, if `classes` is empty.
        per_subject: subject -> number of clips; empty if it is not known.
    """

    subjects: int
    classes: Mapping[str, int] = field(default_factory=dict)
    clips: int = 0
    per_subject: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of clips of all classes."""
        return self.clips or sum(self.classes.values())


CountsByScheme: TypeAlias = Mapping[str, Counts]
"""Name of a label scheme -> counts; other schemes are not checked."""


def differences(labelled: pd.DataFrame, *, scheme: str, datasets: Mapping[str, CountsByScheme]) -> list[str]:
    """List the differences between labelled clips and the official counts, as phrases; empty if they agree.

    Args:
        labelled: clip table with the column `label`.
        scheme: name of the label scheme.
        datasets: dataset -> its official counts; other datasets are not checked.
    """
    found = []
    for dataset, known in datasets.items():
        if counts := known.get(scheme):
            clips = labelled[labelled["dataset"] == dataset]
            found += [f"{dataset}: {phrase}" for phrase in _phrases(clips, counts)]
    return found


def _phrases(clips: pd.DataFrame, counts: Counts) -> list[str]:
    phrases = [
        _phrase(name, (clips["label"] == name).sum(), expected, "clips") for name, expected in counts.classes.items()
    ]
    if not counts.classes:
        phrases.append(_phrase("all classes", len(clips), counts.total, "clips"))
    phrases += [
        _phrase(subject, (clips["subject"] == subject).sum(), expected, "clips")
        for subject, expected in counts.per_subject.items()
    ]
    phrases.append(_phrase("", clips["subject"].nunique(), counts.subjects, "subjects"))
    if counts.per_subject:
        unknown = sorted(set(clips["subject"]) - set(counts.per_subject))
        phrases += [f"{subject} is no subject of the dataset" for subject in unknown]
    return [phrase for phrase in phrases if phrase]


def _phrase(what: str, found: int, expected: int, unit: str) -> str:
    if found == expected:
        return ""
    amount = f"{expected - found} missing" if found < expected else f"{found - expected} surplus"
    return f"{what} {found} of {expected} {unit} ({amount})".strip()
