"""Plans of imitated downloads: which clips there are, and what the table says of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Row:
    """One clip of a download.

    Attributes:
        subject, clip: as the download's folders name them.
        emotion: as the download's table or folders spell it.
        onset, offset: first and last frame that are there, both included.
        apex: None where the download tells none.
        action_units: as the table spells them.
        cells: what the table says beside or instead of the above, by field, as in `{"offset": 0}`.
        dataset: of a composite, the one that the clip comes from.
    """

    subject: str
    clip: str
    emotion: str
    onset: int
    apex: int | None
    offset: int
    action_units: str = ""
    cells: Mapping[str, object] = field(default_factory=dict)
    dataset: str = ""

    def cell(self, name: str) -> object:
        """What the table says of a field."""
        return self.cells.get(name, getattr(self, name, None))

    @property
    def length(self) -> int:
        """Number of frames from onset to offset."""
        return self.offset - self.onset + 1


@dataclass(frozen=True)
class Imitation:
    """What is known of one dataset's official download.

    Attributes:
        full_plan: every clip with every quirk of the official table, from a random generator.
        write_documents: (folder, plan, variant) writes all that is no frame of a clip.
        frame_path: (row, frame number, variant) -> path within the download; None where it lacks that frame.
        variants: the ways the download is seen; the first is the default.
        grey: whether its frames are grey.
    """

    full_plan: Callable[[np.random.Generator], list[Row]]
    write_documents: Callable[[Path, Sequence[Row], str], None]
    frame_path: Callable[[Row, int, str], str | None]
    variants: Sequence[str] = ("raw",)
    grey: bool = False


def deal(
    counts: Mapping[str, int],
    subjects: Sequence[str],
    rng: np.random.Generator,
    *,
    each: Iterable[str] = (),
    only: Mapping[str, Sequence[str]] | None = None,
    pinned: Iterable[tuple[str, str]] = (),
) -> list[tuple[str, str]]:
    """Deal emotions to subjects unevenly, as they fall in a real table.

    Args:
        counts: how many clips of each emotion there are.
        subjects: all of them; each gets a clip at least.
        rng: of every choice.
        each: emotions of which each subject has at least one clip beside its pinned ones; all where empty.
        only: subject -> the emotions that it may have.
        pinned: (subject, emotion) that are given and count.

    Returns:
        (subject, emotion) of every clip that is not pinned, the subjects in order.
    """
    left, only = Counter(counts), only or {}
    left.subtract(emotion for _, emotion in pinned)
    each = list(each) or list(counts)
    pairs = []
    for subject in subjects:
        chances = np.array([left[emotion] for emotion in only.get(subject, each)], float)
        emotion = str(rng.choice(only.get(subject, each), p=chances / chances.sum()))
        left[emotion] -= 1
        pairs.append((subject, emotion))
    weights = dict(zip(subjects, rng.gamma(2.0, size=len(subjects)), strict=True))
    for emotion, count in left.items():
        allowed = [subject for subject in subjects if emotion in only.get(subject, [emotion])]
        shares = np.array([weights[subject] for subject in allowed])
        pairs += [(str(subject), emotion) for subject in rng.choice(allowed, size=count, p=shares / shares.sum())]
    order = {subject: position for position, subject in enumerate(subjects)}
    return sorted(pairs, key=lambda pair: order[pair[0]])


def draw_lengths(rng: np.random.Generator, count: int, shortest: int, longest: int) -> list[int]:
    """Frames of `count` clips, in any order, of which one has the fewest and one the most."""
    between = rng.integers(shortest, longest, size=count - 2, endpoint=True)
    return [int(length) for length in rng.permutation([shortest, longest, *between])]


def draw_apex(rng: np.random.Generator, onset: int, offset: int) -> int:
    """A frame well between onset and offset."""
    inside = onset + round((offset - onset) * rng.uniform(0.35, 0.65))
    return min(max(inside, onset + 1), offset - 1)
