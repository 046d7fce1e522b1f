"""Label schemes: which emotions of a dataset count as which class. Without pandas, so that commands answer at once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mefusion.common.errors import MefusionError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("emotion", "objective_class", "action_units")  # of the clip table, that can be labelled

Classes = dict[str, list[str]]  # class -> the emotions that count as it


@dataclass
class DatasetLabels:
    """What a scheme is in one dataset.

    Attributes:
        classes: class -> emotions, in place of the scheme's own; empty keeps those.
        leave_out: clips, as `subject/clip`, that have no class.
    """

    classes: Classes = field(default_factory=dict)
    leave_out: list[str] = field(default_factory=list)


@dataclass
class Scheme:
    """A label scheme.

    Attributes:
        name: as in `labels=name`.
        classes: class -> the emotions that count as it; empty makes every value of the column a class.
        column: of the clip table that is labelled.
        datasets: what differs in single datasets.

    Raises:
        MefusionError: the column is none that can be labelled.
    """

    name: str = ""
    classes: Classes = field(default_factory=dict)
    column: str = "emotion"
    datasets: dict[str, DatasetLabels] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.column not in COLUMNS:
            raise MefusionError(f"labels.column={self.column}: choose from {', '.join(COLUMNS)}")

    def classes_of(self, dataset: str) -> Classes:
        """Class -> emotions in a dataset."""
        own = self.datasets.get(dataset)
        return own.classes if own and own.classes else self.classes

    def class_names(self, table: "pd.DataFrame") -> list[str]:
        """Classes in the scheme's order, for the datasets of a clip table.

        Raises:
            MefusionError: the scheme has other classes in one of the datasets than in another.
        """
        if not self.classes:
            return sorted(table[self.column].dropna().unique())
        names = {dataset: list(self.classes_of(dataset)) for dataset in sorted(table["dataset"].unique())}
        first, *others = names
        for other in others:
            if set(names[other]) != set(names[first]):
                raise MefusionError(
                    f"labels={self.name} has the classes {', '.join(names[first])} in {first} and "
                    f"{', '.join(names[other])} in {other}: choose a scheme that they share, such as labels=three"
                )
        return names[first]
