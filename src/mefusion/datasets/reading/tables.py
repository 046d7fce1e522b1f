"""Reading annotation tables: cells as text, columns by name, known errors corrected and noted."""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import openpyxl

from mefusion.common.errors import MefusionError
from mefusion.datasets.reading import facs


def read_sheets(path: Path) -> list[list[list[str]]]:
    """Rows of every sheet of a workbook, each a list of cells as text; empty rows are left out.

    Raises:
        MefusionError: the file is no whole workbook.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of formatting that openpyxl leaves out
            workbook = openpyxl.load_workbook(file, read_only=True, data_only=True)
            return [[row for row in _rows(sheet) if any(row)] for sheet in workbook.worksheets]
    except Exception as error:  # openpyxl lets through whatever the broken part provokes
        raise MefusionError(
            f"{path} cannot be read as an Excel workbook ({type(error).__name__}): copy it anew from the download"
        ) from error


def _rows(sheet: "object") -> Iterator[list[str]]:
    sheet.reset_dimensions()  # type: ignore[attr-defined]  # some writers record wrong ones
    for row in sheet.iter_rows(values_only=True):  # type: ignore[attr-defined]
        yield [_text(value) for value in row]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def read_table(path: Path, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Rows of a workbook's first sheet, which has a header somewhere.

    Args:
        path: the workbook.
        columns: name in the header -> name in the result; compared without case and blanks. The header is the
            row with a cell `Subject`; rows without a value in the first two columns are left out.

    Raises:
        MefusionError: the file is no workbook, has no header or lacks a column.
    """
    rows = next(iter(read_sheets(path)), [])  # by its place, since sheets are renamed
    headers = [number for number, row in enumerate(rows) if "subject" in map(_plain, row)]
    if not headers:
        raise MefusionError(
            f"{path} has no header: a row of its first sheet must name the columns {', '.join(columns)}"
        )
    wanted = {_plain(name): name for name in columns}
    # A text block above the header may hold the word too.
    header = max(headers, key=lambda number: len(wanted.keys() & set(map(_plain, rows[number]))))
    found = {_plain(name): place for place, name in reversed(list(enumerate(rows[header])))}
    missing = [name for plain, name in wanted.items() if plain not in found]
    if missing:
        present = ", ".join(name for name in rows[header] if name)
        raise MefusionError(f"{path} lacks the column {', '.join(missing)}: it has {present}; name it as published")
    places = {columns[name]: found[plain] for plain, name in wanted.items()}
    table = [{name: row[at] if at < len(row) else "" for name, at in places.items()} for row in rows[header + 1 :]]
    keys = list(places)[:2]
    return [row for row in table if all(row[key] for key in keys)]


def _plain(name: str) -> str:
    return re.sub(r"\s+", "", name).lower()


class Correction(NamedTuple):
    """A known error of an annotation table.

    Attributes:
        clip: as `subject/clip`, named as in the table.
        field: the wrong cell: onset, apex, offset or another column.
        old: what the table has; the cell is corrected only where it still does.
        new: what is right.
        reason: why, for the clip's notes.
    """

    clip: str
    field: str
    old: str
    new: str
    reason: str


@dataclass
class Coding:
    """One row of an annotation table while it is read.

    Attributes:
        cells: onset, apex, offset, emotion and perhaps action_units, objective_class; text as in the table.
        notes: a phrase for each correction.
    """

    cells: dict[str, str]
    notes: list[str] = field(default_factory=list)

    def correct(self, corrections: Iterable[Correction]) -> None:
        """Correct known errors of this row, where the table still has them."""
        for _, name, old, new, reason in corrections:
            if self.cells.get(name) == old:
                self.cells[name] = new
                self.notes.append(f"{name} {old} corrected to {new} ({reason})")

    def number(self, name: str) -> int | None:
        """A cell's frame number, None where it holds none."""
        cell = self.cells.get(name, "")
        return int(cell) if re.fullmatch(r"\d{1,9}", cell) else None

    def columns(self) -> dict[str, object]:
        """The clip table's columns that come from the cells; an apex missing or outside is left open, with a note."""
        frames = self._frames()
        return {
            "emotion": self.cells["emotion"].lower() or None,
            "objective_class": _one_case(self.cells.get("objective_class", "")) or None,
            "notes": "; ".join(self.notes) or None,
            **frames,
            **facs.columns(self.cells.get("action_units")),
        }

    def _frames(self) -> dict[str, int | None]:
        onset, apex, offset = (self.number(name) for name in ("onset", "apex", "offset"))
        self.notes += [
            f"{name} '{self.cells.get(name, '')}' is no frame number: the clip's {end} frame is taken"
            for name, value, end in (("onset", onset, "first"), ("offset", offset, "last"))
            if value is None
        ]
        if onset is not None and offset is not None and onset > offset:
            self.notes.append(f"onset {onset} lies after offset {offset}")
        elif apex is None or (onset is not None and apex < onset) or (offset is not None and apex > offset):
            self.notes.append(f"apex '{self.cells.get('apex', '')}' is not in {onset}..{offset}: it is left open")
            apex = None
        return {"onset": onset, "apex": apex, "offset": offset}


def _one_case(name: str) -> str:
    """Words in lower case, numerals (`IV`) in capitals, since tables mix both."""
    return name.upper() if re.fullmatch("[IVX]+", name, re.IGNORECASE) else name.lower()
