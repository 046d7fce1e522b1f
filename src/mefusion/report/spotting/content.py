"""Content of a report on spotting studies: an overview, and a section on each."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from mefusion import __version__, plots
from mefusion.evaluation.bootstrap import RESAMPLES
from mefusion.evaluation.predictions import some
from mefusion.report.document import Document, Picture, Section
from mefusion.report.spotting import tables
from mefusion.report.spotting.published import NOTE, published_table
from mefusion.spotting_studies.record import SpottingResult, not_scored

FEW = 20
"""Subjects, below which an interval over them is too narrow."""

NOTES = (
    "A spotted interval is right where its IoU (frames of both over frames of at least one) with a true one is .5 or "
    "more; each true one is matched with at most one. Found: true expressions that are matched; right: spotted ones.",
    "Micro: at most half a second, for recall by the dataset's label, for precision by the spotted duration. F1 = 2 "
    "precision x recall / (precision + recall), from counts over all recordings, those without an expression included.",
    f"{tables.INTERVAL}: interval by bootstrap over the subjects, {RESAMPLES} resamples. It shows how much "
    "the score depends on who was recorded.",
)
RECOGNITION_NOTE = (
    "Recognition F1: harmonic mean of macro precision and macro recall over the classes, of the found expressions. "
    "STRS (spot-then-recognise score): F1 of spotting, of all expressions, x recognition F1. Each subject is "
    "recognised by a network that has not seen it."
)


def make_document(studies: Sequence[SpottingResult], command: str, output: Path) -> Document:
    """Make the tables, notes and figures of a report.

    Args:
        studies: to report.
        command: the command line that makes the report.
        output: folder of the report.
    """
    methods, data = (some(dict.fromkeys(study.facts[name] for study in studies)) for name in ("method", "data"))
    title = f"Spotting: {methods} on {data}" + (f": {len(studies)} studies" if len(studies) > 1 else "")
    facts = {
        "Data": "; ".join(dict.fromkeys(map(_data, studies))),
        "Methods": methods,
        "Spotted": "; ".join(f"{study.facts.get('date')}, {study.facts.get('command')}" for study in studies),
        "Made": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}, mefusion {__version__}",
        "Command": command,
    }
    return Document(title, facts, [_overview(studies), *(_section(study, output) for study in studies)])


def _data(study: SpottingResult) -> str:
    scores = study.scores
    counts = f"{scores['recordings']} recordings of {scores['subjects']} subjects"
    return f"{study.facts['data']}, {counts}, {scores['all']['true']} expressions"


def _overview(studies: Sequence[SpottingResult]) -> Section:
    shown, notes = [tables.results_table(studies)], [*NOTES]
    if (few := min(study.scores["subjects"] for study in studies)) < FEW:
        notes.append(
            f"An interval over {few} subjects is too narrow: less than 95 % of such intervals contain the truth."
        )
    if (recognition := tables.recognition_table(studies)) is not None:
        shown.append(recognition)
        notes.append(RECOGNITION_NOTE)
    published = [
        table for data in dict.fromkeys(study.facts["data"] for study in studies) if (table := published_table(data))
    ]
    if published:
        notes.append(NOTE)
    for study in studies:
        notes += [f"Warning: {study.name}: {phrase}." for phrase in not_scored(study.facts, study.scores)]
    return Section("Results", [*shown, *published], notes, brief=True)


def _section(study: SpottingResult, output: Path) -> Section:
    facts = study.facts
    shown = [
        tables.left_out_table(study),
        tables.recording_table(study, output),
        tables.subject_table(study),
        tables.settings_table(study),
        tables.problems_table(study),
    ]
    versions = ", ".join(f"{name} {version}" for name, version in facts.get("versions", {}).items())
    known = [f"{name} {facts[name]}" for name in ("config_hash", "git_revision") if facts.get(name)]
    notes = [f"Spotted {facts.get('date')} by: {facts.get('command')}", f"Provenance: {', '.join(known)}; {versions}."]
    section = Section(study.name, [table for table in shown if table is not None], notes)
    if recognition := study.scores.get("recognition"):
        figure = plots.confusion_matrix_figure(np.array(recognition["confusion_matrix"]), recognition["classes"])
        caption = f"Confusion matrix of the found expressions of {study.name}"
        section.pictures.append(Picture(f"{study.name}-confusion_matrix", caption, figure))
    return section
