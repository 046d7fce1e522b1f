"""An official download (CASME II) that is damaged, as mefusion-check and mefusion-prepare find it."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from ..cases import Change, Expected, table
from ..changes import cut, find, flip, put_folder, put_link, remove, write

GIVEN = "data=casme2 data.root=download labels=five"
CHECK = f"mefusion-check {GIVEN} data.allow_partial=true"
PREPARE = f"mefusion-prepare {GIVEN} faces=none workers=1"
FILE = "download/*.xlsx"
FRAME = "download/*/*/sub01/*/img*.jpg"


def sheet(function: Callable[[Any], object]) -> Change:
    """Change the first sheet of the coding table, which the function gets as openpyxl has it."""

    def change(folder: Path) -> None:
        import openpyxl

        path = find(folder, FILE)
        book = openpyxl.load_workbook(BytesIO(path.read_bytes()))
        function(book.worksheets[0])
        path.unlink()
        book.save(path)

    return change


def cell(row: int, column: int, value: object) -> Change:
    """Change a cell, counted from 1; row 1 is the header."""

    def changed(page: Any) -> None:
        page.cell(row, column).value = value

    return sheet(changed)


SUBJECT, CLIP, ONSET, OFFSET, EMOTION = 1, 2, 3, 5, 7

TABLES = [
    ("no table", remove(FILE), "download"),
    ("an empty table", write(FILE, b""), ".xlsx"),
    ("a table of text", write(FILE, "Subject,Filename\n1,EP01\n"), ".xlsx"),
    ("half a table", cut(FILE, 0.5), ".xlsx"),
    ("a flipped bit in the table", flip(FILE, 0.5), ".xlsx"),
    ("a table that is a folder", put_folder(FILE), "download"),
    ("a table that is a link to nothing", put_link(FILE, "nothing.xlsx"), "download"),
    ("a table without rows", sheet(lambda page: page.delete_rows(2, 99)), ".xlsx"),
    ("a table without header", sheet(lambda page: page.delete_rows(1)), ".xlsx"),
    ("a table without cells", sheet(lambda page: page.delete_rows(1, 99)), ".xlsx"),
    ("no column of the emotion", cell(1, EMOTION, "Feeling"), "Emotion"),
    ("no column of the onset", cell(1, ONSET, None), "Onset"),
    ("an onset below 0", cell(2, ONSET, -5), "-5"),
    ("an onset with a fraction", cell(2, ONSET, 1.5), "1.5"),
    ("a huge offset", cell(2, OFFSET, 10**30), "download"),
    ("no emotion", cell(2, EMOTION, None), "sub01"),
    ("no clip", cell(2, CLIP, None), ".xlsx"),
    ("a clip twice", sheet(lambda page: page.append([value.value for value in page[2]])), "twice"),
    ("a clip outside", cell(2, CLIP, "../../../../etc"), "etc"),
    ("a subject that is text", cell(2, SUBJECT, "abc"), "abc"),
    ("no folder of the frames", remove("download/CASME2*selected"), "download"),
]
TOLD = [
    ("an onset that is text", cell(2, ONSET, "early"), "early"),
    ("a clip of another name", cell(2, CLIP, "EP99_99"), "EP99_99"),
]
FRAMES = [
    ("a clip's folder is gone", remove("download/*/*/sub01/*"), "sub01"),
    ("a clip's folder is empty", lambda folder: [path.unlink() for path in find(folder, "download/*/*/sub01/*").iterdir()], "sub01"),
    ("a frame is empty", write(FRAME, b""), "sub01"),
    ("a frame is cut", cut(FRAME, 0.5), "sub01"),
    ("a frame is text", write(FRAME, "no picture"), "sub01"),
    ("a frame is a link to nothing", put_link(FRAME, "nothing.jpg"), "sub01"),
]  # fmt: skip
CASES = [
    *table("downloads", "download", CHECK, TABLES),
    *table("downloads", "download", CHECK, [(f"check: {name}", *rest) for name, *rest in [*TOLD, *FRAMES]], expected=Expected.told),
    *table("downloads", "download", PREPARE, [(f"prepare: {name}", *rest) for name, *rest in TABLES]),
    *table("downloads", "download", PREPARE, [(f"prepare: {name}", *rest) for name, *rest in TOLD], expected=Expected.told),
    *table("downloads", "download", f"mefusion-train {GIVEN} faces=none model=majority", [("not prepared", None, "mefusion-prepare")]),
    *table("downloads", "download", "mefusion-check data=samm data.root=download labels=five", [("of another dataset", None, "download")]),
    *table("downloads", "download", f"mefusion-check {GIVEN}", [("incomplete", None, "see above")]),
]  # fmt: skip
