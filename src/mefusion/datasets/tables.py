"""Reading annotation tables: cells as text, columns by name, known errors mended and told."""

import functools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mefusion.common.errors import MefusionError
from mefusion.datasets import facs

CORRECTIONS = Path(__file__).with_name("corrections.csv")
# Subjects are written in many ways, and in one way here, so that a clip has one name whatever copy it is from.
SUBJECT_NAMES = {
    "casme2": "sub{:02d}",
    "samm": "{:03d}",
    "smic": "s{}",
    "cas_me_2": "s{}",
    "cas_me_3": "spNO.{}",
}


def subject_name(dataset: str, text: str) -> str:
    """A subject's one name from `sub01`, `s1`, `s01`, `6` or `006`.

    Raises:
        MefusionError: the text does not end in a number.
    """
    number = re.search(r"(\d+)\s*$", text)
    if number is None:
        raise MefusionError(f"'{text}' is no subject of {dataset}: its subjects are numbered")
    return SUBJECT_NAMES[dataset].format(int(number[1]))


def read_sheets(path: Path) -> list[list[list[str]]]:
    """Rows of every sheet of a workbook, each a list of cells as text; empty rows are left out.

    Raises:
        MefusionError: the file is no whole workbook.
    """
    import openpyxl

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


def read_table(path: Path, columns: Mapping[str, str], *, sheet: int = 0) -> list[dict[str, str]]:
    """Rows of a sheet that has a header somewhere.

    Args:
        path: the workbook.
        columns: name in the header -> name in the result; compared without case and blanks. The header is the
            row with a cell `Subject`; rows without a value in the first two columns are left out.
        sheet: its number, since sheets are renamed.

    Raises:
        MefusionError: the file is no workbook, has no header or lacks a column.
    """
    sheets = read_sheets(path)
    rows = sheets[sheet] if sheet < len(sheets) else []
    headers = [number for number, row in enumerate(rows) if "subject" in map(_plain, row)]
    if not headers:
        raise MefusionError(
            f"{path} has no header: a row of its sheet {sheet + 1} must name the columns {', '.join(columns)}"
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


@dataclass
class Coding:
    """One row of an annotation table while it is read: its cells, and a note for each mend.

    Attributes:
        dataset, subject, clip_id: whose.
        cells: onset, apex, offset, emotion and perhaps action_units, objective_class; text as in the table.
        notes: what was mended.
    """

    dataset: str
    subject: str
    clip_id: str
    cells: dict[str, str]
    notes: list[str] = field(default_factory=list)

    def correct(self) -> None:
        """Mend the known errors of the table, where it still has them."""
        for row in _corrections().get((self.dataset, f"{self.subject}/{self.clip_id}"), ()):
            if self.cells.get(row["field"]) == row["old"]:
                self.cells[row["field"]] = row["new"]
                self.notes.append(f"{row['field']} {row['old']} corrected to {row['new']} ({row['reason']})")

    def number(self, name: str) -> int | None:
        """A cell's frame number, None where it holds none."""
        cell = self.cells.get(name, "")
        return int(cell) if re.fullmatch(r"\d{1,9}", cell) else None

    def frames(self) -> dict[str, int | None]:
        """Onset, apex and offset; an apex that is missing or outside is left open, with a note."""
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

    def row(self, *, path: Path, fps: float) -> dict[str, object]:
        """The clip table's row."""
        frames = self.frames()
        return {
            "dataset": self.dataset,
            "subject": f"{self.dataset}/{self.subject}",
            "clip_id": self.clip_id,
            "path": str(path),
            "emotion": self.cells["emotion"].lower() or None,
            "objective_class": _one_case(self.cells.get("objective_class", "")) or None,
            "fps": fps,
            "notes": "; ".join(self.notes) or None,
            **frames,
            **facs.columns(self.cells.get("action_units")),
        }


def _one_case(name: str) -> str:
    """Words in lower case, numerals (`IV`) in capitals, since tables mix both."""
    return name.upper() if re.fullmatch("[IVX]+", name, re.IGNORECASE) else name.lower()


@functools.cache
def _corrections() -> dict[tuple[str, str], Sequence[Mapping[str, str]]]:
    table = pd.read_csv(CORRECTIONS, dtype=str, keep_default_na=False)
    return {
        (str(dataset), str(clip)): rows.to_dict("records")
        for (dataset, clip), rows in table.groupby(["dataset", "clip"])
    }
