"""Write a report's tables as LaTeX; a paper that includes them must load the packages booktabs and graphicx."""

import re
from collections.abc import Iterator, Sequence

from mefusion.report.document import Document, Table

ROWS = 40
"""Largest number of rows of a table on one page; further rows make another table."""

_WIDE = 20  # cells of a column of words are broken into lines if one of them has this many letters
_ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}", '"': "{''}",
    "\n": " ", "[": "{[}", "*": "{*}",  # [ and * after the end of a row would be read as its options
}  # fmt: skip


def to_latex(document: Document) -> str:
    """The document's tables as LaTeX.

    Long names are broken into lines after punctuation. A table that is still wider than the text is scaled down.
    """
    tables = (table for section in document.sections for table in section.tables)
    return "\n".join(text for table in tables for text in _floats(table))


def escape(text: str) -> str:
    """Escape a text, so that LaTeX shows it unchanged."""
    return "".join(_ESCAPED.get(letter, letter) for letter in text)


def _floats(table: Table) -> Iterator[str]:
    caption = f"{table.caption} of {table.study}" if table.study else table.caption
    words = [max(len(row[place]) for row in (table.titles, *table.rows)) for place in range(table.text_columns)]
    kinds = ["l" if length < _WIDE else "p{11em}" for length in words]
    kinds += ["r"] * (len(table.titles) - table.text_columns)
    for first in range(0, len(table.rows), ROWS):
        rows = [_row(row, kinds) for row in table.rows[first : first + ROWS]]
        lines = [
            r"\begin{table}", r"\centering", r"\footnotesize",
            rf"\caption{{{escape(caption)}{' (continued)' if first else ''}}}",
            r"\resizebox{\ifdim\width>\linewidth \linewidth\else \width\fi}{!}{%",
            rf"\begin{{tabular}}{{{''.join(kinds)}}}", r"\toprule", _titles(table.titles, kinds), r"\midrule", *rows,
            r"\bottomrule", r"\end{tabular}}", r"\end{table}", "",
        ]  # fmt: skip
        yield "\n".join(lines)


def _titles(titles: Sequence[str], kinds: Sequence[str]) -> str:
    texts = (_stacked(title) if kind == "r" else _cell(title, kind) for title, kind in zip(titles, kinds, strict=True))
    return " & ".join(texts) + r" \\"


def _stacked(title: str) -> str:
    lines = re.sub(r" (?=\S{3})", r" \\\\ ", escape(title))  # words of one or two letters stay on the line
    return r"\shortstack[r]{\rule{0pt}{2ex}" + lines + "}"


def _row(cells: Sequence[str], kinds: Sequence[str]) -> str:
    return " & ".join(_cell(cell, kind) for cell, kind in zip(cells, kinds, strict=True)) + r" \\"


def _cell(cell: str, kind: str) -> str:
    if kind == "r":
        return re.sub(r"(?<!\S)-(?=[\d.])", "$-$", escape(cell))
    if kind == "l":
        return escape(cell)
    pieces = re.findall(r"[^\W_]{1,12}[\W_]*|[\W_]+", cell)
    return r"\raggedright " + r"\allowbreak{}".join(map(escape, pieces))
