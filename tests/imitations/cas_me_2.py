"""CAS(ME)^2: a table without a header, and two naming rules that lead to its long videos."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from imitations.plan import Imitation, Row, deal, draw_apex
from imitations.writing import number_or_text, write_workbook

TABLE = "CAS(ME)^2code_final.xlsx"
TABLE_UPDATED = "CAS(ME)^2code_final(Updated).xlsx"
NUMBERS = (15, 16, *range(19, 28), *range(29, 39), 40)  # indices 1 to 22 of the table
SUBJECTS = [f"s{number}" for number in NUMBERS]
MICRO_COUNTS = {"negative": 21, "positive": 8, "surprise": 9, "others": 19}
MACRO_COUNTS = {"negative": 25, "positive": 25, "others": 10}  # the official table has more of these
VIDEOS = {  # clip name before its number -> code and title of the long video
    "disgust1": ("0101", "disgustingteeth"),
    "disgust2": ("0102", "disgustingface"),
    "anger1": ("0401", "girlcrashing"),
    "anger2": ("0402", "beatingpregnantwoman"),
    "happy1": ("0502", "funnyerrors"),
    "happy2": ("0503", "unveil"),
    "happy3": ("0505", "funnyinnovations"),
    "happy4": ("0507", "climbingthewall"),
    "happy5": ("0508", "funnyfarting"),
}
FELT = {"disgust": "disgust", "anger": "anger", "happy": "happiness"}
MICRO, MACRO = "micro-expression", "macro-expression"
UNITS = ("4", "12", "4+7", "6+12", "L14", "R12", "14", "1+2", "9+10", "4+43")
PINNED = [  # subject, clip, emotion, type, onset, frames
    ("s15", "disgust1_1", "negative", MICRO, 1, 12),
    ("s15", "anger1_1", "negative", MICRO, 550, 13),
    ("s15", "anger1_1", "negative", MACRO, 600, 40),  # the same clip: only the onset tells them apart
]
OFFSET_0, APEX_0 = (4, 17, 31), (9, 40)  # micro-expressions, by their place in the table


def full_plan(rng: np.random.Generator) -> list[Row]:
    """57 micro-expressions and 60 macro-expressions of 22 subjects."""
    micro = deal(MICRO_COUNTS, SUBJECTS, rng, pinned=[(s, e) for s, _, e, kind, *_ in PINNED if kind == MICRO])
    macro = deal(MACRO_COUNTS, SUBJECTS, rng, pinned=[(s, e) for s, _, e, kind, *_ in PINNED if kind == MACRO])
    rows = [
        _row(subject, clip, emotion, kind, onset, length, UNITS[i], rng)
        for i, (subject, clip, emotion, kind, onset, length) in enumerate(PINNED)
    ]
    ends = {(row.subject, _video(row.clip)): (1, row.offset) for row in rows}  # number of clips, last frame
    dealt = [(pair, MICRO) for pair in micro] + [(pair, MACRO) for pair in macro]
    for i, ((subject, emotion), kind) in enumerate(dealt):
        video = str(rng.choice(_suited(emotion)))
        clips, end = ends.get((subject, video), (0, 0))
        clips += not clips or rng.random() < 0.8  # else it lies in the clip before it
        length = int(rng.integers(8, 16) if kind == MICRO else rng.integers(17, 80))
        onset = end + int(rng.integers(20, 200))
        rows.append(_row(subject, f"{video}_{clips}", emotion, kind, onset, length, UNITS[i % len(UNITS)], rng))
        ends[(subject, video)] = clips, rows[-1].offset
    return _with_zeros(sorted(rows, key=lambda row: (row.subject, row.clip, row.onset)))


def _row(
    subject: str, clip: str, emotion: str, kind: str, onset: int, length: int, units: str, rng: np.random.Generator
) -> Row:
    apex = draw_apex(rng, onset, onset + length - 1)
    return Row(subject, clip, emotion, onset, apex, onset + length - 1, units, {"type": kind})


def _with_zeros(rows: list[Row]) -> list[Row]:
    """Leave the offset or the apex of some micro-expressions uncoded, which the table writes as 0."""
    places = [i for i, row in enumerate(rows) if row.cells["type"] == MICRO]
    for place in OFFSET_0:
        row = rows[places[place]]
        assert row.apex is not None
        # It ends as far from the apex as it began, which is all that one can guess.
        rows[places[place]] = replace(row, offset=2 * row.apex - row.onset, cells={**row.cells, "offset": 0})
    for place in APEX_0:
        row = rows[places[place]]
        rows[places[place]] = replace(row, apex=None, cells={**row.cells, "apex": 0})
    return rows


def _suited(emotion: str) -> list[str]:
    """Videos that show an emotion."""
    kinds = {"positive": ("happy",), "negative": ("disgust", "anger")}.get(emotion, tuple(FELT))
    return [video for video in VIDEOS if video.startswith(kinds)]


def _video(clip: str) -> str:
    return clip.rsplit("_", 1)[0]


def write_documents(folder: Path, plan: Sequence[Row], variant: str) -> None:
    """The workbook: codes and two naming rules, no header anywhere."""
    codes = [
        (
            *(SUBJECTS.index(row.subject) + 1, row.clip, row.onset, row.cell("apex"), row.cell("offset")),
            *(number_or_text(row.action_units), row.emotion, row.cells.get("type", MICRO)),
            FELT[_video(row.clip).rstrip("0123456789")],
        )
        for row in plan
    ]
    rule1 = [(number, f"s{number}", index) for index, number in enumerate(NUMBERS, start=1)]
    rule2 = [((int(code), "0000"), video) for video, (code, _) in VIDEOS.items()]  # 401, shown as 0401
    name = TABLE_UPDATED if variant == "cropped" else TABLE
    write_workbook(folder / name, {"CASFEcode_final": codes, "naming rule1": rule1, "naming rule2": rule2})


def frame_path(row: Row, number: int, variant: str) -> str:
    """`rawpic` has the long videos, `selectedpic` and `cropped` a folder a clip."""
    if variant == "rawpic":
        code, title = VIDEOS[_video(row.clip)]
        return f"rawpic/{row.subject}/{row.subject.removeprefix('s')}_{code}{title}/img{number:03d}.jpg"
    subject = row.subject if variant == "selectedpic" else row.subject.removeprefix("s")
    return f"{variant}/{subject}/{row.clip}/img{number}.jpg"


CAS_ME_2 = Imitation(
    full_plan=full_plan,
    write_documents=write_documents,
    frame_path=frame_path,
    variants=("selectedpic", "rawpic", "cropped"),
)
