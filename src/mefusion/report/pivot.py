"""`mefusion-report DIR --pivot ROWS,COLUMNS`: one table of a score over one or two settings, as papers print it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mefusion.common.errors import MefusionError, first_line
from mefusion.common.files import write_text
from mefusion.evaluation import metrics
from mefusion.evaluation.predictions import some
from mefusion.report.document import Table
from mefusion.report.latex import escape
from mefusion.report.reading import ReportedStudy, setting_order, setting_text, swept_keys

_FORM = ".3f"  # of the scores, which are in 0..1


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes:
        number: the score; empty if there is no study.
        spread: (sd over seeds) [95 % interval over subjects]; what is not known is left out.
        best: whether no other number of the column is better, to the digits that are printed.
    """

    number: str = ""
    spread: str = ""
    best: bool = False

    def markdown(self) -> str:
        """The cell as Markdown."""
        return f"{f'**{self.number}**' if self.best else self.number or '-'} {self.spread}".rstrip()

    def latex(self) -> str:
        """The cell for LaTeX."""
        number = escape(self.number) or "--"
        shown = rf"\textbf{{{number}}}" if self.best else number
        return f"{shown} {escape(self.spread)}".rstrip()


@dataclass(frozen=True)
class Pivot:
    """A table of a score over one or two settings.

    Attributes:
        caption: one line.
        corner: title of the rows.
        columns: titles of the columns.
        rows: title of each row.
        cells: of each row.
        notes: what the cells mean, and warnings.
    """

    caption: str
    corner: str
    columns: list[str]
    rows: list[str]
    cells: list[list[Cell]]
    notes: list[str]

    def markdown(self) -> str:
        """The table as Markdown, with its notes."""
        rows = [[name, *(cell.markdown() for cell in row)] for name, row in zip(self.rows, self.cells, strict=True)]
        table = Table(self.caption, [self.corner, *self.columns], rows)
        return "\n\n".join([f"{self.caption}:", table.markdown(), *self.notes]) + "\n"

    def latex(self) -> str:
        """The table for LaTeX with booktabs; its notes are comments above it."""
        titles = " & ".join(map(escape, [self.corner, *self.columns]))
        lines = [f"% {note}" for note in self.notes]
        lines += [r"\begin{table}", r"\centering", rf"\caption{{{escape(self.caption)}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * len(self.columns)}}}", r"\toprule", rf"{titles} \\", r"\midrule"]
        for name, row in zip(self.rows, self.cells, strict=True):
            lines.append(" & ".join([escape(name), *(cell.latex() for cell in row)]) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def make_pivot(
    studies: Sequence[ReportedStudy],
    settings: Sequence[str],
    metric: str = "uf1",
    names: Mapping[str, str] | None = None,
) -> Pivot:
    """Arrange the studies' scores by one or two settings.

    Args:
        studies: those of the rule oracle are left out, and a note says so.
        settings: that of the rows and, if there are two, that of the columns; as in `config.yaml` with dots between,
            where `model` stands for `model.name`.
        metric: a score, or a measure of a task, by its name in `summary.json`.
        names: printed names of settings, values (`value` or `setting=value`) and the metric; others stay as they are.

    Raises:
        MefusionError: there is no such setting or metric, or a cell would have several studies.
    """
    honest = [study for study in studies if not study.oracle]
    if not honest:
        raise MefusionError("--pivot: all studies have the rule oracle, whose scores are not results; give others.")
    keys = [_find_setting(name, honest) for name in settings]
    lower_is_better, form = _find_metric(metric, honest)
    groups: dict[tuple[str, ...], list[ReportedStudy]] = {}
    for study in honest:
        groups.setdefault(tuple(setting_text(study.setting(key)) for key in keys), []).append(study)
    for place, group in groups.items():
        _require_one(group, dict(zip(settings, place, strict=True)), keys)
    placed = {place: group[0] for place, group in groups.items()}
    rows, *others = (_values(key, honest) for key in keys)
    columns = [(value,) for value in others[0]] if others else [()]
    names = names or {}
    printed = names.get(metric, metric.upper() if metric in metrics.SCORES else metric)
    by_column = [[placed.get((row, *column)) for row in rows] for column in columns]
    cells = [_column(own, metric, form, lower_is_better) for own in by_column]
    return Pivot(
        caption=f"{printed} by {' and '.join(names.get(name, name) for name in settings)}",
        corner=names.get(settings[0], settings[0]),
        columns=[_named(settings[1], column[0], names) if column else printed for column in columns],
        rows=[_named(settings[0], row, names) for row in rows],
        cells=[list(row) for row in zip(*cells, strict=True)],
        notes=_notes(studies, by_column, settings, metric),
    )


def read_names(path: Path) -> dict[str, str]:
    """Read the printed names of settings and values from a YAML file, one `name: printed name` a line.

    Raises:
        MefusionError: the file cannot be read, or is not such a list.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise MefusionError(f"--names {path} cannot be read ({reason}); give a YAML file.") from error
    plain = (str, int, float, bool)
    if not isinstance(found, dict) or not all(isinstance(part, plain) for pair in found.items() for part in pair):
        raise MefusionError(
            f"--names {path} is no list of names; write one on each line, such as mol_tiny: MOL (tiny)."
        )
    return {
        setting_text(name): setting_text(text) if not isinstance(text, str) else text for name, text in found.items()
    }


def write_pivot(folder: Path, pivot: Pivot) -> None:
    """Write pivot.md and pivot.tex.

    Raises:
        MefusionError: a file cannot be written.
    """
    write_text(folder / "pivot.md", pivot.markdown())
    write_text(folder / "pivot.tex", pivot.latex())


def _find_setting(name: str, studies: Sequence[ReportedStudy]) -> str:
    known = {key for study in studies for key in study.settings}
    for key in (f"{name}.name", name):
        if key in known:
            return key
    groups = [key for key in sorted(known) if key.endswith(".name") and key.count(".") == 1]
    allowed = dict.fromkeys(key.removesuffix(".name") for key in [*swept_keys(studies), *groups])
    raise MefusionError(
        f"--pivot {name}: the studies have no such setting; choose from {', '.join(allowed)}, or any other setting of "
        "their config.yaml."
    )


def _find_metric(metric: str, studies: Sequence[ReportedStudy]) -> tuple[bool | None, str]:
    """Direction of a metric, as in `Measure.lower_is_better`, and the format of its numbers."""
    scores = (*metrics.SCORES, "mean_of_folds_uf1")
    if metric in scores:
        return False, _FORM
    measures = {measure.name: measure for study in studies for report in study.reports for measure in report.measures}
    if metric not in measures:
        raise MefusionError(f"--metric {metric}: choose from {', '.join([*scores, *measures])}.")
    return measures[metric].lower_is_better, measures[metric].form


def _require_one(group: Sequence[ReportedStudy], place: Mapping[str, str], keys: Sequence[str]) -> None:
    if len(group) == 1:
        return
    others = [key.removesuffix(".name") for key in swept_keys(group) if key not in keys]
    differ = f"they differ in {', '.join(others)}" if others else "they do not differ in a setting"
    cell = ", ".join(f"{name}={text}" for name, text in place.items())
    raise MefusionError(
        f"--pivot: {len(group)} studies have {cell} ({some([study.name for study in group], most=4)}), and {differ}: "
        "name such a setting in --pivot, or give the directories of one study for each cell."
    )


def _values(key: str, studies: Sequence[ReportedStudy]) -> list[str]:
    """A setting's values as texts, in their order."""
    return [*dict.fromkeys(map(setting_text, sorted((study.setting(key) for study in studies), key=setting_order)))]


def _column(
    studies: Sequence[ReportedStudy | None], metric: str, form: str, lower_is_better: bool | None
) -> list[Cell]:
    """Cells of a column; None stands for a cell without a study. The best are those with the best printed number."""
    found = [None if study is None else study.summary.get(metric) for study in studies]
    printed = ["" if value is None else format(value, form).removesuffix("%") for value in found]
    numbers = [float(text) for text in printed if text]
    best = None
    if lower_is_better is not None and len(numbers) > 1 and not _cover_different_clips(studies):
        best = min(numbers) if lower_is_better else max(numbers)
    return [
        Cell() if study is None or not text else Cell(text, _spread(study, metric), float(text) == best)
        for study, text in zip(studies, printed, strict=True)
    ]


def _spread(study: ReportedStudy, metric: str) -> str:
    summary, parts = study.summary, []
    if metric in summary.get("sd", {}):
        parts.append(f"({summary['sd'][metric]:{_FORM}})")
    if metric in summary["intervals"]:
        low, high = summary["intervals"][metric]
        parts.append(f"[{low:{_FORM}}, {high:{_FORM}}]")
    return " ".join(parts)


def _cover_different_clips(studies: Sequence[ReportedStudy | None]) -> bool:
    return len({study.summary["provenance"]["sample_list_hash"] for study in studies if study is not None}) > 1


def _notes(
    studies: Sequence[ReportedStudy],
    by_column: Sequence[Sequence[ReportedStudy | None]],
    settings: Sequence[str],
    metric: str,
) -> list[str]:
    shown = [study.summary for column in by_column for study in column if study is not None]
    meaning = ["pooled over all folds" if metric in metrics.SCORES else "mean"]
    if any(metric in summary.get("sd", {}) for summary in shown):
        meaning.append("in round brackets the standard deviation over the seeds")
    if any(metric in summary["intervals"] for summary in shown):
        meaning.append("in square brackets the 95 % interval over subjects")
    notes = [f"{', '.join(meaning).capitalize()}. Bold: best of the column; this is no test. A dash: no study."]
    if any(map(_cover_different_clips, by_column)):
        notes.append("Warning: studies of one column do not cover the same clips: it has no best one.")
    if len({summary["rule"] for summary in shown}) > 1 and "rule" not in settings:
        notes.append("Warning: the studies follow different rules, so the rule may cause differences between them.")
    notes += [
        f"Warning: {summary['study']} is incomplete: its scores leave out {', '.join(summary['missing_folds'])}."
        for summary in shown
        if summary["missing_folds"]
    ]
    if left_out := len(studies) - len(shown):
        notes.append(f"Left out: {left_out} of the rule oracle, whose scores are not results.")
    return notes


def _named(setting: str, value: str, names: Mapping[str, Any]) -> str:
    return names.get(f"{setting}={value}", names.get(value, value))
