"""What a report says, apart from how it is written: tables, sentences and figures in sections."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        caption: one line.
        titles: of the columns.
        rows: a text a column.
        text_columns: how many columns at the left hold words; the others hold numbers.
        long: whether it has many rows, so that the terminal leaves it out and the page folds it up.
        study: the one that it is of, for where a table stands alone, as in a paper.
    """

    caption: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    long: bool = False
    study: str = ""

    def markdown(self) -> str:
        """The table as Markdown, without its caption."""
        alignment = ["---"] * self.text_columns + ["---:"] * (len(self.titles) - self.text_columns)
        lines = (" | ".join(_escaped(cell) for cell in row) for row in (self.titles, alignment, *self.rows))
        return "\n".join(f"| {line} |" for line in lines)

    def _repr_markdown_(self) -> str:  # shown in a notebook
        return f"**{self.caption}**\n\n{self.markdown()}"


@dataclass(frozen=True)
class Picture:
    """A figure with the name of its file, without suffix, and one line of what it shows."""

    name: str
    caption: str
    figure: Figure


@dataclass
class Section:
    """Tables, what has to be known to read them, and figures, under a title.

    Attributes:
        brief: whether the terminal shows it too.
    """

    title: str
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    brief: bool = False


@dataclass
class Document:
    """A report."""

    title: str
    sections: list[Section]


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
