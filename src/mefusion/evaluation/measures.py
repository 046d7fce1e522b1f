"""Measures of the tasks other than recognition: their columns in the prediction table, and their texts in reports."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mefusion.common.units import UNIT_TASK
from mefusion.evaluation.units import unit_columns, unit_scores

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Measure:
    """One number of a study's summary: the mean of a column of the prediction table, unless `over` or `above` is given.

    Attributes:
        name: key in the summary.
        title: title of the measure's column in the report, with the unit.
        form: format of the number, such as `.3f`.
        column: column of the prediction table, with one number for each clip; if empty, the same as `name`.
        lower_is_better: direction of improvement; None for a reference value, which no model can improve.
        lowest: smallest possible value of the column.
        over: a column with the same quantity for a trivial prediction; the measure is the ratio of the two means.
        above: a limit; the measure is the share of clips with a value above it.
        entry: an entry of `mefusion.evaluation.units.unit_scores`; the measure is this, and has no column.
    """

    name: str
    title: str
    form: str = ".3f"
    column: str = ""
    lower_is_better: bool | None = True
    lowest: float = 0.0
    over: str | None = None
    above: float | None = None
    entry: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(text, str) for text in (self.name, self.title, self.form, self.column)):
            raise TypeError("a measure's name, title, form and column are texts")
        self.text(float(self.lowest))  # raises an error if the form cannot format a number

    def of(self, table: "pd.DataFrame") -> float | None:
        """Compute the measure from a prediction table; None if it would be a division by zero."""
        values = table[self.column or self.name]
        if self.above is not None:
            return float((values > self.above).mean())
        if self.over is not None:
            reference = float(table[self.over].mean())
            return float(values.mean()) / reference if reference > 0 else None
        return float(values.mean())

    def text(self, value: float | None) -> str:
        """The number as a text for tables and sentences; a dash for None."""
        return "-" if value is None else format(value, self.form).removesuffix("%")


@dataclass(frozen=True)
class TaskReport:
    """How the results of a task are reported.

    Attributes:
        measures: the task's measures, in the order of the report's columns.
        headline: a phrase with the measures' names in braces.
        note: a sentence that explains the numbers.
        units: action units that are scored; a summary then has all of `unit_scores` under `action_units`.
    """

    measures: tuple[Measure, ...] = ()
    headline: str = ""
    note: str = ""
    units: tuple[int, ...] = ()

    @property
    def columns(self) -> dict[str, float]:
        """The task's columns of the prediction table, each with its smallest possible value."""
        found = {measure.column or measure.name: measure.lowest for measure in self.measures if not measure.entry}
        found |= {measure.over: measure.lowest for measure in self.measures if measure.over}
        return found | (unit_columns(self.units) if self.units else {})

    def summary(self, table: "pd.DataFrame") -> dict[str, Any]:
        """Compute all measures from a prediction table, by name; and the scores of action units."""
        scores = unit_scores(table, self.units) if self.units else {}
        found = {
            measure.name: scores[measure.entry] if measure.entry else measure.of(table) for measure in self.measures
        }
        return found | ({UNIT_TASK: scores} if scores else {})

    def phrase(self, summary: Mapping[str, Any]) -> str:
        """The headline with the numbers of a summary."""
        phrase = self.headline
        for measure in self.measures:
            phrase = phrase.replace(f"{{{measure.name}}}", measure.text(summary[measure.name]))
        return phrase

    def to_plain(self) -> dict[str, Any]:
        """The report as plain data, for `study.json`."""
        return asdict(self)

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "TaskReport":
        """Make a report from the data that `to_plain` returned.

        Raises:
            TypeError, KeyError, ValueError: the data are not as `to_plain` returns them.
        """
        measures = tuple(Measure(**measure) for measure in data["measures"])
        units = tuple(map(int, data.get("units", ())))  # studies before action units have none
        return cls(measures=measures, headline=str(data["headline"]), note=str(data["note"]), units=units)
