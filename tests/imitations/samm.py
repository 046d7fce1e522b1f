"""SAMM: an explanation before the table's header, grey frames named by subject and number."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from imitations.plan import Imitation, Row, deal, draw_apex, draw_lengths
from imitations.writing import number_or_text, write_workbook

TABLE = "SAMM_Micro_FACS_Codes_v2.xlsx"
HEADER = (
    *("Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration"),
    *("Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes"),
)
EXPLANATION = (  # 13 lines, so that the header is in row 13 counted from 0
    "SAMM micro-movements coded with the Facial Action Coding System",
    None,
    "Subject: number of the participant",
    "Filename: subject, stimulus and number of the movement",
    "Inducement Code: which stimulus was shown",
    "Onset Frame, Apex Frame, Offset Frame: numbers of frames at 200 frames a second",
    "Duration: frames from onset to offset, both counted",
    "Micro: length of the movement",
    "Action Units: as coded, with side and intensity",
    "Estimated Emotion: from stimulus, self-report and coding",
    "Objective Classes: from the action units alone",
    None,
    None,
)
COUNTS = {
    **{"Anger": 57, "Other": 26, "Happiness": 26, "Surprise": 15},
    **{"Contempt": 12, "Disgust": 9, "Fear": 8, "Sadness": 6},
}
CLASSES = {"Happiness": 1, "Surprise": 2, "Anger": 3, "Disgust": 4, "Sadness": 5, "Fear": 6, "Contempt": 7, "Other": 7}
NUMBERS = (6, 7, *range(9, 27), 28, *range(30, 38))
SUBJECTS = [f"{number:03d}" for number in NUMBERS]
# Two subjects have no clip in `five`, one none in `three`.
RARE = ("Disgust", "Fear", "Sadness")
ONLY = {"024": RARE, "036": RARE, "025": ("Other",)}
PINNED = {
    ("006", "006_1_2"): "Anger",
    ("006", "006_2_4"): "Happiness",
    ("028", "028_4_1"): "Surprise",
    ("032", "032_3_1"): "Anger",
}
ONSETS = {"006_1_2": 5562, "006_2_4": 180}
APEX_OUTSIDE = {"028_4_1": -4, "032_3_1": 7}  # by how many frames, before the onset or after the offset
OTHERS = "Others"  # how some tables spell `Other`
ODD_UNITS = (
    *("10A/B", "(R6 or R12)+R15", "(R6 or R12) + R15", "ref(7B)+43", "4+6+7+9+43E", "R14+17+soft focus"),
    *("R14A or 17A or 24A", "L12 + 61", "A/L12", "T23", "B25", "A1B+A2C", "4 + 7 ", "12 ", " 14"),
)
UNITS = ("4", "12", "4+7", "L14", "R12B", "14", "6+12", "1+2", "24", "L10+L12", "15C+17", "43", "7B", "1A+2B+5A")
SHOWN_AS_TEXT_BUT_NUMBERS = {"007"}  # their subject cells hold the number 7 in the format 000


def full_plan(rng: np.random.Generator) -> list[Row]:
    """All 159 clips of 29 subjects."""
    pinned = [(subject, emotion) for (subject, _), emotion in PINNED.items()]
    each = ("Anger", "Happiness", "Surprise", "Contempt")
    emotions = dict(PINNED)
    for subject, emotion in deal(COUNTS, SUBJECTS, rng, each=each, only=ONLY, pinned=pinned):
        emotions[(subject, _free_name(subject, {clip for _, clip in emotions}, rng))] = emotion
    lengths = draw_lengths(rng, len(emotions), 30, 101)
    units = (*UNITS[: len(PINNED)], *ODD_UNITS, *UNITS * 20)  # the odd ones each once, the others in turn
    rows = []
    for (subject, clip), emotion, length, text in zip(emotions, emotions.values(), lengths, units, strict=False):
        onset = ONSETS.get(clip, int(rng.integers(1, 9000)))
        offset = onset + length - 1
        rows.append(Row(subject, clip, emotion, onset, draw_apex(rng, onset, offset), offset, text, _cells(clip)))
    return _spell_others([_mistake_apex(row) for row in sorted(rows, key=lambda row: row.clip)])


def _cells(clip: str) -> dict[str, object]:
    return {"Notes": "head moves"} if clip.endswith("_2") else {}


def _mistake_apex(row: Row) -> Row:
    shift = APEX_OUTSIDE.get(row.clip, 0)
    edge = row.onset if shift < 0 else row.offset
    return replace(row, apex=None, cells={**row.cells, "apex": edge + shift}) if shift else row


def _spell_others(rows: list[Row]) -> list[Row]:
    last = max(i for i, row in enumerate(rows) if row.emotion == "Other")
    return [replace(row, cells={**row.cells, "emotion": OTHERS}) if i == last else row for i, row in enumerate(rows)]


def _free_name(subject: str, taken: set[str], rng: np.random.Generator) -> str:
    while True:
        name = f"{subject}_{rng.integers(1, 8)}_{rng.integers(1, 10)}"
        if name not in taken:
            return name


def write_documents(folder: Path, plan: Sequence[Row], variant: str) -> None:
    """The coding table: `raw` with the explanation before its header, `plain` without."""
    rows = [
        (
            *(_subject_cell(row.subject), row.clip, f"{row.clip.split('_')[1]}"),
            *(row.onset, row.cell("apex"), row.offset, row.length, "Micro - 1/2"),
            *(number_or_text(row.action_units), row.cell("emotion"), CLASSES[row.emotion], row.cells.get("Notes")),
        )
        for row in plan
    ]
    explanation = [(line,) for line in EXPLANATION] if variant == "raw" else []
    write_workbook(folder / TABLE, {"MICRO_ONLY": [*explanation, HEADER, *rows]})


def _subject_cell(subject: str) -> object:
    return (int(subject), "000") if subject in SHOWN_AS_TEXT_BUT_NUMBERS else subject


def frame_path(row: Row, number: int, variant: str) -> str:
    """Numbers have four or five digits, one width a source video."""
    subject, video, _ = row.clip.split("_")
    width = 5 if (int(subject) + int(video)) % 2 else 4
    return f"SAMM/{row.subject}/{row.clip}/{row.subject}_{number:0{width}d}.jpg"


SAMM = Imitation(
    full_plan=full_plan,
    write_documents=write_documents,
    frame_path=frame_path,
    variants=("raw", "plain"),
    grey=True,
)
