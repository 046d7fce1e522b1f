"""A spotting study on disk: `spotting.json`, its tables and its scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mefusion.common.errors import MefusionError, first_line
from mefusion.common.files import is_irregular, write_table, write_text
from mefusion.datasets.reading.recordings import EVENT_DTYPES, RECORDING_DTYPES
from mefusion.evaluation.predictions import PROBABILITY, some
from mefusion.evaluation.spotting import KINDS, expressions_of, kind_of_duration, score_spotting

if TYPE_CHECKING:
    from mefusion.spotting_studies.work import Job

DESCRIPTION, SCORES = "spotting.json", "scores.json"
SPOTTED_COLUMNS = ("recording", "track", "event", "onset", "apex", "offset", "kind", "score", "speech")
"""Columns of `spotted.csv`: a row for each event, its frames by their index in the recording, from 0."""


@dataclass(frozen=True)
class SpottingResult:
    """A complete spotting study.

    Attributes:
        directory: of the study.
        facts: of `spotting.json`.
        scores: of `scores.json`.
        recordings, truth, spotted: its tables.
    """

    directory: Path
    facts: Mapping[str, Any]
    scores: Mapping[str, Any]
    recordings: pd.DataFrame
    truth: pd.DataFrame
    spotted: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the study."""
        return str(self.facts["study"])


def write_study(directory: Path, facts: Mapping[str, Any]) -> None:
    """Write `spotting.json`."""
    write_text(directory / DESCRIPTION, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def recorded_facts(directory: Path) -> dict[str, Any]:
    """Content of `spotting.json`; empty if it is not there, or damaged."""
    try:
        return _read_json(directory / DESCRIPTION)
    except MefusionError:
        return {}


def gather(jobs: "Sequence[Job]", recordings: pd.DataFrame) -> pd.DataFrame:
    """The events of all recordings in one table.

    Whether an event is micro or macro is said by its frames and the dataset's frame rate, as for true expressions.

    Args:
        jobs: the recordings that are done.
        recordings: recording and fps.

    Returns:
        A row for each event, with `SPOTTED_COLUMNS`; and with a recogniser `prediction` and `probability_<class>`.
    """
    tables = []
    for job in jobs:
        events = pd.read_csv(job.folder / "events.csv")
        named = [name for name in events if name == "prediction" or name.startswith(PROBABILITY)]
        frames = {name: events[f"{name}_frame"] for name in ("onset", "apex", "offset")}
        table = events[["track", "event", "kind", "score", "speech", *named]].assign(recording=job.recording, **frames)
        if job.fps is not None:
            lengths = table["offset"] - table["onset"] + 1
            table["kind"] = [kind_of_duration(length / job.fps) for length in lengths]
        tables.append(table[[*SPOTTED_COLUMNS, *named]])
    filled = [table for table in tables if len(table)] or tables[:1]
    spotted = pd.concat(filled, ignore_index=True)
    order = {name: place for place, name in enumerate(recordings["recording"])}
    return spotted.sort_values(["recording", "onset"], key=lambda c: c.map(order) if c.name == "recording" else c)


def score_study(
    directory: Path,
    facts: Mapping[str, Any],
    recordings: pd.DataFrame,
    truth: pd.DataFrame,
    spotted: pd.DataFrame,
) -> dict[str, Any]:
    """Score a study and write its tables, `spotting.json` and, last, `scores.json`.

    Args:
        directory: of the study.
        facts: of `spotting.json`.
        recordings: all recordings, also those that were left out.
        truth: their expressions; with a recogniser also `label`.
        spotted: from `gather`.

    Returns:
        What `mefusion.evaluation.spotting.score_spotting` returns for the recordings that could be read, with `study`;
        `speech`, the number of stretches of speech among the events, which do not count; and `left_out`: of how many
        recordings which could not.
    """
    gone = {row["recording"] for row in facts["left_out"]}
    kept = recordings[~recordings["recording"].isin(gone)]
    known = truth[~truth["recording"].isin(gone)]
    by = facts["recognised_by"]
    if by:
        known = known.assign(emotion=known["label"])
        spotted = spotted.assign(prediction=spotted.get("prediction"))
    counted = expressions_of(spotted)
    found = score_spotting(counted, known, kept, classes=by["classes"] if by else ())
    left_out = {"recordings": sorted(gone), "of": len(recordings), "expressions": len(truth) - len(known)}
    left_out["lost_subjects"] = sorted({*recordings["subject"]} - {*kept["subject"]})
    scores = {"study": facts["study"], **found, "speech": len(spotted) - len(counted), "left_out": left_out}
    write_table(directory / "recordings.csv", recordings)
    write_table(directory / "truth.csv", truth)
    write_table(directory / "spotted.csv", spotted)
    write_study(directory, facts)
    write_text(directory / SCORES, json.dumps(scores, indent=2, ensure_ascii=False) + "\n")
    return scores


def find_spotting_studies(directory: Path) -> list[Path]:
    """The spotting studies of a path: the path itself, or folders one level below it; empty if there is none."""
    try:
        if (directory / DESCRIPTION).exists():
            return [directory]
        return sorted(path.parent for path in directory.glob(f"*/{DESCRIPTION}"))
    except OSError:  # a folder without read permission; who looks for other studies in it says so
        return []


def read_spotting_study(directory: Path) -> SpottingResult:
    """Read a complete spotting study.

    Raises:
        MefusionError: it is not complete, or a file of it is missing or damaged.
    """
    facts = _read_json(directory / DESCRIPTION)
    if not facts.get("complete"):
        raise MefusionError(f"{directory} is incomplete: run its command again, which goes on: {facts.get('command')}")
    scores = _read_json(directory / SCORES)
    try:
        missing = [
            name for name in ("study", "data", "method", "spotting", "left_out", "problems") if name not in facts
        ]
        missing += [name for name in (*KINDS, "recordings", "subjects", "left_out") if name not in scores]
        if missing:
            raise KeyError(missing[0])
        recordings = pd.read_csv(directory / "recordings.csv", dtype=dict(RECORDING_DTYPES))
        truth = pd.read_csv(directory / "truth.csv", dtype=dict(EVENT_DTYPES))
        spotted = pd.read_csv(directory / "spotted.csv", dtype={"recording": "string", "prediction": "string"})
        return SpottingResult(directory, facts, scores, recordings, truth, spotted)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MefusionError(
            f"{directory} has a file that is missing or damaged ({first_line(error)}): run its command again"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if is_irregular(path):
            raise OSError("no regular file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MefusionError(
            f"{path} cannot be read ({first_line(error)}): run the command of the study again"
        ) from error
    return content if isinstance(content, dict) else {}


def headline(facts: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """A study's result in one line, with what was left out of it."""
    parts = [
        f"{facts['data']}, {facts['method']}, {scores['recordings']} recordings of {scores['subjects']} subjects: "
        + "; ".join(f"{kind} {_phrase(scores[kind], scores['subjects'])}" for kind in KINDS)
    ]
    if "recognition" in scores:
        parts.append(_recognition_phrase(scores["recognition"], scores["subjects"]))
    return "; ".join([*parts, *not_scored(facts, scores)])


def not_scored(facts: Mapping[str, Any], scores: Mapping[str, Any]) -> list[str]:
    """What a study's scores leave out, a phrase each: speech, and recordings not read or not recognised."""
    told = []
    if speech := scores.get("speech"):
        told.append(f"not counted: {speech} of the events, which are stretches of speech")
    if gone := scores["left_out"]["recordings"]:
        phrase = f"left out {len(gone)} of {scores['left_out']['of']} recordings that could not be read ({some(gone)})"
        count = scores["left_out"]["expressions"]
        phrase += f", with {count} expression{'' if count == 1 else 's'}"
        lost = scores["left_out"]["lost_subjects"]
        told.append(phrase + (f"; no recording is left of {some(lost)}" if lost else ""))
    if unseen := facts.get("not_recognised"):
        told.append(
            f"not recognised: {len(unseen)} of {scores['left_out']['of']} recordings, of subjects that no fold of "
            f"{facts['recognised_by']['name']} tests ({some(unseen)})"
        )
    return told


def _phrase(part: Mapping[str, Any], subjects: int) -> str:
    if not part["true"] and not part["spotted"]:
        return "none, and none spotted"
    ends = part["intervals"].get("f1")
    interval = f" (95 % interval over {subjects} subjects {ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
    return (
        f"F1 {part['f1']:.3f}{interval}, precision {part['precision']:.3f} ({part['right']} of {part['spotted']} "
        f"spotted), recall {part['recall']:.3f} ({part['found']} of {part['true']})"
    )


def _recognition_phrase(part: Mapping[str, Any], subjects: int) -> str:
    ends = part["intervals"].get("strs")
    interval = f" (95 % interval over {subjects} subjects {ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
    return f"recognition F1 {part['f1']:.3f} of {part['pairs']} found expressions, STRS {part['strs']:.3f}{interval}"
