"""Landmark files that are wrong, with faces=precomputed: the clip is named and left out."""

import numpy as np

from ..cases import Expected, table
from ..changes import array, both, cell, columns, cut, flip, put_folder, put_link, remove, write
from ..templates import FRAMES, OWN, face

PREPARE = " ".join(["mefusion-prepare", *OWN, "faces=precomputed workers=1"])
FILE, OTHER = "own/landmarks/s1_negative.npy", "own/landmarks/s1_negative.csv"
MANIFEST = "own/manifest.csv"
WHOLE = np.stack([face()] * FRAMES)


def with_value(value: float, place: object = (2, 40)) -> np.ndarray:
    """Landmarks with one point elsewhere."""
    changed = WHOLE.copy()
    changed[place] = value
    return changed


def openface(points: np.ndarray = WHOLE, *, success: int = 1, skip: tuple[int, ...] = (), first: int = 1) -> str:
    """A table of OpenFace."""
    names = [f"{axis}_{number}" for axis in "xy" for number in range(68)]
    lines = [", ".join(["frame", "success", *names])]
    for number, frame in enumerate(points, first):
        if number not in skip:
            lines.append(", ".join([str(number), str(success), *map(str, frame.T.ravel())]))
    return "\n".join(lines) + "\n"


ARRAYS = [
    ("no file", remove(FILE), "is not there"),
    ("empty", write(FILE, b""), "cannot be read"),
    ("text", write(FILE, "no array"), "cannot be read"),
    ("half a file", cut(FILE, 0.5), "cannot be read"),
    ("header alone", cut(FILE, 0.02), "cannot be read"),
    ("a flipped bit in the header", flip(FILE, 0.003), "s1_negative"),
    ("a folder", put_folder(FILE), "s1_negative"),
    ("a link to nothing", put_link(FILE, "nothing.npy"), "s1_negative"),
    ("pickled", array(FILE, np.array([{"a": 1}], dtype=object), allow_pickle=True), "cannot be read"),
    ("texts", array(FILE, np.full((FRAMES, 68, 2), "x")), "shape"),
    ("complex", array(FILE, WHOLE.astype(complex)), "complex"),
    ("booleans", array(FILE, WHOLE > 30), "bool"),
    ("one number", array(FILE, np.array(3.0)), "shape"),
    ("67 points", array(FILE, WHOLE[:, 1:]), "67"),
    ("49 points", array(FILE, WHOLE[:, :49]), "49"),
    ("3 axes", array(FILE, np.concatenate([WHOLE, WHOLE[..., :1]], axis=2)), "3"),
    ("2 dimensions", array(FILE, WHOLE.reshape(FRAMES, 136)), "136"),
    ("no frame", array(FILE, WHOLE[:0]), "0 frames"),
    ("one frame", array(FILE, WHOLE[:1]), "1 frames"),
    ("a frame less", array(FILE, WHOLE[:-1]), "5 frames"),
    ("a frame more", array(FILE, np.concatenate([WHOLE, WHOLE[:1]])), "7 frames"),
    ("all missing", array(FILE, np.full_like(WHOLE, np.nan)), "s1_negative"),
    ("all zero", array(FILE, np.zeros_like(WHOLE)), "s1_negative"),
    ("all at one place", array(FILE, np.full_like(WHOLE, 30.0)), "s1_negative"),
    ("an infinite point", array(FILE, with_value(np.inf)), "s1_negative"),
    ("a huge point", array(FILE, with_value(1e30)), "s1_negative"),
    ("huge", array(FILE, WHOLE * 1e6), "s1_negative"),
    ("tiny", array(FILE, WHOLE * 1e-9), "s1_negative"),
    ("outside the picture", array(FILE, WHOLE + 5000), "s1_negative"),
    ("another suffix", both(write("own/landmarks/a.pts", "1 2"), cell(MANIFEST, "landmarks", "landmarks/a.pts")), "a.pts"),
    ("no landmarks for a clip", cell(MANIFEST, "landmarks", ""), "no landmarks"),
]  # fmt: skip
REFUSED = [
    ("a link to itself", put_link(FILE, "s1_negative.npy"), "s1_negative", "no usable path"),
    ("a link outside", put_link(FILE, "/etc/hostname"), "s1_negative", "outside"),
]
LINES = openface().splitlines()
TABLES = [
    ("empty table", "", "cannot be read"),
    ("header alone", LINES[0] + "\n", "frames"),
    ("no column", "frame, success\n1, 1\n", "x_0"),
    ("a text", openface().replace("1, 1, ", "1, 1, abc, ", 1), "cannot be read"),
    ("an empty value", openface().replace("1, 1, 10.0", "1, 1, ", 1), "s1_negative"),
    ("a frame missing", openface(skip=(3,)), "after frame 2"),
    ("a frame twice", openface() + LINES[-1] + "\n", "after frame 6"),
    ("two faces", openface() + "\n".join(LINES[1:]) + "\n", "after frame"),
    ("a frame more", openface(np.concatenate([WHOLE, WHOLE[:1]])), "7 frames"),
    ("no success", openface(success=0), "s1_negative"),
    ("binary", "\0\1\2\3" * 50, "s1_negative"),
    ("half a line", openface()[:-200], "s1_negative"),
]
CASES = [
    *table("landmarks", "own", PREPARE, [(*row, "1 of 6 clips") for row in ARRAYS], expected=Expected.told),
    *table(
        "landmarks",
        "own",
        PREPARE,
        [
            (f"OpenFace: {name}", both(remove(FILE), write(OTHER, text), cell(MANIFEST, "landmarks", "landmarks/s1_negative.csv")), word, "1 of 6 clips")
            for name, text, word in TABLES
        ],
        expected=Expected.told,
    ),
    *table("landmarks", "own", PREPARE, REFUSED),
    *table("landmarks", "own", PREPARE, [("no landmarks at all", columns(MANIFEST, {"landmarks": ""}), "faces.folder")]),
    *table("landmarks", "own", f"{PREPARE} faces.folder=nowhere", [("no folder", None, "faces.folder=", "nowhere is no folder")]),
    *table("landmarks", "own", f"{PREPARE} faces.folder=own/manifest.csv", [("a file as folder", None, "faces.folder")]),
    *table("landmarks", "own", f"{PREPARE} faces.folder=own/videos", [("a folder without them", None, "6 of 6 clips", "is not there")], expected=Expected.told),
]  # fmt: skip
