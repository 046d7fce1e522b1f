"""Parts of a report, independent of the file format: sections with tables, notes and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table whose cells are texts.

    Attributes:
        caption: one line.
        titles: titles of the columns.
        rows: cells of each row, one for each column.
        text_columns: number of columns at the left with words; the others have numbers.
        long: whether the table has many rows; then the terminal omits it, and the HTML page shows it folded.
        study: name of the table's study, for captions outside the report, as in a paper; empty if it has several.
        links: where cells of the first column lead, in HTML and Markdown: paths from the report's folder.
    """

    caption: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    long: bool = False
    study: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        """The table as Markdown, without its caption."""
        alignment = ["---"] * self.text_columns + ["---:"] * (len(self.titles) - self.text_columns)
        rows = ([self._linked(row[0]), *map(_escaped, row[1:])] for row in self.rows)
        lines = (" | ".join(row) for row in (map(_escaped, self.titles), alignment, *rows))
        return "\n".join(f"| {line} |" for line in lines)

    def _linked(self, cell: str) -> str:
        return f"[{_escaped(cell)}](<{self.links[cell]}>)" if cell in self.links else _escaped(cell)

    def _repr_markdown_(self) -> str:  # shown in a notebook
        return f"**{self.caption}**\n\n{self.markdown()}"


@dataclass(frozen=True)
class Picture:
    """A figure with its file name, without suffix, and a caption of one line."""

    name: str
    caption: str
    figure: Figure


@dataclass
class Section:
    """Tables, notes that explain them, and figures, under a title.

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
    """A report.

    Attributes:
        title: models and data.
        facts: what stands under the title, by name: data, models, date and command.
    """

    title: str
    facts: dict[str, str]
    sections: list[Section]


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
