"""How many clips an official download has, so that a partial or altered copy is noticed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import pandas as pd


@dataclass(frozen=True)
class Counts:
    """What a dataset has under a label scheme.

    Attributes:
        subjects: with at least one clip in the scheme.
        classes: class -> clips; where it is empty only their sum is known.
        clips: of all classes together.
        per_subject: subject -> clips, where it is known.
    """

    subjects: int
    classes: Mapping[str, int] = field(default_factory=dict)
    clips: int = 0
    per_subject: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Clips of all classes together."""
        return self.clips or sum(self.classes.values())


CountsByScheme: TypeAlias = Mapping[str, Counts]
"""Name of a label scheme -> counts; a scheme that is not there is not checked."""


def differences(labelled: pd.DataFrame, *, scheme: str, datasets: Mapping[str, CountsByScheme]) -> list[str]:
    """How labelled clips differ from the official counts, a phrase each; none where they agree.

    Args:
        labelled: clip table with the column `label`.
        scheme: name of the label scheme.
        datasets: dataset -> its official counts; others are not counted.
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
