"""MEGC 2019's composite of three datasets as folders of flow images."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from imitations.casme2 import APEX_IS_ONSET, CASME2, NO_APEX
from imitations.plan import Imitation, Row
from imitations.samm import SAMM
from imitations.smic import SMIC

LABELS = {"negative": 0, "positive": 1, "surprise": 2}
CLASS_OF = {
    **dict.fromkeys(("anger", "contempt", "disgust", "fear", "repression", "sadness", "negative"), "negative"),
    **{"happiness": "positive", "positive": "positive", "surprise": "surprise"},
}
LEFT_OUT = {  # MEGC leaves out the clips without a usable apex, and CASME II's few of sadness and fear
    "casme2": lambda row: (row.subject, row.clip) in NO_APEX | APEX_IS_ONSET or row.emotion in ("sadness", "fear"),
}
TABLE = "combined_3_class.csv"
BLANK = ("006_1_2", "EP02_01f", "s01_ne_03")  # and every third clip: a blank before .png


def composite_plan(rng: np.random.Generator) -> list[Row]:
    """The 442 clips of the composite, from three full plans; subjects as their own tables name them."""
    rows = []
    for name, layout in (("smic", SMIC), ("casme2", CASME2), ("samm", SAMM)):
        for row in layout.full_plan(rng):
            emotion = CLASS_OF.get(row.emotion.lower())
            if emotion and not LEFT_OUT.get(name, lambda _: False)(row):
                rows.append(replace(row, emotion=emotion, dataset=name))
    return rows


def _padded(name: str) -> str:
    """`s1_ne_01` as `s01_ne_01`."""
    subject, *rest = name.split("_")
    return "_".join([f"s{int(subject[1:]):02d}", *rest])


def full_plan(rng: np.random.Generator) -> list[Row]:
    """The composite with SMIC's names padded; a clip's one picture has its apex's number, or its middle's."""
    rows = []
    for row in composite_plan(rng):
        if row.dataset == "smic":
            row = replace(row, subject=_padded(row.subject), clip=_padded(row.clip))
        apex = (row.onset + row.offset) // 2 if row.apex is None else row.apex
        rows.append(replace(row, apex=apex))
    return rows


def write_documents(folder: Path, plan: Sequence[Row], variant: str) -> None:
    """The CSV beside the pictures, with a column of row numbers and more columns than are needed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / TABLE).open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["", "dataset", "sub", "filename_o", "apex", "label"])
        for i, row in enumerate(plan):
            writer.writerow([i, row.dataset or "casme2", row.subject, row.clip, row.apex, LABELS[row.emotion]])


def frame_path(row: Row, number: int, variant: str) -> str | None:
    """One picture a clip, with the number of its apex."""
    blank = " " if row.clip in BLANK or row.onset % 3 == 0 else ""
    return f"{row.subject}_{row.clip}{blank}.png" if number == row.apex else None


FLOW_IMAGES = Imitation(
    full_plan=full_plan,
    write_documents=write_documents,
    frame_path=frame_path,
)
