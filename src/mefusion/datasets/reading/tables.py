"""Read annotation tables: cells as text, columns by name, with known errors corrected and noted."""

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
    """Read the rows of every sheet of a workbook, each as a list of cells as text; empty rows are left out.

    Raises:
        MefusionError: the file is missing, damaged, or no workbook.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # about formatting that openpyxl cannot read
            workbook = openpyxl.load_workbook(file, read_only=True, data_only=True)
            return [[row for row in _rows(sheet) if any(row)] for sheet in workbook.worksheets]
    except Exception as error:  # openpyxl raises many kinds of errors for damaged files
        raise MefusionError(
            f"{path} cannot be read as an Excel workbook ({type(error).__name__}): copy it again from the download"
        ) from error


def _rows(sheet: "object") -> Iterator[list[str]]:
    sheet.reset_dimensions()  # type: ignore[attr-defined]  # some programs write wrong ones
    for row in sheet.iter_rows(values_only=True):  # type: ignore[attr-defined]
        yield [_text(value) for value in row]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def read_table(path: Path, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Read the rows below the header of a workbook's first sheet.

    The header is the row with a cell `Subject`; other rows may stand above it. Rows without a value in one of the first
    two columns are left out, as remarks below the table have none.

    Args:
        path: the workbook.
        columns: name in the header -> name in the result. Case and spaces of names in the header are ignored.

    Raises:
        MefusionError: the file is no workbook, has no header, lacks a column, or a row with an onset lacks one of the
            first two values.
    """
    rows = next(iter(read_sheets(path)), [])  # the first one, since copies have different sheet names
    headers = [number for number, row in enumerate(rows) if "subject" in map(_plain, row)]
    if not headers:
        raise MefusionError(
            f"{path} has no header: a row of its first sheet must name the columns {', '.join(columns)}"
        )
    wanted = {_plain(name): name for name in columns}
    # Text above the header may contain this word too.
    header = max(headers, key=lambda number: len(wanted.keys() & set(map(_plain, rows[number]))))
    found = {_plain(name): place for place, name in reversed(list(enumerate(rows[header])))}
    missing = [name for plain, name in wanted.items() if plain not in found]
    if missing:
        present = ", ".join(name for name in rows[header] if name)
        raise MefusionError(f"{path} lacks the column {', '.join(missing)}: it has {present}; use the published names")
    places = {columns[name]: found[plain] for plain, name in wanted.items()}
    table = [{name: row[at] if at < len(row) else "" for name, at in places.items()} for row in rows[header + 1 :]]
    (first, second), published = list(places)[:2], list(columns)
    for row in table:
        if row.get("onset", "").isdecimal() and bool(row[first]) != bool(row[second]):
            name, key, value = (published[1], first, row[first]) if row[first] else (published[0], second, row[second])
            raise MefusionError(
                f"{path} has a row without {name}, with {key} {value} and onset {row['onset']}: copy the table again "
                "from the download"
            )
    return [row for row in table if row[first] and row[second]]


def _plain(name: str) -> str:
    return re.sub(r"\s+", "", name).lower()


class Correction(NamedTuple):
    """A known error of an annotation table.

    Attributes:
        clip: `subject/clip`, with their names in the clip table before the correction.
        field: the wrong cell: onset, apex, offset or another column.
        old: the wrong value; the cell is corrected only if it has this value.
        new: the right value.
        reason: reason for the correction, for the clip's notes.
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
        cells: text of the cells onset, apex, offset, emotion and, if the table has them, action_units and
            objective_class.
        notes: one phrase for each correction.
    """

    cells: dict[str, str]
    notes: list[str] = field(default_factory=list)

    def correct(self, corrections: Iterable[Correction]) -> None:
        """Correct known errors of this row, if the table still has them."""
        for _, name, old, new, reason in corrections:
            if self.cells.get(name) == old:
                self.cells[name] = new
                self.notes.append(f"{name} {old} corrected to {new} ({reason})")

    def number(self, name: str) -> int | None:
        """Frame number in a cell; None if the cell is no frame number."""
        cell = self.cells.get(name, "")
        return int(cell) if re.fullmatch(r"\d{1,9}", cell) else None

    def columns(self) -> dict[str, object]:
        """Columns of the clip table that are made from the cells.

        An apex that is missing, or not between onset and offset, becomes None, with a note; so does an onset or offset
        that is a text.

        Raises:
            MefusionError: the emotion is empty, or onset or offset is a number that no frame can have.
        """
        if not self.cells["emotion"]:
            raise MefusionError("its emotion is empty")
        frames = self._frames()
        return {
            "emotion": self.cells["emotion"].lower(),
            "objective_class": _one_case(self.cells.get("objective_class", "")) or None,
            "notes": "; ".join(self.notes) or None,
            **frames,
            **facs.columns(self.cells.get("action_units")),
        }

    def _frames(self) -> dict[str, int | None]:
        onset, apex, offset = (self.number(name) for name in ("onset", "apex", "offset"))
        for name, value in (("onset", onset), ("offset", offset)):
            if value is None and _is_number(self.cells.get(name, "")):
                raise MefusionError(f"its {name} {self.cells[name]} is no frame number")
        self.notes += [
            f"{name} '{self.cells.get(name, '')}' is no frame number: the clip's {end} frame is used"
            for name, value, end in (("onset", onset, "first"), ("offset", offset, "last"))
            if value is None
        ]
        if onset is not None and offset is not None and onset > offset:
            self.notes.append(f"onset {onset} is after offset {offset}")
        elif apex is None or (onset is not None and apex < onset) or (offset is not None and apex > offset):
            self.notes.append(
                f"apex '{self.cells.get('apex', '')}' is not in {onset}..{offset}: it is treated as unknown"
            )
            apex = None
        return {"onset": onset, "apex": apex, "offset": offset}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _one_case(name: str) -> str:
    """Write words in lower case and Roman numerals (`IV`) in upper case, since tables mix both."""
    return name.upper() if re.fullmatch("[IVX]+", name, re.IGNORECASE) else name.lower()
