"""SMIC (HS, VIS, NIR): no table; labels in the names of folders and clips."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from imitations.plan import Imitation, Row, deal, draw_lengths
from imitations.writing import tiny_picture, write_picture

SHORT = {"negative": "ne", "positive": "po", "surprise": "sur"}
HS_COUNTS = {"negative": 70, "positive": 51, "surprise": 43}
HS_CLIPS = {
    **{"s1": 6, "s2": 6, "s3": 39, "s4": 19, "s5": 2, "s6": 4, "s8": 13, "s9": 4},
    **{"s11": 7, "s12": 9, "s13": 10, "s14": 10, "s15": 4, "s18": 7, "s19": 2, "s20": 22},
}
# VIS and NIR show 71 clips of the last eight subjects; how the classes share them is a guess.
OTHER_COUNTS = {"negative": 28, "positive": 23, "surprise": 20}
OTHER_SUBJECTS = [subject for subject in HS_CLIPS if int(subject[1:]) > 10]
PINNED = [("s1", "negative")] * 3 + [("s18", "surprise")] * 3  # s1_ne_01 to 03, s18_sur_03
NOT_CROPPED = "s18_sur_03"  # the cropped set lacks this clip
GAPS = ("_ne_04", "_po_04", "_sur_04")  # and a frame of these


def hs_plan(rng: np.random.Generator) -> list[Row]:
    """All 164 clips of the high-speed camera, with the known number for each of 16 subjects."""
    left = [
        subject for subject, count in HS_CLIPS.items() for _ in range(count - [s for s, _ in PINNED].count(subject))
    ]
    emotions = [
        emotion for emotion, count in HS_COUNTS.items() for _ in range(count - [e for _, e in PINNED].count(emotion))
    ]
    pairs = PINNED + [(subject, str(emotion)) for subject, emotion in zip(left, rng.permutation(emotions), strict=True)]
    return _number(pairs, draw_lengths(rng, len(pairs), 16, 58), rng)


def other_plan(rng: np.random.Generator) -> list[Row]:
    """All 71 clips of the VIS or the NIR camera, 25 frames a second."""
    pairs = deal(OTHER_COUNTS, OTHER_SUBJECTS, rng)
    return _number(pairs, draw_lengths(rng, len(pairs), 6, 14), rng)


def _number(pairs: Sequence[tuple[str, str]], lengths: Sequence[int], rng: np.random.Generator) -> list[Row]:
    rows, seen = [], dict.fromkeys(pairs, 0)
    for (subject, emotion), length in zip(pairs, lengths, strict=True):
        seen[(subject, emotion)] += 1
        onset = int(rng.integers(1_000, 100_000))
        clip = f"{subject}_{SHORT[emotion]}_{seen[(subject, emotion)]:02d}"
        rows.append(Row(subject, clip, emotion, onset, None, onset + length - 1))
    return sorted(rows, key=lambda row: (int(row.subject[1:]), row.clip))


def write_documents(folder: Path, plan: Sequence[Row], variant: str, *, camera: str) -> None:
    """No table: only the clips without an expression, which lie beside those with one."""
    for subject in dict.fromkeys(row.subject for row in plan) if variant == "raw" else ():
        clip = folder / f"SMIC_all_raw/{camera}/{subject}/non_micro/{subject}_non_01"
        for number in range(500, 503):
            write_picture(clip / f"image{number:06d}.jpg", tiny_picture())


def frame_path(row: Row, number: int, variant: str, *, camera: str) -> str | None:
    """Numbers of the raw frames have 6 to 8 digits, one width a subject."""
    where = f"{camera}/{row.subject}/micro/{row.emotion}/{row.clip}"
    width = 6 + (int(row.subject[1:]) + 2) % 3  # 6 for s1
    if variant == "raw":
        return f"SMIC_all_raw/{where}/image{number:0{width}d}.jpg"
    if row.clip == NOT_CROPPED or (row.clip.endswith(GAPS) and number == row.onset + 2):
        return None
    return f"SMIC_all_cropped/{where}/reg_image{number:0{width}d}.bmp"


SMIC = Imitation(
    full_plan=hs_plan,
    write_documents=partial(write_documents, camera="HS"),
    frame_path=partial(frame_path, camera="HS"),
    variants=("raw", "cropped"),
)
SMIC_VIS, SMIC_NIR = (
    Imitation(
        full_plan=other_plan,
        write_documents=partial(write_documents, camera=camera),
        frame_path=partial(frame_path, camera=camera),
        variants=("raw", "cropped"),
    )
    for camera in ("VIS", "NIR")
)
