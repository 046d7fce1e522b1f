"""What a task measures beside recognition: its columns of the prediction table, and how a study tells of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Measure:
    """One number of a study's summary: the mean of a column of the prediction table, unless `over` or `above` is given.

    Attributes:
        name: its key in the summary.
        title: of its column in the report, with the unit.
        form: how it is written, as `.3f`.
        column: of the prediction table, one number a clip; the same as `name` where it is empty.
        lower_is_better: the direction; None of a reference value, which nothing improves.
        lowest: the smallest value that the column can have.
        over: the same number of a trivial answer, a column too: the measure is the ratio of the two means.
        above: a limit: the measure is the share of clips whose column is above it.
    """

    name: str
    title: str
    form: str = ".3f"
    column: str = ""
    lower_is_better: bool | None = True
    lowest: float = 0.0
    over: str | None = None
    above: float | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(text, str) for text in (self.name, self.title, self.form, self.column)):
            raise TypeError("a measure's name, title, form and column are texts")
        self.text(float(self.lowest))  # refuses a form that writes no number

    def of(self, table: "pd.DataFrame") -> float | None:
        """The number of a prediction table; None where it is a ratio to zero."""
        values = table[self.column or self.name]
        if self.above is not None:
            return float((values > self.above).mean())
        if self.over is not None:
            reference = float(table[self.over].mean())
            return float(values.mean()) / reference if reference > 0 else None
        return float(values.mean())

    def text(self, value: float | None) -> str:
        """The number as a table or a sentence writes it; a dash for None."""
        return "-" if value is None else format(value, self.form).removesuffix("%")


@dataclass(frozen=True)
class TaskReport:
    """How a study tells of a task.

    Attributes:
        measures: its numbers, in the order of the report's columns.
        headline: a phrase with the measures' names in braces.
        note: what has to be known to read the numbers.
    """

    measures: tuple[Measure, ...] = ()
    headline: str = ""
    note: str = ""

    @property
    def columns(self) -> dict[str, float]:
        """The task's columns of the prediction table, each with the smallest value that it can have."""
        found = {measure.column or measure.name: measure.lowest for measure in self.measures}
        return found | {measure.over: measure.lowest for measure in self.measures if measure.over}

    def summary(self, table: "pd.DataFrame") -> dict[str, float | None]:
        """Every measure of a prediction table, by its name."""
        return {measure.name: measure.of(table) for measure in self.measures}

    def phrase(self, summary: Mapping[str, Any]) -> str:
        """The headline with a summary's numbers in it."""
        phrase = self.headline
        for measure in self.measures:
            phrase = phrase.replace(f"{{{measure.name}}}", measure.text(summary[measure.name]))
        return phrase

    def to_plain(self) -> dict[str, Any]:
        """The same as plain data, for `study.json`."""
        return asdict(self)

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "TaskReport":
        """What `plain` gave.

        Raises:
            TypeError, KeyError, ValueError: the data are something else.
        """
        measures = tuple(Measure(**measure) for measure in data["measures"])
        return cls(measures=measures, headline=str(data["headline"]), note=str(data["note"]))
