"""Parts of a report that help to see errors: subjects unlike the rest, overconfidence, clips that all studies miss."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd

from mefusion import plots
from mefusion.common.errors import MefusionError
from mefusion.evaluation.calibration import (
    BINS,
    Calibration,
    answers_of,
    expected_calibration_error,
    reliability,
)
from mefusion.evaluation.errors import LEAST_STUDIES, subject_spread, unanimous_errors
from mefusion.evaluation.predictions import some
from mefusion.report.document import Picture, Section, Table
from mefusion.report.reading import ReportedStudy
from mefusion.studies.examples import load_examples
from mefusion.studies.record import planned_runs
from mefusion.studies.results import read_calibration

PICTURED = 12
"""Most clips of the section on unanimous errors that are drawn."""

CLIPS_A_SHEET = 4

_ECE = (
    "ECE (expected calibration error): mean difference of the probability of the answers and the share of right ones, "
    f"over {BINS} bins of probability; 0 is perfect."
)
CALIBRATION_NOTE = (
    f"{_ECE} Before: as predicted. After: with a temperature that is fitted on the fold's validation subjects, never "
    "on its test subjects. A temperature above 1 makes answers less sure; none changes which answer it is."
)
NOT_CALIBRATED_NOTE = (
    f"{_ECE} Not calibrated: these are the probabilities as predicted; only rule=inner_val has subjects to fit a "
    "temperature on. With a mean confidence above the accuracy, answers are surer than they should be."
)
_RELIABILITY = (
    "Reliability: how often answers are right, by their probability, {}; a larger mark stands for more answers"
)
_OUTSIDE = {-1: "below", 0: "", 1: "above"}


def subject_table(summary: dict[str, Any]) -> Table:
    """Right answers and accuracy on each subject, and the range that equally hard subjects would give."""
    rows = [
        [
            *(row.subject, row.dataset, str(row.clips), f"{row.right:.4g}", f"{row.acc:.3f}"),
            *(f"{row.low} to {row.high}", _OUTSIDE[row.outside]),
        ]
        for row in subject_spread(summary["subjects"]).itertuples()
    ]
    titles = ["subject", "dataset", "clips", "right", "ACC", "95 % range of right", "outside"]
    return Table("Subjects", titles, rows, text_columns=2, long=True, study=summary["study"])


def subject_note(summary: dict[str, Any]) -> str:
    """A sentence that explains the range of `subject_table`, with the number of subjects outside it."""
    table = subject_spread(summary["subjects"])
    pooled = table["right"].sum() / table["clips"].sum()
    below, above = (table["subject"][table["outside"] == side].tolist() for side in (-1, 1))
    names = "".join(f"; {side}: {some(found)}" for side, found in (("below", below), ("above", above)) if found)
    seeds = " Right answers are the mean over the seeds, which varies less." if "seeds" in summary else ""
    return (
        f"Subjects: if each clip were recognised with the accuracy of all clips, {pooled:.3f}, 95 % of subjects or "
        f"more would be in the binomial range. {len(below) + len(above)} of {len(table)} are outside{names}; "
        f"{table['chance'].sum():.1f} would be by chance.{seeds} With few clips the range is wide: an accuracy on them "
        "says little about the subject."
    )


def subject_pictures(study: ReportedStudy) -> list[Picture]:
    """Accuracy on each subject as bars, and against the binomial range."""
    subjects = study.summary["subjects"]
    bars = "Accuracy on each subject, with the number of clips above the bar; dashed: accuracy on all clips"
    spread = (
        "Accuracy on each subject, by number of clips; bars: 95 % range of a binomial with the accuracy on all clips "
        "(dashed); subjects outside it are marked"
    )
    return [
        Picture(f"{study.name}-subjects", bars, plots.subject_bars(subjects)),
        Picture(f"{study.name}-subject_spread", spread, plots.subject_spread_figure(subject_spread(subjects))),
    ]


def add_calibration(section: Section, study: ReportedStudy) -> None:
    """Add table, note and figure on how far the probabilities of a study's answers can be believed.

    With rule=inner_val they are shown before and after a temperature; with others as they are.

    Raises:
        MefusionError: a validation table is missing or broken.
    """
    calibration = read_calibration(study.directory)
    if calibration is None:
        answers = answers_of(study.predictions)
        section.tables.append(confidence_table(answers, study.name))
        section.notes.append(NOT_CALIBRATED_NOTE)
        error = expected_calibration_error(answers["confidence"].to_numpy(), answers["right"].to_numpy())
        parts, how = {f"not calibrated: ECE {error:.3f}": answers}, "not calibrated"
    else:
        section.tables.append(calibration_table(calibration, study.name))
        section.notes.append(CALIBRATION_NOTE)
        before, after = calibration.errors
        parts = {f"before: ECE {before:.3f}": calibration.before, f"after: ECE {after:.3f}": calibration.after}
        how = "before and after temperature scaling"
    bins = {name: reliability(part["confidence"].to_numpy(), part["right"].to_numpy()) for name, part in parts.items()}
    figure = plots.reliability_figure(bins)
    section.pictures.append(Picture(f"{study.name}-reliability", _RELIABILITY.format(how), figure))


def confidence_table(answers: pd.DataFrame, study: str) -> Table:
    """Confidence and accuracy of a study's answers, and the expected calibration error; of all seeds together.

    Args:
        answers: `confidence` and `right`, see `answers_of`.
        study: its name.
    """
    error = expected_calibration_error(answers["confidence"].to_numpy(), answers["right"].to_numpy())
    row = [f"{error:.3f}", f"{answers['confidence'].mean():.3f}", f"{answers['right'].mean():.3f}"]
    titles = ["ECE", "mean confidence", "ACC"]
    return Table("Confidence, not calibrated", titles, [row], text_columns=0, study=study)


def calibration_table(calibration: Calibration, study: str) -> Table:
    """Expected calibration error of a study's test clips before and after a temperature, and the temperatures."""
    (before, after), found = calibration.errors, calibration.temperatures
    row = [f"{before:.3f}", f"{after:.3f}", f"{calibration.temperature:.2f}", f"{min(found):.2f} to {max(found):.2f}"]
    titles = ["ECE before", "ECE after", "median temperature", "of the folds"]
    return Table("Calibration", titles, [row], text_columns=0, study=study)


def unanimous_section(studies: Sequence[ReportedStudy]) -> Section | None:
    """Clips that all studies of the same clips name alike and against their label.

    Args:
        studies: studies of other rules than oracle.

    Returns:
        The section; None unless three studies have the same clips and classes.
    """
    rows: list[list[str]] = []
    notes: list[str] = []
    pictures: list[Picture] = []
    for group in _of_the_same_clips(studies):
        found = unanimous_errors([study.predictions for study in group], group[0].summary["classes"])
        models = dict.fromkeys(study.summary["provenance"]["model"] for study in group)
        for row in found.itertuples():
            answer = (row.label, row.answer, str(len(group)), f"{row.probability:.3f}")
            rows.append([row.dataset, row.subject, row.clip_id, *answer])
        examples = _kept_examples(found, group)
        for start in range(0, len(examples), CLIPS_A_SHEET):
            caption = "Clips that all studies name alike and against their label, as a study kept them"
            sheet = plots.contact_sheet(examples[start : start + CLIPS_A_SHEET])
            pictures.append(Picture(f"unanimous-{len(pictures) + 1}", caption, sheet))
        where = group[0].summary["provenance"].get("data", "-")
        share = f"{len(found)} of {group[0].summary['clips']} clips are such errors of all {len(group)} studies"
        kept = f" Pictures: {len(examples)} of these {len(found)}. {_KEPT}" if len(found) else ""
        notes.append(f"{where}: {share} (models: {', '.join(models)}).{kept}")
    if not notes:
        return None
    titles = ["dataset", "subject", "clip", "label", "all say", "studies", "mean probability"]
    table = Table("Unanimous errors", titles, rows, text_columns=5, long=len(rows) > 20)
    return Section("Unanimous errors", [table] if rows else [], [*_UNANIMOUS_NOTES, *notes], pictures)


_UNANIMOUS_NOTES = (
    f"Unanimous errors: clips that all studies of the same clips, at least {LEAST_STUDIES}, name alike and against "
    "their label. They are candidates for labels that the motion does not bear out, or for something that all models "
    "miss: a look at the clip tells more. With several seeds, an answer is the class of the largest mean probability.",
    "Studies of one model err alike, so they say less than studies of different models. An answer that is the most "
    "frequent class may only mean that the models saw nothing. Do not change a label because models say so: the score "
    "would rise by itself.",
)
_KEPT = (
    "Only clips that a study kept in examples.safetensors can be shown (one of each class in each fold, of networks "
    f"that see frames), at most {PICTURED}."
)


def _of_the_same_clips(studies: Sequence[ReportedStudy]) -> list[list[ReportedStudy]]:
    """Groups of enough studies with the same clips, labels and classes."""
    groups: dict[tuple[str, ...], list[ReportedStudy]] = {}
    for study in studies:
        if not study.summary["missing_folds"]:
            key = (study.summary["provenance"]["sample_list_hash"], *study.summary["classes"])
            groups.setdefault(key, []).append(study)
    return [group for group in groups.values() if len(group) >= LEAST_STUDIES]


def _kept_examples(errors: pd.DataFrame, studies: Sequence[ReportedStudy]) -> list[dict[str, Any]]:
    """Examples of clips of `unanimous_errors` that a study kept, the surest first."""
    answers = errors.set_index(["subject", "clip_id"])["answer"].to_dict()
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for study in studies:
        folds = {*study.predictions.merge(errors[["dataset", "subject", "clip_id"]])["fold"]}
        for run in planned_runs(study.directory):
            file = run.folder / "examples.safetensors"
            if run.fold not in folds or not file.exists() or len(found) >= min(PICTURED, len(answers)):
                continue
            with suppress(MefusionError):  # the section of the study tells of a broken file
                examples = load_examples(file, wanted=answers.keys() - found.keys())
                found |= {key: example for example in examples if (key := _key(example, answers))}
    return [found[key] for key in answers if key in found][:PICTURED]


def _key(example: dict[str, Any], answers: dict[tuple[str, str], str]) -> tuple[str, str] | None:
    """Subject and id of an example clip, if it has the answer of all studies; a single seed may have another."""
    subject = example["subject"]
    names: Iterable[str] = (example["clip_id"], example["clip_id"].removeprefix(f"{subject} "))
    key = next(((subject, name) for name in names if (subject, name) in answers), None)
    return key if key is not None and example["prediction"] == answers[key] else None
