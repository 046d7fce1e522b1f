"""CAS(ME)^3, part A: long videos in lettered folders, several expressions in each."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from imitations.plan import Imitation, Row, deal, draw_apex
from imitations.writing import number_or_text, write_workbook

TABLE = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
MACRO_TABLE = "cas(me)3_part_A_MaE_label_JpgIndex_v2_emotion.xlsx"
# Two versions of its columns.
MACRO_HEADERS = (
    ("sub", "seq", "onset", "apex", "offset", "au", "emotion"),
    ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "emotion"),
)
OLD_TABLE, OLD_ROWS = "cas(me)3_part_A_ME_label_JpgIndex_v1.xlsx", 921
HEADER = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
COUNTS = {
    **{"disgust": 250, "surprise": 187, "others": 161, "fear": 86},
    **{"anger": 64, "sad": 57, "happy": 55},
}
PAIRS = 463  # of subject and file
NUMBERS = (
    *(*range(1, 16), 17, *range(39, 43), 77, 138, 139, *range(142, 151), *range(152, 164)),
    *(*range(165, 191), *range(192, 199), *range(200, 205), *range(206, 218)),
)
SUBJECTS = [f"spNO.{number}" for number in NUMBERS]
ONLY = {f"spNO.{number}": ("others",) for number in (7, 17, 77, 155, 180, 204)}  # none in `three`
LETTERS = "abcdefghijklm"
APEX_AT_ONSET, SHORT_CLIPS, SHORT = 55, 18, 8
CAPITAL_OTHERS = 3  # rows that spell it `Others`
# subject, file, emotion, true onset, apex, offset, what the table says of them
PINNED: Sequence[tuple[str, str, str, int, int, int, dict[str, object]]] = (
    ("spNO.1", "a", "disgust", 160, 166, 174, {}),
    ("spNO.1", "a", "disgust", 355, 361, 369, {}),
    ("spNO.14", "j", "surprise", 210, 216, 225, {"clip": "J"}),
    ("spNO.40", "e", "disgust", 1812, 1829, 1845, {"offset": 0}),
    ("spNO.40", "e", "fear", 2327, 2371, 2403, {"offset": 0}),
    ("spNO.149", "d", "anger", 112, 160, 175, {"apex": 83}),
    ("spNO.214", "c", "sad", 5, 21, 34, {"offset": 3460}),
    ("spNO.216", "d", "surprise", 2647, 2670, 2694, {"onset": 3647}),
    ("spNO.216", "e", "surprise", 1, 1, 12, {"onset": 0, "apex": 0}),
)
UNITS = ("4", "R4", "L14", "1+2", "T23", "B25", "4+7", "L1+L2", "6+12", "R10", "14", "5", "4+L10", "20+25", "9+17")
OBJECTIVE = ("I", "II", "III", "IV", "V", "VI", "VII")


def full_plan(rng: np.random.Generator) -> list[Row]:
    """All 860 clips of 94 subjects."""
    pinned = [(subject, emotion) for subject, _, emotion, *_ in PINNED]
    each = [emotion for emotion in COUNTS if emotion != "others"]
    dealt = deal(COUNTS, SUBJECTS, rng, each=each, only=ONLY, pinned=pinned)
    files = _deal_files([subject for subject, _ in dealt], rng)
    at_onset = {int(i) for i in rng.choice(len(dealt), APEX_AT_ONSET - 1, replace=False)}  # spNO.216/e is one more
    short = {int(i) for i in rng.choice(len(dealt), SHORT_CLIPS, replace=False)}
    rows = [
        Row(subject, clip, emotion, onset, apex, offset, UNITS[i], cells)
        for i, (subject, clip, emotion, onset, apex, offset, cells) in enumerate(PINNED)
    ]
    ends = {(row.subject, row.clip): row.offset for row in rows}
    for i, ((subject, emotion), clip) in enumerate(zip(dealt, files, strict=True)):
        onset = ends.get((subject, clip), 0) + int(rng.integers(20, 300))
        offset = onset + int(rng.integers(4, SHORT) if i in short else rng.integers(SHORT, 21)) - 1
        apex = onset if i in at_onset else draw_apex(rng, onset, offset)
        rows.append(Row(subject, clip, emotion, onset, apex, offset, UNITS[i % len(UNITS)]))
        ends[(subject, clip)] = offset
    rows.sort(key=lambda row: (int(row.subject.removeprefix("spNO.")), row.clip, row.onset))
    return list(_dress(rows, rng))


def _dress(rows: Sequence[Row], rng: np.random.Generator) -> Iterator[Row]:
    """Objective classes, which agree little with the emotions, and three capital `Others`."""
    others = [i for i, row in enumerate(rows) if row.emotion == "others"]
    capital = {int(i) for i in rng.choice(others, CAPITAL_OTHERS, replace=False)}
    for i, row in enumerate(rows):
        cells = {"objective": str(rng.choice(OBJECTIVE)), **({"emotion": "Others"} if i in capital else {})}
        yield replace(row, cells={**cells, **row.cells})


def _deal_files(subjects: Sequence[str], rng: np.random.Generator) -> list[str]:
    """A letter for each clip, such that subjects and letters make `PAIRS` pairs with the pinned ones."""
    places = {subject: [i for i, other in enumerate(subjects) if other == subject] for subject in set(subjects)}
    pinned = {(subject, clip) for subject, clip, *_ in PINNED}
    free = {
        subject: [str(x) for x in rng.permutation(list(LETTERS)) if (subject, x) not in pinned] for subject in SUBJECTS
    }
    room = [s for s in SUBJECTS for _ in range(min(len(places[s]), len(free[s])) - 1)]
    more = [str(s) for s in rng.permutation(room)[: PAIRS - len(pinned) - len(SUBJECTS)]]
    letters = [""] * len(subjects)
    for subject in SUBJECTS:
        own = free[subject][: 1 + more.count(subject)]
        for turn, place in enumerate(places[subject]):
            letters[place] = own[turn % len(own)]
    return letters


def write_documents(folder: Path, plan: Sequence[Row], variant: str) -> None:
    """The table with two empty sheets, and its first version, which has more rows and other frames."""
    rows = [_cells(row) for row in plan]
    empty: dict[str, list[Sequence[object]]] = {"Sheet2": [], "Sheet3": []}
    if variant == "nested":
        folder = folder / "part_A/annotation"
    write_workbook(folder / TABLE, {"label": [HEADER, *rows], **empty})
    old = [(row[0], row[1], *(row[i] + 5 for i in (2, 3, 4)), *row[5:]) for row in rows]
    surplus = old[: OLD_ROWS - 860] if len(old) == 860 else old[:1]
    write_workbook(folder / OLD_TABLE, {"label": [HEADER, *old, *surplus], **empty})


def _cells(row: Row) -> tuple:
    return (
        *(row.subject, row.cell("clip"), row.cell("onset"), row.cell("apex"), row.cell("offset")),
        *(number_or_text(row.action_units), row.cells.get("objective"), row.cell("emotion")),
    )


def write_macro_table(folder: Path, rows: Sequence[Sequence[object]], *, header: int = 0) -> None:
    """The table of macro-expressions: subject, file, onset, apex, offset, action units, emotion."""
    write_workbook(folder / MACRO_TABLE, {"Sheet1": [MACRO_HEADERS[header], *rows]})


def frame_path(row: Row, number: int, variant: str) -> str:
    """`part_A` has the long videos, `nested` with all the doubled folders seen; `clip_pack` a folder a clip."""
    if variant == "clip_pack":
        # Most are spelt spNo; the one that begins with the missing frame 0 is spelt as in the table.
        onset = row.cell("onset")
        subject = row.subject if onset == 0 else row.subject.replace("spNO", "spNo")
        return f"Part_A_ME_clip/frame/{subject}_{row.cell('clip')}_{onset}/{number}.jpg"
    if variant == "nested":
        return f"part_A/data/part_A/{row.subject}/{row.subject}/{row.clip}/color/{number}.jpg"
    return f"part_A/{row.subject}/{row.clip}/color/{number}.jpg"


CAS_ME_3 = Imitation(
    full_plan=full_plan,
    write_documents=write_documents,
    frame_path=frame_path,
    variants=("part_A", "nested", "clip_pack"),
)
