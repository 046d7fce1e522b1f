"""The answers of a run as tables: a row for each call, and the labels of each segment."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.labelling.answers import FINAL, Line, Status, read_answers, read_way
from mefusion.common.errors import MefusionError

COLUMNS = ("segment", "dominant", "emotions", "rationale", "n_runs", "agreement", "status")
"""Columns of the labels: a row for each segment that was asked about.

`emotions` has label and mean intensity, highest first; `rationale` is that of the first run whose dominant emotion is
the segment's; `n_runs` counts the runs with a usable answer, `agreement` is the share of them with the same dominant
emotion. `status` is `ok`, or says why there is no dominant emotion.
"""


@dataclass(frozen=True)
class Judgement:
    """What one run says of a segment.

    Attributes:
        segment, run: which.
        status: see `Status`.
        intensities: of the labels that hold, 1..100.
        rationale: of the model.
        reason: why it is not usable, or what was wrong.
    """

    segment: str
    run: int
    status: Status
    intensities: Mapping[str, float]
    rationale: str = ""
    reason: str = ""


def dominant(intensities: Mapping[str, float], labels: Sequence[str]) -> str:
    """The label of the highest intensity; of several, the first of the vocabulary."""
    return max((label for label in labels if label in intensities), key=lambda label: intensities[label])


def read_judgements(
    folder: Path, labels: Sequence[str], runs: int, segments: Sequence[Segment] | None = None
) -> list[Judgement]:
    """What each run says of each segment: the answers to the way of asking that was used last.

    Args:
        folder: of the run.
        labels: of the vocabulary.
        runs: number of runs that count.
        segments: those that count, if they are still the same stretches of their videos; None means all.

    Raises:
        MefusionError: the answers are of another vocabulary, or cannot be read.
    """
    lines = read_answers(folder)
    if not lines:
        return []
    way = read_way(folder, lines)
    known = None if segments is None else {segment.name: segment for segment in segments}
    chosen: dict[tuple[str, int], Line] = {}
    for line in lines:
        place = (line["segment"], line["run"])
        if (
            any(line.get(name) != value for name, value in way.items())
            or line["run"] >= runs
            or not _is_same(line, known)
        ):
            continue
        before = chosen.get(place)
        if before is None or before["key"] != line["key"] or before["status"] not in FINAL:
            chosen[place] = line
    found = [_judgement(line) for line in chosen.values()]
    for judgement in found:
        if unknown := [label for label in judgement.intensities if label not in labels]:
            raise MefusionError(
                f"the answers are of vocabulary={way['vocabulary']}, and {unknown[0]} is not in the one that "
                "is set: give that vocabulary, or run stage=label"
            )
    return found


def read_labels(
    folder: Path, labels: Sequence[str], runs: int, segments: Sequence[Segment] | None = None
) -> pd.DataFrame:
    """The labels of each segment, means of its runs; see `COLUMNS` and `read_judgements`."""
    by_segment: dict[str, list[Judgement]] = {}
    for judgement in read_judgements(folder, labels, runs, segments):
        by_segment.setdefault(judgement.segment, []).append(judgement)
    rows = [_row(name, own, labels) for name, own in by_segment.items()]
    return pd.DataFrame(rows, columns=[*COLUMNS])


def mean_intensities(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Mean intensity of each label that a usable run names; a label that a run leaves out has 0 there."""
    usable = [judgement.intensities for judgement in judgements if judgement.status == Status.ok]
    names = dict.fromkeys(name for own in usable for name in own)
    return {name: sum(own.get(name, 0) for own in usable) / len(usable) for name in names}


def majority(judgements: Sequence[Judgement], labels: Sequence[str]) -> str | None:
    """The dominant emotion of most usable runs; of several, that of the highest mean intensity."""
    votes = Counter(dominant(each.intensities, labels) for each in judgements if each.status == Status.ok)
    if not votes:
        return None
    most, means = max(votes.values()), mean_intensities(judgements)
    return dominant({label: means[label] for label, count in votes.items() if count == most}, labels)


def _row(name: str, own: Sequence[Judgement], labels: Sequence[str]) -> dict[str, Any]:
    usable = [judgement for judgement in own if judgement.status == Status.ok]
    rejecting = [judgement for judgement in own if judgement.status == Status.unusable]
    row: dict[str, Any] = {"segment": name, "dominant": None, "emotions": [], "rationale": "", "n_runs": len(usable)}
    if not usable or len(rejecting) > len(usable):
        told = (rejecting or list(own))[0]
        return row | {"agreement": None, "status": f"{told.status}: {told.reason}" if told.reason else str(told.status)}
    means = mean_intensities(usable)
    chosen = dominant(means, labels)
    agreeing = [each for each in usable if dominant(each.intensities, labels) == chosen]
    ordered = sorted(means, key=lambda label: (-means[label], labels.index(label)))
    return row | {
        "dominant": chosen,
        "emotions": [{"label": label, "intensity": round(means[label], 2)} for label in ordered],
        "rationale": (agreeing or usable)[0].rationale,
        "agreement": len(agreeing) / len(usable),
        "status": str(Status.ok),
    }


def _judgement(line: Line) -> Judgement:
    answer = line.get("answer") or {}
    return Judgement(
        segment=line["segment"],
        run=line["run"],
        status=Status(line["status"]),
        intensities={each["label"]: each["intensity"] for each in answer.get("emotions", [])},
        rationale=answer.get("rationale", ""),
        reason=answer.get("reject_reason") or line.get("error") or "",
    )


def _is_same(line: Line, known: Mapping[str, Segment] | None) -> bool:
    if known is None:
        return True
    segment = known.get(line["segment"])
    return segment is not None and (line.get("start"), line.get("end")) == (segment.start, segment.end)
