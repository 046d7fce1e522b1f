"""Content of a report: an overview of all studies, and a section on each."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mefusion import __version__, plots
from mefusion.common.errors import MefusionError
from mefusion.evaluation.predictions import some
from mefusion.report import errors, tables, units
from mefusion.report.document import Document, Picture, Section
from mefusion.report.reading import ReportedStudy, swept_keys, swept_settings
from mefusion.studies.examples import load_examples
from mefusion.studies.record import planned_runs
from mefusion.studies.results import load_curves

CONTACT_SHEET_CLIPS = 4
_PROVENANCE = (
    *("data", "labels", "protocol", "seeds", "rule"),
    *("config_hash", "sample_list_hash", "git_revision", "code", "device"),
)


def make_document(
    studies: Sequence[ReportedStudy], reference: ReportedStudy | None = None, command: str = ""
) -> tuple[Document, list[str]]:
    """Make the tables, notes and figures of a report.

    Args:
        studies: studies to report; those of the rule oracle get only a table that shows how much that rule adds.
        reference: study that the others are compared with.
        command: the command line that makes the report.

    Returns:
        The document, and one sentence for each figure that could not be drawn.
    """
    honest = [study for study in studies if not study.oracle]
    sections, broken = [], []
    if honest:
        sections.append(overview(honest))
    if reference is not None and len(honest) > 1:
        table, refused = tables.comparison_table(honest, reference)
        notes = [
            "Difference: UF1 minus the reference's UF1, with the 95 % interval of a paired bootstrap over subjects.",
            "McNemar's exact test assumes that clips are independent. If it and the interval disagree, trust the "
            "interval.",
        ]
        if any("seeds" in study.summary for study in honest):
            notes.append("With several seeds, McNemar's test uses the class of the largest mean probability.")
        sections.append(Section("Comparison", [table], [*notes, *refused], brief=True))
    if len(honest) < len(studies):
        notes = [] if honest else [tables.SCORES_NOTE]
        notes.append(
            "Oracle: in each fold the epoch with the best score on the test subjects predicts them. Most published "
            "numbers are made this way. The difference shows how much the labels of the test subjects add to the "
            "score. These scores do not show how good a model is."
        )
        sections.append(Section("Chosen on the test subjects", [tables.oracle_table(studies)], notes, brief=True))
    if unanimous := errors.unanimous_section(honest):
        sections.append(unanimous)
    for study in honest:
        section, sentences = _study_section(study, brief=len(honest) == 1)
        sections.append(section)
        broken += sentences
    return Document(_title(studies), _facts(studies, command), sections), broken


def overview(studies: Sequence[ReportedStudy]) -> Section:
    """All studies side by side: tables, notes that explain them, and figures.

    Args:
        studies: studies of other rules than oracle.
    """
    shown = [tables.results_table(studies), *tables.task_tables(studies)]
    section = Section("Results", shown, tables.results_notes(studies), brief=True)
    if len(studies) > 1:
        figure = plots.uf1_intervals(
            [_label(study, studies) for study in studies],
            [study.summary["uf1"] for study in studies],
            [study.summary["intervals"].get("uf1") for study in studies],
            majority=_shared([study.summary["majority"]["uf1"] for study in studies]),
        )
        mean = " (mean over the seeds)" if any("seeds" in study.summary for study in studies) else ""
        caption = f"UF1 of each study{mean} with its 95 % interval over subjects"
        section.pictures.append(Picture("uf1", caption, figure))
    if (values := heat_map_table(studies)) is not None:
        figure = plots.weight_heat_map(values, str(values.index.name), str(values.columns.name))
        section.pictures.append(Picture("weights", "UF1 over the weights of two tasks", figure))
    return section


def heat_map_table(studies: Sequence[ReportedStudy]) -> pd.DataFrame | None:
    """UF1 over the weights of two tasks; None unless the studies differ in exactly these two settings."""
    keys = swept_keys(studies)
    if len(keys) != 2 or not all(key.startswith("tasks.") for key in keys):
        return None
    rows = [[*(study.setting(key) for key in keys), study.summary["uf1"]] for study in studies]
    return pd.DataFrame(rows, columns=[*keys, "uf1"]).pivot_table(index=keys[0], columns=keys[1], values="uf1")


def study_examples(directory: Path) -> list[dict[str, Any]]:
    """Read the example clips that a study's folds saved for pictures, see `load_examples`.

    Args:
        directory: of the study.

    Raises:
        MefusionError: a file cannot be read.
    """
    files = [run.folder / "examples.safetensors" for run in planned_runs(directory)]
    return [example for file in files if file.exists() for example in load_examples(file)]


def choose_examples(examples: Sequence[dict[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Choose a few clips: each class in turn, and subjects not shown yet first. Predictions play no part."""
    chosen: list[dict[str, Any]] = []
    left = list(examples)
    while left and len(chosen) < CONTACT_SHEET_CLIPS:
        for name in classes:
            candidates = [example for example in left if example["label"] == name]
            seen = [example["subject"] for example in chosen]
            if candidates and len(chosen) < CONTACT_SHEET_CLIPS:
                best = min(candidates, key=lambda example: seen.count(example["subject"]))
                chosen.append(best)
                left = [example for example in left if example is not best]
    return chosen


def _title(studies: Sequence[ReportedStudy]) -> str:
    models, data = (
        some(dict.fromkeys(study.summary["provenance"].get(name, "-") for study in studies), most=4)
        for name in ("model", "data")
    )
    return f"{models} on {data}" + (f": {len(studies)} studies" if len(studies) > 1 else "")


def _facts(studies: Sequence[ReportedStudy], command: str) -> dict[str, str]:
    data, models = [], []
    for study in studies:
        summary, provenance = study.summary, study.summary["provenance"]
        people = f"{summary['clips']} clips of {len(summary['subjects'])} subjects"
        data.append(f"{provenance.get('data', '-')}, labels {provenance.get('labels', '-')}, {people}")
        models.append(provenance["model"])
    return {
        "Data": "; ".join(dict.fromkeys(data)),
        "Models": ", ".join(dict.fromkeys(models)),
        "Made": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}, mefusion {__version__}",
        "Command": command,
    }


def _study_section(study: ReportedStudy, brief: bool) -> tuple[Section, list[str]]:
    summary, provenance = study.summary, study.summary["provenance"]
    shown = [tables.score_table(summary), tables.class_table(summary)]
    if "datasets" in summary:
        shown.append(tables.dataset_table(summary))
    shown += units.unit_tables(summary)
    shown.append(errors.subject_table(summary))
    if left_out := tables.left_out_table(summary):
        shown.append(left_out)
    facts = ", ".join(f"{key} {provenance[key]}" for key in _PROVENANCE if key in provenance)
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    notes = [
        f"{tables.MEAN_OF_FOLDS}: each fold is scored by itself, and the scores are averaged, as in older papers. It "
        "cannot be compared with UF1.",
        errors.subject_note(summary),
        *units.unit_notes(summary),
        f"Provenance: {facts}.",
        f"Versions: {versions}.",
    ]
    section, broken = Section(study.name, shown, notes, brief=brief), []
    try:
        errors.add_calibration(section, study)
    except MefusionError as error:
        broken.append(str(error))
    for draw in (_confusion_matrix, errors.subject_pictures, _curves, _examples):
        try:
            section.pictures += draw(study)
        except MefusionError as error:
            broken.append(str(error))
    return section, broken


def _confusion_matrix(study: ReportedStudy) -> list[Picture]:
    summary = study.summary
    caption = f"Confusion matrix of {study.name}" + (", summed over the seeds" if "seeds" in summary else "")
    figure = plots.confusion_matrix_figure(np.array(summary["confusion_matrix"]), summary["classes"])
    return [Picture(f"{study.name}-confusion_matrix", caption, figure)]


def _curves(study: ReportedStudy) -> list[Picture]:
    curves = load_curves(study.directory)
    if curves is None:
        return []
    caption = "Learning curves: values of each epoch; thin lines: each fold and seed; thick line: their median"
    return [Picture(f"{study.name}-learning_curves", caption, plots.learning_curves(curves))]


def _examples(study: ReportedStudy) -> list[Picture]:
    examples = study_examples(study.directory)
    if not examples:
        return []
    chosen = choose_examples(examples, study.summary["classes"])
    sheet = plots.contact_sheet(chosen)
    pictures = [Picture(f"{study.name}-contact_sheet", "Input and predictions of the network on test clips", sheet)]
    wrong = choose_examples(
        [clip for clip in examples if clip["label"] != clip["prediction"]], study.summary["classes"]
    )
    if wrong:
        caption = (
            "Clips that the network got wrong, of those that the folds kept; frames have their numbers in the prepared "
            "clip, and that nearest the apex is called apex (studies of version 0.1 do not know it)"
        )
        pictures.append(Picture(f"{study.name}-misclassified", caption, plots.contact_sheet(wrong)))
    if any("rank_scores" in example for example in examples):
        caption = "Rank scores of a clip's frames; thin lines: test clips; thick lines: median of each label"
        pictures.append(Picture(f"{study.name}-rank_scores", caption, plots.rank_scores_figure(examples)))
    if all("attention" in example for example in chosen):
        caption = "Where the network looks: how strongly each pixel changes its answer (SmoothGrad), on test clips"
        pictures.append(Picture(f"{study.name}-attention", caption, plots.attention_figure(chosen)))
    return pictures


def _label(study: ReportedStudy, studies: Sequence[ReportedStudy]) -> str:
    settings = swept_settings(study, swept_keys(studies))
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or study.name


def _shared(values: Sequence[float]) -> float | None:
    return values[0] if np.allclose(values, values[0]) else None
