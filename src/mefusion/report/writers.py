"""Write a report as Markdown, HTML, LaTeX and CSV files, and print it in the terminal."""

import base64
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from mefusion.common.files import remove_leftovers, replacing, write_table, write_text
from mefusion.report.document import Document, Picture, Table
from mefusion.report.latex import to_latex
from mefusion.report.reading import ReportedStudy, swept_keys, swept_settings

DPI = 160
# Entries of a summary that get no column.
_NOT_IN_CSV = (
    "classes",
    "confusion_matrix",
    "oracle_confusion_matrix",
    "subjects",
    "missing_folds",
    "constant_folds",
    "provenance",
    "folds_differ",
    "absent_units",
)


def write_document(folder: Path, document: Document, results: pd.DataFrame) -> None:
    """Write report.md, report.html, tables.tex, results.csv and figures/*.png.

    Args:
        folder: folder of the report.
        document: the report.
        results: the numbers that are written to the CSV file.

    Raises:
        MefusionError: a file cannot be written.
    """
    pictures = {picture.name: _png(picture.figure) for section in document.sections for picture in section.pictures}
    remove_leftovers(folder)
    for name, data in pictures.items():
        with replacing(folder / "figures" / f"{name}.png") as temporary:
            temporary.write_bytes(data)
    write_text(folder / "report.md", to_markdown(document))
    write_text(folder / "report.html", to_html(document, pictures))
    write_text(folder / "tables.tex", to_latex(document))
    write_table(folder / "results.csv", results)


def to_markdown(document: Document) -> str:
    """The document as Markdown; it refers to the figures in figures/."""
    lines = [f"# {document.title}", "", *(f"- {name}: {text}" for name, text in document.facts.items())]
    for section in document.sections:
        lines += ["", f"## {section.title}"]
        for table in section.tables:
            lines += ["", f"{table.caption}:", "", table.markdown()]
        for note in section.notes:
            lines += ["", note]
        for picture in section.pictures:
            lines += ["", f"![{picture.caption}](<figures/{picture.name}.png>)"]
    return "\n".join(lines) + "\n"


def to_html(document: Document, pictures: Mapping[str, bytes]) -> str:
    """The document as one HTML page, which contains the figures.

    Args:
        document: the report.
        pictures: its figures as PNG files, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mefusion.report", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    embedded = {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    sizes = {picture.name: _css_width(picture) for section in document.sections for picture in section.pictures}
    template = environment.get_template("page.html.j2")
    return template.render(document=document, pictures=embedded, widths=sizes)


def to_frame(studies: Sequence[ReportedStudy]) -> pd.DataFrame:
    """All numbers of the studies with full precision: one row for each study; a cell is empty if there is no value."""
    keys = swept_keys(studies)
    rows = []
    for study in studies:
        provenance = study.summary["provenance"]
        origin = {key: provenance.get(key) for key in ("sample_list_hash", "config_hash", "git_revision", "device")}
        if left_out := provenance["left_out"]:
            origin["clips_left_out"] = len(left_out["clips"])
        settings = {f"setting_{name}": text for name, text in swept_settings(study, keys).items()}
        rows.append(numbers(study.summary) | settings | origin)
    return pd.json_normalize(rows, sep="_")


def print_document(document: Document) -> None:
    """Print the brief sections. In a narrow terminal, the words of a row are printed in lines below its numbers."""
    from rich.console import Console
    from rich.text import Text

    # A file or a pipe has no width.
    console = Console(width=None if sys.stdout.isatty() else 180, highlight=False)
    console.print(Text(document.title, style="bold"))
    for section in document.sections:
        if section.brief:
            for table in section.tables:
                if not table.long:
                    _print_table(console, table)
            for note in section.notes:
                console.print(Text(note))
            console.print()


def _print_table(console: Any, table: Table) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    narrow = table.text_columns > 1 and console.width < 120
    shown = RichTable(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=table.caption, title_justify="left"
    )
    for name in ("#",) if narrow else table.titles[: table.text_columns]:
        shown.add_column(name, overflow="fold")
    for name in table.titles[table.text_columns :]:
        shown.add_column(name, justify="right", min_width=max(6, *map(len, name.split())))
    for i, row in enumerate(table.rows, start=1):
        texts = [str(i)] if narrow else row[: table.text_columns]
        shown.add_row(*map(Text, [*texts, *row[table.text_columns :]]))
    console.print(shown)
    if narrow:
        for i, row in enumerate(table.rows, start=1):
            console.print(Text(f"{i}: {', '.join(row[: table.text_columns])}"))


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _css_width(picture: Picture) -> int:
    return round(96 * 1.3 * picture.figure.get_figwidth())  # a little larger than in print


def numbers(value: Any) -> Any:
    """A summary without lists, except intervals: their ends become `low` and `high`, one column each."""
    if isinstance(value, dict):
        return {name: numbers(part) for name, part in value.items() if name not in _NOT_IN_CSV}
    return {"low": value[0], "high": value[1]} if isinstance(value, list) else value
