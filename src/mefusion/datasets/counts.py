"""How many clips the official downloads have, so that a partial or altered copy is noticed.

Counted in the owners' annotation tables; those of the three-class composite are the figures of the Micro-Expression
Grand Challenge 2019 (See, Yap, Li, Hong and Wang, FG 2019).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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


_SMIC_SUBJECTS = {
    "s1": 6, "s2": 6, "s3": 39, "s4": 19, "s5": 2, "s6": 4, "s8": 13, "s9": 4,
    "s11": 7, "s12": 9, "s13": 10, "s14": 10, "s15": 4, "s18": 7, "s19": 2, "s20": 22,
}  # fmt: skip
_SMIC = Counts(
    16,
    {"negative": 70, "positive": 51, "surprise": 43},
    per_subject={f"smic/{subject}": clips for subject, clips in _SMIC_SUBJECTS.items()},
)
_SAMM_THREE = Counts(28, {"negative": 92, "positive": 26, "surprise": 15})
_CAS_ME_3_THREE = Counts(88, {"negative": 457, "positive": 55, "surprise": 187})

# dataset -> label scheme -> counts. A scheme that is not here is not checked.
COUNTS: Mapping[str, Mapping[str, Counts]] = {
    "casme2": {
        "three": Counts(24, {"negative": 88, "positive": 32, "surprise": 25}),
        "three_wide": Counts(25, {"negative": 99, "positive": 32, "surprise": 25}),
        "five": Counts(26, {"others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25}),
        "seven": Counts(
            26,
            {"others": 99, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "sadness": 7, "fear": 2},
        ),
    },
    "samm": {
        "three": _SAMM_THREE,
        "three_wide": _SAMM_THREE,
        "five": Counts(27, {"anger": 57, "others": 26, "happiness": 26, "surprise": 15, "contempt": 12}),
    },
    "smic": {"three": _SMIC, "three_wide": _SMIC},
    "smic_vis": {"three": Counts(8, clips=71), "three_wide": Counts(8, clips=71)},
    "smic_nir": {"three": Counts(8, clips=71), "three_wide": Counts(8, clips=71)},
    "cas_me_3": {
        "three": _CAS_ME_3_THREE,
        "three_wide": _CAS_ME_3_THREE,
        "four": Counts(94, {"negative": 457, "positive": 55, "surprise": 187, "others": 161}),
        "seven": Counts(
            94,
            {"disgust": 250, "surprise": 187, "others": 161, "fear": 86, "anger": 64, "sadness": 57, "happiness": 55},
        ),
    },
    # CAS(ME)^2 is not here: its releases differ in the number of micro-expressions.
}


def differences(labelled: pd.DataFrame, *, scheme: str, datasets: Iterable[str]) -> list[str]:
    """How labelled clips differ from the official datasets' counts, a phrase each; none where they agree.

    Args:
        labelled: clip table with the column `label`.
        scheme: name of the label scheme.
        datasets: those whose official download the clips are meant to be; the others are not counted.
    """
    found = []
    for dataset in datasets:
        if counts := COUNTS.get(dataset, {}).get(scheme):
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
    phrases += [f"{name} is no subject of the dataset" for name in _strangers(clips, counts)]
    return [phrase for phrase in phrases if phrase]


def _phrase(what: str, found: int, expected: int, unit: str) -> str:
    if found == expected:
        return ""
    amount = f"{expected - found} missing" if found < expected else f"{found - expected} surplus"
    return f"{what} {found} of {expected} {unit} ({amount})".strip()


def _strangers(clips: pd.DataFrame, counts: Counts) -> list[str]:
    return sorted(set(clips["subject"]) - set(counts.per_subject)) if counts.per_subject else []
