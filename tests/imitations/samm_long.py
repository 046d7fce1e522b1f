"""SAMM Long Videos: a table with remarks before its header, and recordings without folders of subjects."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imitations.writing import number_or_text, tiny_picture, write_picture, write_workbook

HEADER = (
    *("Subject", "Filename", "Inducement Code", "Onset", "Apex", "Offset", "Duration", "Type", "Action Units", "Notes"),
)
EXPLANATION = 9  # rows before the header


@dataclass(frozen=True)
class Coded:
    """A row of the table; the recording of `006_1_2` is `006_1`."""

    expression: str
    onset: float
    apex: float
    offset: float
    kind: str = "Micro - 1/2"
    action_units: str = "4+7"


def write_samm_long(
    folder: Path,
    rows: Sequence[Coded],
    recordings: dict[str, Sequence[int]],
    *,
    version: int = 3,
    digits: int = 4,
) -> None:
    """Write the download: its table, and the frames of each recording by their numbers."""
    cells = [
        (
            *((int(row.expression[:3]), "000"), row.expression, row.expression.split("_")[1]),
            *(row.onset, row.apex, row.offset, row.offset - row.onset + 1, row.kind),
            *(number_or_text(row.action_units), None),
        )
        for row in rows
    ]
    remarks = [(f"remark {number}",) for number in range(EXPLANATION)]
    table = folder / f"SAMM_LongVideos_V{version}_Release.xlsx"
    write_workbook(table, {"FACS_Movement_Only": [*remarks, HEADER, *cells]})
    for name, numbers in recordings.items():
        for number in numbers:
            path = folder / "SAMM_longvideos" / name / f"{name}_{number:0{digits}d}.jpg"
            write_picture(path, tiny_picture(), grey=True)
