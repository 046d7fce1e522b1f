"""CASME II: one table, raw frames in a doubled folder, numbers not padded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imitations.plan import Imitation, Row, deal, draw_apex
from imitations.writing import number_or_text, write_workbook

TABLE = "CASME2-coding-20140508.xlsx"
HEADER = (
    *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None),
    *("Action Units", "Estimated Emotion"),
)
COUNTS = {
    **{"others": 99, "disgust": 63, "happiness": 32, "repression": 27},
    **{"surprise": 25, "sadness": 7, "fear": 2},
}
SUBJECTS = [f"sub{number:02d}" for number in range(1, 27)]
# Two subjects have no clip in MEGC's three classes, one of them none with sadness and fear either.
ONLY = {"sub10": ("others", "sadness"), "sub18": ("others",)}
# Clips known by name.
PINNED = {
    ("sub01", "EP02_01f"): "happiness",
    ("sub04", "EP12_01f"): "disgust",
    ("sub05", "EP09_05f"): "repression",
    ("sub05", "EP16_04f"): "others",
    ("sub07", "EP06_02_01"): "happiness",
    ("sub07", "EP06_02_02"): "others",
    ("sub09", "EP09f"): "others",
    ("sub10", "EP10_13"): "sadness",
    ("sub12", "EP09_06"): "others",
    ("sub16", "EP01_08"): "disgust",
    ("sub20", "EP16_01"): "others",
    ("sub25", "EP18_04f"): "others",
}
FIRST = (46, 59, 86)  # onset, apex and offset of sub01/EP02_01f
NO_APEX = {("sub04", "EP12_01f")}
APEX_IS_ONSET = {("sub05", "EP09_05f")}
APEX_IS_OFFSET = {("sub05", "EP16_04f"), ("sub12", "EP09_06"), ("sub20", "EP16_01"), ("sub25", "EP18_04f")}
ACTION_UNITS = ("4", "12", "4+7", "L14", "R12", "14", "4+L10", "6+12", "1+2", "L2+25", "17", "4+7+9", "R14+L14", "15")
UNKNOWN_UNITS = 5  # rows whose action units are `?`
INCOMPLETE = ("sub16", "EP01_08")  # in Cropped


def full_plan(rng: np.random.Generator) -> list[Row]:
    """All 255 clips of 26 subjects."""
    pinned = [(subject, emotion) for (subject, _), emotion in PINNED.items()]
    each = ("disgust", "happiness", "repression", "surprise")
    dealt = deal(COUNTS, SUBJECTS, rng, each=each, only=ONLY, pinned=pinned)
    emotions = dict(PINNED)
    for subject, emotion in dealt:
        emotions[(subject, _free_name(subject, set(emotions), rng))] = emotion
    lengths = _lengths(rng, len(emotions) - 1)
    unknown = {int(i) for i in rng.choice(np.arange(len(PINNED), len(emotions)), UNKNOWN_UNITS, replace=False)}
    rows = []
    for i, ((subject, clip), emotion) in enumerate(emotions.items()):
        units = "?" if i in unknown else ACTION_UNITS[i % len(ACTION_UNITS)]
        onset = FIRST[0] if i == 0 else int(rng.integers(1, 300))
        offset = FIRST[2] if i == 0 else onset + lengths[i - 1] - 1
        rows.append(_row(subject, clip, emotion, onset, offset, units, rng))
    return sorted(rows, key=lambda row: (row.subject, row.clip))


def _row(subject: str, clip: str, emotion: str, onset: int, offset: int, units: str, rng: np.random.Generator) -> Row:
    key, cells = (subject, clip), {}
    apex: int | None = FIRST[1] if onset == FIRST[0] and offset == FIRST[2] else draw_apex(rng, onset, offset)
    if key in NO_APEX:
        apex, cells = None, {"apex": "/"}
    elif key in APEX_IS_ONSET:
        apex = onset
    elif key in APEX_IS_OFFSET:
        apex = offset
    return Row(subject, clip, emotion, onset, apex, offset, units, cells)


def _free_name(subject: str, taken: set[tuple[str, str]], rng: np.random.Generator) -> str:
    """As `EP02_01f`; a subject has no two names that differ in the `f` alone."""
    while True:
        stem = f"EP{rng.integers(1, 20):02d}_{rng.integers(1, 20):02d}"
        if not taken & {(subject, stem), (subject, f"{stem}f")}:
            return stem + str(rng.choice(["", "f"]))


def _lengths(rng: np.random.Generator, count: int) -> list[int]:
    """24 to 141 frames with a median of 61, the 41 frames of sub01/EP02_01f counted."""
    half = count // 2
    low = [24, *rng.integers(24, 61, size=half - 2, endpoint=True)]
    high = [141, *rng.integers(61, 141, size=half - 1, endpoint=True)]
    return [int(length) for length in rng.permutation([*low, 61, *high])]


def write_documents(folder: Path, plan: Sequence[Row], variant: str) -> None:
    """The coding table."""
    rows = [
        (
            *(row.subject.removeprefix("sub"), row.clip, None),
            *(row.onset, row.cell("apex"), row.offset, None),
            *(number_or_text(row.action_units), row.emotion),
        )
        for row in plan
    ]
    write_workbook(folder / TABLE, {"Sheet1": [HEADER, *rows]})


def frame_path(row: Row, number: int, variant: str) -> str | None:
    """`raw` has its folder twice, `plain` once; `cropped` is the aligned copy that the owners give too."""
    if variant == "cropped":
        if (row.subject, row.clip) == INCOMPLETE and number > row.onset + row.length // 2:
            return None
        return f"Cropped-updated/Cropped/{row.subject}/{row.clip}/reg_img{number}.jpg"
    folder = "CASME2_RAW_selected/" * (2 if variant == "raw" else 1)
    return f"{folder}{row.subject}/{row.clip}/img{number}.jpg"


CASME2 = Imitation(
    full_plan=full_plan,
    write_documents=write_documents,
    frame_path=frame_path,
    variants=("raw", "plain", "cropped"),
)
