"""Tables of a report: for one study, for several studies, and for their comparison."""

from collections.abc import Sequence
from typing import Any

from mefusion.common.errors import MefusionError
from mefusion.evaluation import bootstrap, metrics
from mefusion.evaluation.measures import Measure
from mefusion.evaluation.predictions import some
from mefusion.report.document import Table
from mefusion.report.reading import (
    ReportedStudy,
    best_reference,
    same_study_under_other_rule,
    swept_keys,
    swept_settings,
)
from mefusion.studies.record import left_out_phrase
from mefusion.studies.references import REFERENCES
from mefusion.studies.results import constant_phrase

MEAN_OF_FOLDS = "UF1, mean of folds"
SCORES_NOTE = (
    "UF1: mean F1 over the classes, F1 = 2TP / (2TP + FP + FN). UAR: mean recall over the classes. "
    "ACC: share of clips predicted correctly. WF1: mean F1, where each class counts as often as it has clips."
)

_DEVIATION = "sd over seeds"
INTERVAL = "95 % over subjects"
_RULES = {
    "last": "last (those after the last training step)",
    "average": "average (a moving average over the training)",
    "inner_val": "inner_val (those of the best epoch on validation subjects, which do not train)",
}


def results_table(studies: Sequence[ReportedStudy]) -> Table:
    """One row for each study: the settings in which the studies differ, and the pooled scores.

    Args:
        studies: studies of other rules than oracle.

    Returns:
        The table. If no setting differs, as for a single study, it shows the model and the tasks.
    """
    settings = _settings(studies)
    deviation = [_DEVIATION] if any("sd" in study.summary for study in studies) else []
    references = [best_reference(study, studies) for study in studies]
    beside = ["best reference UF1"] if any(references) else []
    titles = [
        *settings[0],
        "clips",
        "UF1",
        *deviation,
        f"UF1 {INTERVAL}",
        "UAR",
        "ACC",
        "WF1",
        "majority UF1",
        *beside,
    ]
    rows = []
    for study, own, reference in zip(studies, settings, references, strict=True):
        summary = study.summary
        sd = [number_text(summary.get("sd", {}).get("uf1"), ".3f")] if deviation else []
        others = (summary["uar"], summary["acc"], summary["wf1"], summary["majority"]["uf1"])
        numbers = [
            *(str(summary["clips"]), f"{summary['uf1']:.3f}", *sd, range_text(summary["intervals"].get("uf1"))),
            *(f"{value:.3f}" for value in others),
            *([_named_score(reference)] if beside else []),
        ]
        rows.append([*own.values(), *numbers])
    return Table("Recognition, pooled over all folds", titles, rows, text_columns=len(settings[0]))


def task_tables(studies: Sequence[ReportedStudy]) -> list[Table]:
    """Measures of the other tasks, one row for each study, with a dash for a task that is off.

    Args:
        studies: studies of other rules than oracle.

    Returns:
        One table; none if no study has another task.
    """
    measures = _measures(studies)
    if not measures:
        return []
    settings = _settings(studies)
    rows = [
        [*own.values(), *(measure.text(study.summary.get(measure.name)) for measure in measures)]
        for study, own in zip(studies, settings, strict=True)
    ]
    titles = [*settings[0], *(measure.title for measure in measures)]
    return [Table("Other tasks", titles, rows, text_columns=len(settings[0]))]


def comparison_table(studies: Sequence[ReportedStudy], reference: ReportedStudy) -> tuple[Table, list[str]]:
    """Compare each study with a reference on the clips that both have.

    Args:
        studies: studies of other rules than oracle; the reference may be among them.
        reference: the study that they are compared with.

    Returns:
        The table, and one sentence for each study that cannot be compared.
    """
    others = [study for study in studies if study is not reference]
    rows, refused = [], []
    for study, own in zip(others, _settings(studies, shown=others), strict=True):
        try:
            found = _compare(study, reference)
        except MefusionError as error:
            refused.append(f"{study.name} is not compared with {reference.name}: {error}.")
            continue
        row = (str(found["clips"]), f"{found['difference']:+.3f}", range_text(found["interval"], "+.3f"))
        rows.append([*own.values(), *row, *_mcnemar(found)])
    titles = [*_settings(studies)[0], "common clips", "UF1 difference", INTERVAL]
    titles += ["only this correct", "only reference correct", "McNemar p"]
    return Table(f"Compared with {reference.name}", titles, rows, text_columns=len(_settings(studies)[0])), refused


def oracle_table(studies: Sequence[ReportedStudy]) -> Table:
    """Scores of the studies whose epochs were chosen on the test subjects, and how much this choice added.

    Args:
        studies: all studies, of any rule. Each study of the rule oracle is compared with the same study under
            another rule.
    """
    oracles = [study for study in studies if study.oracle]
    settings = _settings(oracles)
    scores = [f"oracle {name.upper()}" for name in metrics.SCORES]
    titles = [*settings[0], "compared with", "clips", *scores, "oracle UF1 minus UF1", INTERVAL]
    rows = []
    for study, own in zip(oracles, settings, strict=True):
        honest = same_study_under_other_rule(study, studies)
        compared_with, added = "-", ["-", "-"]
        if honest is not None:
            found = _compare(study, honest)
            compared_with, added = honest.name, [f"{found['difference']:+.3f}", range_text(found["interval"], "+.3f")]
        numbers = (f"{study.summary[f'oracle_{name}']:.3f}" for name in metrics.SCORES)
        rows.append([*own.values(), compared_with, str(study.summary["clips"]), *numbers, *added])
    return Table("Epoch chosen on the test subjects: not results", titles, rows, text_columns=len(settings[0]) + 1)


def score_table(summary: dict[str, Any]) -> Table:
    """A study's four scores, with their intervals, for each seed and for the majority class; and the mean of folds."""
    seeds = summary.get("seeds", {})
    deviation = [_DEVIATION] if seeds else []
    titles = ["score", "pooled", INTERVAL, *deviation, *(f"seed {seed}" for seed in seeds), "majority class"]
    rows = []
    for name in metrics.SCORES:
        row = [name.upper(), f"{summary[name]:.3f}", range_text(summary["intervals"].get(name))]
        row += [f"{summary['sd'][name]:.3f}"] if seeds else []
        row += [f"{scores[name]:.3f}" for scores in seeds.values()]
        rows.append([*row, f"{summary['majority'][name]:.3f}"])
    rows.append([MEAN_OF_FOLDS, f"{summary['mean_of_folds_uf1']:.3f}", *["-"] * (len(titles) - 2)])
    return Table("Scores", titles, rows, study=summary["study"])


def class_table(summary: dict[str, Any]) -> Table:
    """F1 and recall of each class."""
    rows = [
        [name, str(part["clips"]), f"{part['f1']:.3f}", f"{part['recall']:.3f}"]
        for name, part in summary["per_class"].items()
    ]
    return Table("Classes", ["class", "clips", "F1", "recall"], rows, study=summary["study"])


def dataset_table(summary: dict[str, Any]) -> Table:
    """Scores on each dataset of a composite."""
    rows = [
        [
            name,
            str(part["clips"]),
            *(f"{part[key]:.3f}" for key in metrics.SCORES),
            range_text(part["intervals"].get("uf1")),
        ]
        for name, part in summary["datasets"].items()
    ]
    titles = ["dataset", "clips", *(name.upper() for name in metrics.SCORES), f"UF1 {INTERVAL}"]
    return Table("Datasets", titles, rows, study=summary["study"])


def left_out_table(summary: dict[str, Any]) -> Table | None:
    """The clips that preparation left out, each with the reason; None where it left out none, or it is not recorded."""
    left_out = summary["provenance"]["left_out"]
    if not left_out or not left_out["clips"]:
        return None
    rows = [[clip["subject"], clip["clip_id"], clip["problem"]] for clip in left_out["clips"]]
    titles = ["subject", "clip", "reason"]
    return Table("Clips that could not be prepared", titles, rows, text_columns=3, long=True, study=summary["study"])


def results_notes(studies: Sequence[ReportedStudy]) -> list[str]:
    """Notes that explain `results_table`."""
    summaries = [study.summary for study in studies]
    rules = sorted({summary["rule"] for summary in summaries})
    few = min(len(summary["subjects"]) for summary in summaries)
    lines = [
        SCORES_NOTE,
        "Each score is computed from the predictions of all folds together. "
        f"Rule for the weights: {'; '.join(_RULES.get(rule, rule) for rule in rules)}.",
        f"{INTERVAL}: interval by bootstrap over the test subjects, {bootstrap.RESAMPLES} resamples. It shows how "
        "much the score depends on who was recorded. Majority UF1: UF1 of always predicting the most frequent class.",
    ]
    if any(best_reference(study, studies) for study in studies):
        lines.append(
            f"Best reference: the best on the same clips of the simple models {', '.join(REFERENCES)}. A network that "
            "does not score more has not shown that it is worth its effort."
        )
    if few < 20:  # simulated: docs/results.md
        lines.append(
            f"An interval over {few} subjects is too narrow: less than 95 % of such intervals contain the true value."
        )
    if any("sd" in summary for summary in summaries):
        lines.append(
            "With several seeds, each score is the mean over the seeds, and sd over seeds is the standard deviation. "
            "It shows how much repeated trainings differ; the interval over subjects is that of the mean."
        )
    for summary in summaries:
        if missing := summary["missing_folds"]:
            lines.append(f"Warning: {summary['study']} is incomplete: its scores leave out {', '.join(missing)}.")
        if constant := constant_phrase(summary):
            where = some(summary["constant_folds"])
            lines.append(f"Warning: {summary['study']}: {constant}: its network tells nothing apart in {where}.")
        if partial := summary["provenance"]["partial"]:
            lines.append(f"{summary['study']} does not use the complete dataset: {', '.join(partial)}.")
        if left_out := left_out_phrase(summary["provenance"]):
            lines.append(f"Warning: {summary['study']}: {left_out}.")
        for key, values in summary["folds_differ"].items():
            lines.append(f"Warning: folds of {summary['study']} were run with different {key}: {', '.join(values)}.")
    lines += dict.fromkeys(report.note for study in studies for report in study.reports if report.note)
    if len(rules) > 1:
        lines.append("Warning: the studies follow different rules, so the rule may cause differences between them.")
    if len({summary["provenance"]["sample_list_hash"] for summary in summaries}) > 1:
        lines.append(
            "Warning: the studies do not all cover the same clips: compare only studies with the same sample list."
        )
    return lines


def _measures(studies: Sequence[ReportedStudy]) -> list[Measure]:
    """Measures of the studies' tasks, each once."""
    named = {measure.name: measure for study in studies for report in study.reports for measure in report.measures}
    return list(named.values())


def _settings(studies: Sequence[ReportedStudy], shown: Sequence[ReportedStudy] | None = None) -> list[dict[str, str]]:
    """Cells of each study's leftmost columns, by column title."""
    keys = swept_keys(studies)
    tasks = not keys or ("model.name" in keys and not any(key.startswith("tasks.") for key in keys))
    found = []
    for study in studies if shown is None else shown:
        own = swept_settings(study, keys) if keys else {"model": study.summary["provenance"]["model"]}
        found.append({"study": study.name} | own | ({"tasks": _tasks(study)} if tasks else {}))
    return found


def _compare(study: ReportedStudy, reference: ReportedStudy) -> dict[str, Any]:
    classes, others = study.summary["classes"], reference.summary["classes"]
    if classes != others:
        raise MefusionError(f"its classes are {', '.join(classes)}, not {', '.join(others)}")
    return bootstrap.compare(study.predictions, reference.predictions, classes)


def _mcnemar(found: dict[str, Any]) -> list[str]:
    p = "<0.001" if found["mcnemar"] < 0.001 else f"{found['mcnemar']:.3f}"
    return [str(found["only_study"]), str(found["only_reference"]), p]


def _tasks(study: ReportedStudy) -> str:
    weights = study.summary["provenance"]["tasks"]
    return ", ".join(name if weight == 1 else f"{name} x{weight:g}" for name, weight in weights.items() if weight)


def _named_score(study: ReportedStudy | None) -> str:
    return "-" if study is None else f"{study.summary['provenance']['model']} {study.summary['uf1']:.3f}"


def number_text(value: float | None, form: str = ".3f") -> str:
    """A number for a table; a dash for None."""
    return "-" if value is None else format(value, form).removesuffix("%")


def range_text(ends: Sequence[float] | None, form: str = ".3f") -> str:
    """An interval for a table; a dash for None."""
    return "-" if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"
