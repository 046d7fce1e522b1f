"""A report's tables as LaTeX that needs the package booktabs only."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mefusion.report.document import Document, Table

LETTER_EM = 0.51
"""Width of a letter in em, that of a digit and a little more."""

_PAGE_LINES = 42
_FLOATS = 16
_CONTINUED = " (continued)"
_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}", '"': "{''}",
    "\n": " ", "[": "{[}", "*": "{*}",  # these two mean something after the end of a row
}  # fmt: skip
# A name may be broken after a sign, at the latest after twelve letters, but not within 0.001.
_PIECE = re.compile(r"[^\W_]{1,12}(?:\.\d+)?[\W_]*|[\W_]+")


@dataclass(frozen=True)
class _Size:
    """A size of type: how many letters a line of the class article (345 pt) and the gap between columns hold."""

    commands: str
    line: int
    gap: float


_SMALL = _Size(r"\footnotesize \setlength{\tabcolsep}{3pt}", 79, 1.4)
_SMALLEST = _Size(r"\scriptsize \setlength{\tabcolsep}{2pt}", 85, 1.0)


@dataclass(frozen=True)
class _Column:
    """A column of texts; a folded one has lines of `width` letters at most, an unfolded one has None."""

    title: str
    cells: Sequence[str]
    words: bool
    width: int | None = None

    @property
    def natural(self) -> int:
        """Letters of the column unfolded."""
        return max(map(len, (self.title, *self.cells)))

    @property
    def least(self) -> int:
        """Letters of the column folded as narrow as it can be: numbers are not folded, their title is."""
        cells = [piece for cell in self.cells for piece in _pieces(cell)] if self.words else self.cells
        return max(map(len, (*_pieces(self.title), *cells)))

    @property
    def letters(self) -> int:
        """Letters that it takes."""
        return self.natural if self.width is None else self.width


def to_latex(document: Document) -> str:
    """The document's tables for a paper that loads booktabs.

    None is wider than the text of the class article: titles and names of a wide table are folded and its type is
    smaller; columns that still find no room, and rows that a page does not hold, go on in a further table.
    """
    tables = [table for section in document.sections for table in section.tables]
    floats = [part for table in tables for part in _floats(table)]
    # LaTeX keeps a limited number of floats that it has not placed yet.
    groups = ["\n".join(floats[first : first + _FLOATS]) for first in range(0, len(floats), _FLOATS)]
    return "\n\\clearpage\n\n".join(groups)


def escape(text: str) -> str:
    """A text as LaTeX shows it unchanged."""
    return "".join(_ESCAPED.get(letter, letter) for letter in text)


def _floats(table: Table) -> Iterator[str]:
    caption = escape(f"{table.caption} of {table.study}" if table.study else table.caption)
    size, blocks = _layout(table)
    for columns in blocks:
        heights = [max(len(_lines(column, column.cells[n])) for column in columns) for n in range(len(table.rows))]
        for rows in _pages(heights):
            yield _float(caption, size, columns, [_row(columns, number) for number in rows])
            caption = caption.removesuffix(_CONTINUED) + _CONTINUED


def _layout(table: Table) -> tuple[_Size, list[list[_Column]]]:
    """The first that fits: whole, folded, folded and smallest; or in blocks, each with the columns of words."""
    columns = [
        _Column(title, [row[place] for row in table.rows], place < table.texts)
        for place, title in enumerate(table.titles)
    ]
    if _letters(columns, _SMALL) <= _SMALL.line:
        return _SMALL, [columns]
    folded = [_folded(column, column.least) for column in columns]
    size = _SMALL if _letters(folded, _SMALL) <= _SMALL.line else _SMALLEST
    words = folded[: table.texts]
    blocks = [[*words]]
    for column in folded[table.texts :]:
        if len(blocks[-1]) > len(words) and _letters([*blocks[-1], column], size) > size.line:
            blocks.append([*words])
        blocks[-1].append(column)
    return size, [_widened(block, size) for block in blocks]


def _widened(columns: list[_Column], size: _Size) -> list[_Column]:
    """What a line has left is given to the columns that are folded most, those of words first."""
    columns = [*columns]
    while _letters(columns, size) + 1 <= size.line:
        folded = [n for n, column in enumerate(columns) if column.letters < column.natural]
        if not folded:
            break
        place = max(folded, key=lambda n: (columns[n].words, columns[n].natural / columns[n].letters))
        columns[place] = _folded(columns[place], columns[place].letters + 1)
    return columns


def _pages(heights: Sequence[int]) -> list[range]:
    """The rows of each page, of rows that are so many lines high."""
    starts, lines = [0], 0
    for number, height in enumerate(heights):
        lines += height
        if lines > _PAGE_LINES:
            starts.append(number)
            lines = height
    return [range(*rows) for rows in pairwise([*starts, len(heights)])]


def _float(caption: str, size: _Size, columns: Sequence[_Column], rows: Sequence[str]) -> str:
    kinds = "".join(_kind(column) for column in columns)
    titles = " & ".join(_title(column) for column in columns) + r" \\"
    lines = [
        r"\begin{table}", r"\centering", size.commands, rf"\caption{{{caption}}}", r"\smallskip",
        rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", titles, r"\midrule", *rows, r"\bottomrule",
        r"\end{tabular}", r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(columns: Sequence[_Column], number: int) -> str:
    return " & ".join(_cell(column, column.cells[number]) for column in columns) + r" \\"


def _kind(column: _Column) -> str:
    if not column.words:
        return "r"
    return "l" if column.width is None else f"p{{{LETTER_EM * column.width:.2f}em}}"


def _title(column: _Column) -> str:
    lines = _lines(column, column.title, title=True)
    if len(lines) == 1:
        return escape(lines[0])
    stacked = r"\rule{0pt}{2ex}" + r" \\ ".join(map(escape, lines))  # else the first line touches the rule above
    return rf"\shortstack[{'l' if column.words else 'r'}]{{{stacked}}}"


def _cell(column: _Column, cell: str) -> str:
    if column.words and column.width is not None:
        return r"\raggedright " + r"\allowbreak{}".join(map(escape, _pieces(cell)))
    text = escape(cell)
    return text if column.words else re.sub(r"(?<!\S)-(?=[\d.])", "$-$", text)


def _lines(column: _Column, text: str, title: bool = False) -> list[str]:
    if column.width is None or not (column.words or title):
        return [text]
    lines = [""]
    for piece in _pieces(text):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > column.width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _folded(column: _Column, width: int) -> _Column:
    return replace(column, width=width if width < column.natural else None)


def _letters(columns: Sequence[_Column], size: _Size) -> float:
    return sum(column.letters for column in columns) + size.gap * len(columns)


def _pieces(text: str) -> list[str]:
    return _PIECE.findall(text) or [""]
