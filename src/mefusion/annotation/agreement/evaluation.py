"""Stage evaluate: the model's labels beside those of people: MELD, IEMOCAP, or a table of one's own."""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.labelling.answers import NOTICE, Status, read_answers, read_way
from mefusion.annotation.labelling.settings import EvaluateSettings, Truth
from mefusion.annotation.labelling.table import Judgement, dominant, majority, read_judgements
from mefusion.common.errors import MefusionError
from mefusion.common.files import is_irregular, write_text
from mefusion.evaluation import metrics

FILE = "evaluation.json"
LEAST_SHARE = 0.5  # of an utterance, that a segment of a longer video has to cover

IEMOCAP = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "excitement",
    "sad": "sadness",
    "fru": "frustration",
    "neu": "neutral",
}
"""Labels of IEMOCAP's codes; clips of others (fea, sur, dis, oth, xxx) are left out and counted."""

_TURN = re.compile(r"\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<name>\S+)\t(?P<code>[a-z]{3})\t")


@dataclass(frozen=True)
class Utterance:
    """What people labelled.

    Attributes:
        name: of its video, without suffix, or of a segment.
        label: theirs.
        video, start, end: where it is in a longer video, s; None where the whole video is one utterance.
    """

    name: str
    label: str
    video: str | None = None
    start: float = 0.0
    end: float = 0.0


def read_truth(settings: EvaluateSettings) -> tuple[list[Utterance], int]:
    """The utterances that people labelled, and the number of those whose label is none of the vocabulary's.

    Raises:
        MefusionError: there is no file, or it has another format.
    """
    if settings.path is None:
        raise MefusionError("evaluate.path is not given: name the file of the labels that people gave")
    path = Path(settings.path)
    if settings.truth == Truth.iemocap:
        found, left = _read_iemocap(path)
    elif settings.truth == Truth.meld:
        rows = _read_csv(path, ("Emotion", "Dialogue_ID", "Utterance_ID"))
        names = (f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}" for row in rows)
        found, left = [Utterance(name, row["Emotion"].lower()) for name, row in zip(names, rows, strict=True)], 0
    else:
        rows = _read_csv(path, ("clip_id", "emotion"))
        found, left = [Utterance(row["clip_id"], row["emotion"]) for row in rows], 0
    if not found:
        raise MefusionError(f"{path} has no labelled utterance: give a table in the format of {settings.truth}")
    if twice := [name for name, count in Counter(each.name for each in found).items() if count > 1]:
        raise MefusionError(f"{path} has {twice[0]} twice: keep one")
    return found, left


def evaluate_run(
    folder: Path,
    segments: Sequence[Segment],
    labels: Sequence[str],
    mapping: Mapping[str, str],
    runs: int,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """Compare a run with the labels of people, and write `evaluation.json`.

    Where the vocabulary has all labels of theirs, it is compared as it is; otherwise both are mapped first.

    Args:
        folder: of the run.
        segments: of the run.
        labels: of the vocabulary.
        mapping: emotion of each label.
        runs: number of runs.
        settings: of evaluation.

    Raises:
        MefusionError: there is nothing to compare, or a label is neither in the vocabulary nor in the mapping.
    """
    truth, left_out = read_truth(settings)
    judgements: dict[str, list[Judgement]] = {}
    for judgement in read_judgements(folder, labels, runs, segments):
        judgements.setdefault(judgement.segment, []).append(judgement)
    if not judgements:
        raise MefusionError(f"{folder} has no answers: run stage=label first")
    classes, seen = _classes(truth, labels, mapping)
    matched = _match(truth, segments)
    own = [judgements.get(matched[each.name].name, []) if each.name in matched else [] for each in truth]
    cases = [(seen(each.label), found) for each, found in zip(truth, own, strict=True)]
    lost = Counter(
        _why_lost(matched.get(each.name), found)
        for each, found in zip(truth, own, strict=True)
        if not any(one.status == Status.ok for one in found)
    )
    answered = len(truth) - sum(lost.values())

    def in_run(run: int, own: Sequence[Judgement]) -> str | None:
        named = [dominant(one.intensities, labels) for one in own if one.run == run and one.status == Status.ok]
        return seen(named[0]) if named else None

    def by_majority(own: Sequence[Judgement]) -> str | None:
        named = majority(own, labels)
        return None if named is None else seen(named)

    single = [_scores(cases, classes, functools.partial(in_run, run)) for run in range(runs)]
    voted = _scores(cases, classes, by_majority)
    way = read_way(folder, read_answers(folder))
    result = {
        "notice": NOTICE,
        "model": way["model"],
        "vocabulary": way["vocabulary"],
        "truth": str(settings.truth),
        "classes": classes,
        "utterances": len(truth),
        "left_out": left_out,
        "answered": answered,
        "lost": dict(lost),
        "runs": runs,
        "single": {name: _spread([run[name] for run in single]) for name in SCORES},
        "majority": voted,
    }
    write_text(folder / FILE, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


SCORES = ("accuracy_answered", "accuracy_all", "wf1", "uar")
"""Accuracy over the answered utterances, and over all, where a lost one counts as wrong; F1 weighted by the number of
utterances, and mean recall, both over the answered ones and the classes that occur among them."""


def describe(result: Mapping[str, Any]) -> list[str]:
    """Lines that tell an evaluation."""
    lost = "; ".join(f"{count} {why}" for why, count in result["lost"].items()) or "none"
    lines = [
        f"{result['notice'].capitalize()}, beside those of people ({result['truth']}).",
        f"{result['utterances']} utterances, {result['answered']} answered, lost: {lost}; "
        f"{result['left_out']} of other labels left out.",
        f"{'':24}{'single run (range)':>28}{'majority':>12}",
    ]
    for name in SCORES:
        one, voted = result["single"][name], result["majority"][name]
        shown = "-" if one["mean"] is None else f"{one['mean']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
        lines.append(f"{name.replace('_', ' '):24}{shown:>28}{'-' if voted is None else f'{voted:.3f}':>12}")
    return lines


def _scores(
    cases: Sequence[tuple[str, list[Judgement]]],
    classes: Sequence[str],
    predict: Callable[[Sequence[Judgement]], str | None],
) -> dict[str, Any]:
    pairs = [(label, predict(own)) for label, own in cases]
    known = [(label, found) for label, found in pairs if found is not None]
    if not known:
        return {**dict.fromkeys(SCORES), "answered": 0, "confusion": None}
    matrix = metrics.confusion_matrix([a for a, _ in known], [b for _, b in known], classes)
    support = matrix.sum(axis=1)
    right = int(np.trace(matrix))
    return {
        "answered": len(known),
        "accuracy_answered": right / len(known),
        "accuracy_all": right / len(pairs),
        "wf1": float((support * metrics.f1_per_class(matrix)).sum() / support.sum()),
        "uar": float(metrics.recall_per_class(matrix)[support > 0].mean()),
        "confusion": matrix.tolist(),
    }


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "low": None, "high": None}
    return {"mean": float(np.mean(known)), "low": min(known), "high": max(known)}


def _classes(
    truth: Sequence[Utterance], labels: Sequence[str], mapping: Mapping[str, str]
) -> tuple[list[str], Callable[[str], str]]:
    """The classes that are compared, and what a label becomes."""
    theirs = {each.label for each in truth}
    if theirs <= {*labels}:
        return [*labels], lambda label: label
    if unknown := sorted(
        label for label in {*theirs, *labels} if label not in mapping and label not in mapping.values()
    ):
        raise MefusionError(
            f"the label {unknown[0]} has no emotion to compare: add it to mapping.classes, or choose the vocabulary "
            "that the people had"
        )
    return [*dict.fromkeys(mapping.values())], lambda label: mapping.get(label, label)


def _match(truth: Sequence[Utterance], segments: Sequence[Segment]) -> dict[str, Segment]:
    """The segment of each utterance: the longest of its own video, or the one that covers most of it."""
    by_name = {segment.name: segment for segment in segments}
    by_video: dict[str, list[Segment]] = {}
    for segment in segments:
        by_video.setdefault(segment.path.stem, []).append(segment)
    matched = {}
    for each in truth:
        if each.name in by_video:
            matched[each.name] = max(by_video[each.name], key=lambda segment: segment.end - segment.start)
        elif each.name in by_name:
            matched[each.name] = by_name[each.name]
        elif own := by_video.get(each.video or ""):
            covered = [min(segment.end, each.end) - max(segment.start, each.start) for segment in own]
            if max(covered) >= LEAST_SHARE * (each.end - each.start):
                matched[each.name] = own[int(np.argmax(covered))]
    return matched


def _why_lost(segment: Segment | None, own: Sequence[Judgement]) -> str:
    if segment is None:
        return "without a segment"
    return f"{own[0].status} for the model" if own else "not asked about"


def _read_iemocap(path: Path) -> tuple[list[Utterance], int]:
    """Lines `[start - end]<TAB>turn<TAB>code<TAB>[v, a, d]` of `dialog/EmoEvaluation/*.txt`."""
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    found, left = [], 0
    for file in files:
        for line in _read(file).splitlines():
            if (turn := _TURN.match(line)) is None:
                continue
            if (label := IEMOCAP.get(turn["code"])) is None:
                left += 1
                continue
            video = turn["name"].rpartition("_")[0]
            found.append(Utterance(turn["name"], label, video, float(turn["start"]), float(turn["end"])))
    return found, left


def _read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    _read(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise MefusionError(f"{path} cannot be read as a CSV file ({str(error).strip()}): correct it") from error
    if missing := [name for name in columns if name not in table]:
        raise MefusionError(f"{path} lacks the column {missing[0]}: give a table with {', '.join(columns)}")
    table = table.map(str.strip)
    return [{str(name): str(value) for name, value in row.items()} for row in table.to_dict("records")]


def _read(path: Path) -> str:
    if is_irregular(path) or not path.exists():
        raise MefusionError(f"evaluate.path={path} is not a file: name the labels that people gave")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MefusionError(f"{path} cannot be read ({error}): save it as text in UTF-8") from error
