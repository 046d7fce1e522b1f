"""Writing the files of a fake download: spreadsheets and pictures."""

import functools
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

JPEG_QUALITY = 92
FORMATS = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}


def write_workbook(path: Path, sheets: Mapping[str, Iterable[Sequence[object]]]) -> None:
    """Write an xlsx file.

    Args:
        path: its folder is made where it is missing.
        sheets: name -> rows of cells. A cell (number, format) is a number that the spreadsheet shows
            otherwise, as 7 shown as 007.
    """
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for r, row in enumerate(rows, start=1):
            for c, value in enumerate(row, start=1):
                if isinstance(value, tuple):
                    sheet.cell(r, c, value[0]).number_format = value[1]
                elif value not in (None, ""):
                    sheet.cell(r, c, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def number_or_text(text: str) -> object:
    """A cell as a spreadsheet program keeps it: `4` becomes a number, `4+7` stays text."""
    return int(text) if text.isdigit() else text


def write_picture(path: Path, picture: np.ndarray, *, grey: bool = False) -> None:
    """Write a picture [H, W] or [H, W, 3] uint8 in the format that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encode(picture.tobytes(), picture.shape, path.suffix, grey))


@functools.lru_cache(maxsize=256)  # tiny pictures repeat, and encoding costs more than writing
def _encode(pixels: bytes, shape: tuple[int, ...], suffix: str, grey: bool) -> bytes:
    image = Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(shape))
    stream = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if suffix == ".jpg" else {}
    image.convert("L" if grey else "RGB").save(stream, FORMATS[suffix], **options)
    return stream.getvalue()


def tiny_picture() -> np.ndarray:
    """Flat grey, [8, 8, 3] uint8."""
    return np.full((8, 8, 3), 128, np.uint8)
