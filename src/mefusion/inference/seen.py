"""What the network of a bundle has seen: in its own training, and in those that it started from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOTION = "synthetic_motion"
PEOPLELESS = (MOTION, "synthetic")
"""Datasets that a computer made: they show no people."""

BEFORE = "trained_before"
"""Entry of `data` in `bundle.json`: what was seen before the bundle's own training.

Bundles without it began at random.
"""


@dataclass(frozen=True)
class Seen:
    """What the trainings of a network have seen.

    Attributes:
        contents: hashes of each clip: of its pictures with landmarks from files, and of its pictures alone.
        datasets: their names, the earliest first.
        known: whether this is all; it is not after the weights of a network's authors.
    """

    contents: list[str]
    datasets: list[str]
    known: bool


@dataclass(frozen=True)
class TrainingData:
    """What is used of the entry `data` of `bundle.json`.

    Attributes:
        contents: hashes of the training clips, see `Seen`.
        fps, eye_distance: smallest and largest, frames/s and px; None if not known.
        trained_before: what the weights had seen that its training started from; None if it started at random.
    """

    contents: list[str]
    fps: list[float] | None
    eye_distance: list[float] | None
    trained_before: Seen | None

    def __post_init__(self) -> None:
        for name, ends in (("fps", self.fps), ("eye_distance", self.eye_distance)):
            if ends is not None and not (len(ends) == 2 and 0 < ends[0] <= ends[1]):
                raise ValueError(f"data.{name} must be the smallest and the largest")


def seen_by(data: Mapping[str, Any]) -> Seen:
    """What a bundle's network has seen in all its trainings; `data` is that entry of `bundle.json`."""
    before = Seen(**data[BEFORE]) if data.get(BEFORE) else Seen([], [], known=True)
    own = [*data.get("datasets", {})]
    return Seen(
        contents=sorted({*before.contents, *data["contents"]}),
        datasets=[*dict.fromkeys([*before.datasets, *own])],
        known=before.known and bool(own),
    )


def seen_before(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """The entry `BEFORE` of a study's bundle: from `init_from` of its `study.json`, None if it started at random.

    Studies of older versions do not say which clips their weights had seen, so this is not known of them.
    """
    origin = study.get("init_from")
    if not origin:
        return None
    return {
        "contents": origin.get("contents", []),
        "datasets": origin["datasets"],
        "known": origin.get("known", False),
    }
