"""Label schemes: which emotions belong to which class.

This module does not import pandas, which would make commands start slowly.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mefusion.common.errors import MefusionError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("emotion", "objective_class", "action_units")  # columns of the clip table that classes are made from

Classes = dict[str, list[str]]  # class -> its emotions


@dataclass
class DatasetLabels:
    """Differences of a scheme in one dataset.

    Attributes:
        classes: class -> its emotions, instead of those of the scheme; if empty, the scheme's are used.
        leave_out: clips that get no class, as `subject/clip`.
    """

    classes: Classes = field(default_factory=dict)
    leave_out: list[str] = field(default_factory=list)


@dataclass
class Scheme:
    """A label scheme.

    Attributes:
        name: as in `labels=name`.
        classes: class -> its emotions; if empty, every value of the column is a class.
        column: column of the clip table that the classes are made from.
        datasets: dataset -> its differences.

    Raises:
        MefusionError: classes cannot be made from the column.
    """

    name: str = ""
    classes: Classes = field(default_factory=dict)
    column: str = "emotion"
    datasets: dict[str, DatasetLabels] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.column not in COLUMNS:
            raise MefusionError(f"labels.column={self.column}: choose from {', '.join(COLUMNS)}")

    def classes_of(self, dataset: str) -> Classes:
        """Emotions of each class in a dataset."""
        own = self.datasets.get(dataset)
        return own.classes if own and own.classes else self.classes

    def class_names(self, table: "pd.DataFrame") -> list[str]:
        """Names of the classes for the datasets of a clip table, in the scheme's order.

        Raises:
            MefusionError: the datasets have different classes in this scheme.
        """
        if not self.classes:
            return sorted(table[self.column].dropna().unique())
        names = {dataset: list(self.classes_of(dataset)) for dataset in sorted(table["dataset"].unique())}
        first, *others = names
        for other in others:
            if set(names[other]) != set(names[first]):
                raise MefusionError(
                    f"labels={self.name} has the classes {', '.join(names[first])} in {first} and "
                    f"{', '.join(names[other])} in {other}: choose a scheme with the same classes in both, such as "
                    "labels=three"
                )
        return names[first]
