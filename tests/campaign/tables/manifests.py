"""Manifests that are wrong: mefusion-prepare refuses them, or names the clip that it leaves out."""

from ..cases import Expected, table
from ..changes import both, cell, columns, drop, edit, make_pipe, put_folder, put_link, remove, rewrite, rows, write
from ..templates import OWN

FILE = "own/manifest.csv"
PREPARE = " ".join(["mefusion-prepare", *OWN, "faces=none workers=1"])
CHECK = " ".join(["mefusion-check", *OWN, "faces=none"])
TRAIN = " ".join(["mefusion-train", *OWN, "faces=none model=majority"])

WRONG = [
    ("no file", remove(FILE), FILE),
    ("empty", write(FILE, ""), FILE),
    ("spaces", write(FILE, "  \n \n"), FILE),
    ("header alone", rows(FILE, lambda table: table.iloc[:0]), FILE, "no clip"),
    ("a folder", put_folder(FILE), FILE),
    ("a link to itself", put_link(FILE, "manifest.csv"), FILE),
    ("a link to nothing", put_link(FILE, "nothing.csv"), FILE),
    ("a device", put_link(FILE, "/dev/null"), FILE),
    ("zeros", write(FILE, bytes(1000)), FILE),
    ("random bytes", write(FILE, bytes(range(256)) * 4), FILE),
    ("UTF-16", rewrite(FILE, lambda content: content.decode().encode("utf-16")), FILE, "UTF-8"),
    ("Latin-1", rewrite(FILE, lambda content: content.replace(b"s1_", b"s\xe9_")), FILE, "UTF-8"),
    ("an Excel file", write(FILE, b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00"), FILE),
    ("JSON", write(FILE, '[{"clip_id": "a", "subject": "s1"}]\n'), FILE, "column"),
    ("semicolons", rewrite(FILE, lambda content: content.replace(b",", b";")), FILE, "column"),
    ("tabs", rewrite(FILE, lambda content: content.replace(b",", b"\t")), FILE, "column"),
    ("no header", rewrite(FILE, lambda content: content.split(b"\n", 1)[1]), FILE, "column"),
    ("an open quote", edit(FILE, "s1_negative", '"s1_negative'), FILE),
    ("a row too long", edit(FILE, "s1_negative", "s1_negative,x"), FILE, "more values"),
    ("a column twice", edit(FILE, "fps", "subject"), FILE, "subject"),
    *((f"no column {name}", drop(FILE, name), FILE, name) for name in ("clip_id", "subject", "path", "emotion")),
    *((f"an empty {name}", cell(FILE, name, ""), name) for name in ("clip_id", "subject", "path", "emotion")),
    *((f"a blank {name}", cell(FILE, name, "  "), name) for name in ("clip_id", "subject", "path", "emotion")),
    *((f"a NUL in {name}", cell(FILE, name, "a\0b"), FILE) for name in ("clip_id", "subject", "path", "landmarks")),
    ("a clip twice", rows(FILE, lambda table: table.iloc[[0, 0, 1, 2]]), "s1_negative", "twice"),
    ("a path outside", cell(FILE, "path", "../elsewhere"), "s1_negative", "outside"),
    ("an absolute path outside", cell(FILE, "path", "/etc"), "s1_negative", "outside"),
    ("a link outside", both(put_link("own/frames/s1/negative", "/etc"), cell(FILE, "fps", "25")), "outside"),
    ("a path of a link loop", both(put_link("own/loop", "loop"), cell(FILE, "path", "loop")), "loop"),
    ("a path that is too long", cell(FILE, "path", "a" * 5000), "s1_negative"),
    ("landmarks outside", cell(FILE, "landmarks", "../../landmarks.npy"), "s1_negative", "outside"),
    *(
        (f"{name} {value}", cell(FILE, name, value), name, "s1_negative")
        for name in ("onset", "apex", "offset")
        for value in ("-1", "1.5", "abc", "nan", "1e3", "0x10", "99999999999999999999")
    ),
    *((f"fps {value}", cell(FILE, "fps", value), "fps", "s1_negative") for value in ("-25", "abc", "inf", "1e999")),
]

LEFT_OUT = [
    ("offset before onset", both(cell(FILE, "onset", "5"), cell(FILE, "offset", "2")), "s1/negative", "onset 5"),
    ("onset after the last frame", both(cell(FILE, "onset", "50"), cell(FILE, "offset", "60")), "onset 50"),
    ("offset past the end", cell(FILE, "offset", "600"), "600"),
    ("apex outside", cell(FILE, "apex", "600"), "missing_apex"),
    ("a path that is not there", cell(FILE, "path", "frames/s9/none"), "frames/s9/none"),
    ("a path that is the folder", cell(FILE, "path", "."), "no numbered images"),
    ("a path that is the manifest", cell(FILE, "path", "manifest.csv"), "neither"),
    ("a path that is a pipe", both(write("own/pipe.avi", ""), make_pipe("own/pipe.avi"), cell(FILE, "path", "pipe.avi")), "pipe.avi"),
]  # fmt: skip

FOR_TRAINING = [
    ("one subject", columns(FILE, {"subject": "s1"}), "subject"),
    ("one class", columns(FILE, {"emotion": "positive"}), "negative"),
    ("no known emotion", columns(FILE, {"emotion": "boredom"}), "boredom"),
]

CASES = [
    *table("manifests", "own", PREPARE, WRONG),
    *table("manifests", "own", CHECK, [(f"check: {name}", *rest) for name, *rest in WRONG[:20]]),
    *table("manifests", "own", PREPARE, LEFT_OUT, expected=Expected.told),
    *table("manifests", "own", [PREPARE, TRAIN], FOR_TRAINING),
    *table(
        "manifests",
        "own",
        TRAIN,
        [("changed after preparing", edit(FILE, ",positive,", ",happiness,"), "changed", "mefusion-prepare")],
    ),
]
