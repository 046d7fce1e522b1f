"""Prepared clips that are damaged: mefusion-train refuses them, mefusion-prepare makes them anew."""

import numpy as np

from ..cases import Expected, table
from ..changes import arrays, both, cell, cut, flip, put_folder, put_link, remove, rows, swap, write
from ..templates import DATA, SMALL

TRAIN = " ".join(["mefusion-train", *DATA, *SMALL, "protocol.folds=[sub01]"])
MAJORITY = " ".join(["mefusion-train", *DATA, "model=majority"])
FDP = " ".join(["mefusion-train", *DATA, "trainer=smoke model=fdp_tiny protocol.folds=[sub01]"])
PREPARE = " ".join(["mefusion-prepare", *DATA, "workers=1"])
INDEX, SOURCE = "cache/*/*/index.parquet", "cache/*/*/source.txt"
CLIP = "cache/*/*/clips/*/*/*.safetensors"


def changed(name, function):
    """Change one array of the first clip; its checksum, if it has one, no longer fits."""
    return arrays(CLIP, lambda held: {name: function(held[name].copy())})


def set_first(value):
    """Set the first value of an array."""

    def change(array: np.ndarray) -> np.ndarray:
        array.flat[0] = value
        return array

    return change


FILES = [
    ("a file is gone", remove(CLIP), ".safetensors"),
    ("a file is empty", write(CLIP, b""), ".safetensors"),
    ("a file is text", write(CLIP, "text"), ".safetensors"),
    ("a file is zeros", write(CLIP, bytes(10**6)), ".safetensors"),
    ("half a file", cut(CLIP, 0.5), ".safetensors"),
    ("a file without its last byte", cut(CLIP, 0.999999), ".safetensors"),
    ("a file is a folder", put_folder(CLIP), ".safetensors"),
    ("a file is a link to nothing", put_link(CLIP, "nothing"), ".safetensors"),
    ("a file is a link to itself", put_link(CLIP, "sub01_negative_01.safetensors"), ".safetensors"),
    ("a huge header", write(CLIP, (2**60).to_bytes(8, "little") + b"{}"), ".safetensors"),
    ("a header that is no JSON", write(CLIP, (4).to_bytes(8, "little") + b"nono"), ".safetensors"),
    *((f"a bit at {share:.3%}", flip(CLIP, share), ".safetensors") for share in (0.0, 1e-5, 1e-4, 0.1, 0.3, 0.5)),
    ("two clips swapped", swap(CLIP, 0, 1), ".safetensors"),
    ("two subjects swapped", swap(CLIP, 0, 3), ".safetensors"),
    ("the folder is gone", remove("cache/*/*/clips"), ".safetensors"),
]
ARRAYS = [
    ("flow nan", changed("flow", set_first(np.nan)), "flow"),
    ("flow all nan", changed("flow", lambda array: array * np.nan), "flow"),
    ("flow infinite", changed("flow", set_first(np.inf)), "flow"),
    ("flow of another number", changed("flow", lambda array: array[:-1]), "flow"),
    ("flow of another size", changed("flow", lambda array: array[..., ::2, ::2]), "flow"),
    ("flow of one direction", changed("flow", lambda array: array[:, :1]), "flow"),
    ("flow as whole numbers", changed("flow", lambda array: array.astype(np.int32)), "flow"),
    ("flow of other values", changed("flow", lambda array: array + 1), "flow"),
    ("landmarks nan", changed("landmarks", set_first(np.nan)), "landmarks"),
    ("67 landmarks", changed("landmarks", lambda array: array[:, 1:]), "landmarks"),
    ("landmarks of another number", changed("landmarks", lambda array: array[:-1]), "landmarks"),
    ("landmarks in 3D", changed("landmarks", lambda array: np.concatenate([array, array[..., :1]], 2)), "landmarks"),
    ("landmarks moved", changed("landmarks", lambda array: array + 9), "landmarks"),
    ("frames of another size", changed("frames", lambda array: array[:, ::2, ::2]), "frames"),
    ("frames of another number", changed("frames", lambda array: array[:4]), "frames"),
    ("one frame", changed("frames", lambda array: array[:1]), "frames"),
    ("no frame", changed("frames", lambda array: array[:0]), "frames"),
    ("frames in colour", changed("frames", lambda array: np.stack([array] * 3, -1)), "frames"),
    ("frames as floats", changed("frames", lambda array: array.astype(np.float32)), "frames"),
    ("a pixel changed", changed("frames", set_first(7)), "frames"),
    ("frames mirrored", changed("frames", lambda array: array[..., ::-1]), "frames"),
    *((f"no {name}", arrays(CLIP, lambda held, name=name: {name: None}), name) for name in ("frames", "flow", "landmarks")),
    ("no array", arrays(CLIP, lambda held: dict.fromkeys(held)), ".safetensors"),
    ("a flow image alone", arrays(CLIP, lambda held: {**dict.fromkeys(held), "flow_image": np.zeros((3, 28, 28), np.uint8)}), ".safetensors"),
]  # fmt: skip
DESCRIPTIONS = [
    ("no description", arrays(CLIP, dict, text=""), ".safetensors"),
    ("a description that is no JSON", arrays(CLIP, dict, text="{"), ".safetensors"),
    ("a description that is a list", arrays(CLIP, dict, text="[1]"), ".safetensors"),
    ("a nested description", arrays(CLIP, dict, text="[" * 99_999), ".safetensors"),
    ("the content of another clip", arrays(CLIP, dict, clip={"content": "5811bab328422c7b"}), ".safetensors"),
    ("another number of frames", arrays(CLIP, dict, clip={"n_frames": "88"}), ".safetensors"),
    ("a number of frames that is text", arrays(CLIP, dict, clip={"n_frames": "many"}), ".safetensors"),
]
INDICES = [
    ("no index", remove(INDEX), "mefusion-prepare"),
    ("the index is empty", write(INDEX, b""), "index.parquet"),
    ("the index is text", write(INDEX, "clip_id,subject\n"), "index.parquet"),
    ("the index is zeros", write(INDEX, bytes(1000)), "index.parquet"),
    ("the index is a folder", put_folder(INDEX), "index.parquet"),
    ("half the index", cut(INDEX, 0.5), "index.parquet"),
    *((f"a bit of the index at {share:.0%}", flip(INDEX, share), "index.parquet") for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
    ("source.txt is binary", write(SOURCE, bytes(range(128, 256))), "source.txt"),
    ("source.txt is a folder", put_folder(SOURCE), "source.txt"),
    ("source.txt of another list", write(SOURCE, "0" * 64 + "\n"), "changed"),
]  # fmt: skip
ROWS = [
    ("no clip", lambda index: index.iloc[:0]),
    ("a clip lost", lambda index: index.iloc[1:]),
    ("a subject lost", lambda index: index[index["subject"] == "synthetic/sub01"]),
    ("a clip twice", lambda index: index.iloc[[0, *range(len(index))]]),
    *((f"no {name}", lambda index, name=name: index.drop(columns=name)) for name in ("subject", "clip_id", "dataset", "emotion", "file", "content", "n_frames", "stride", "apex_place", "apex_from")),
]  # fmt: skip
CELLS = [
    *(("stride", value) for value in (0, -1, 99, 1.5, "1", None)),
    *(("n_frames", value) for value in (0, -1, 88, 1.5, "8", None)),
    *(("apex_place", value) for value in (99, -1, 2.5, "3", None)),
    *(("file", value) for value in ("clips/nothing.safetensors", "../../../x", "", None, 3)),
    *(("subject", value) for value in ("", None, 3)),
    *(("emotion", value) for value in ("positive", "boredom", "", None)),
    *(("content", value) for value in ("0" * 16, "", None)),
]
MENDED = [
    ("a file is gone", remove(CLIP)),
    ("half a file", cut(CLIP, 0.5)),
    ("a flipped bit", flip(CLIP, 0.5)),
    ("two clips swapped", swap(CLIP, 0, 1)),
    ("no flow", arrays(CLIP, lambda held: {"flow": None})),
    ("flow nan", changed("flow", set_first(np.nan))),
    ("the index is empty", write(INDEX, b"")),
    ("a clip lost", rows(INDEX, lambda index: index.iloc[1:])),
    ("source.txt is binary", write(SOURCE, bytes(range(128, 256)))),
    ("an old temporary file", write("cache/synthetic/.index.parquet-0123abcd", b"x")),
]
CASES = [
    *table("caches", "prepared", TRAIN, [*FILES, *ARRAYS, *DESCRIPTIONS, *INDICES]),
    *table("caches", "prepared", TRAIN, [(f"index: {name}", rows(INDEX, change), "index.parquet") for name, change in ROWS]),
    *table("caches", "prepared", TRAIN, [(f"index: {column} {value!r}", cell(INDEX, column, value), "index.parquet") for column, value in CELLS]),
    *table("caches", "prepared", TRAIN, [(f"index without record: {column} {value!r}", both(remove(SOURCE), cell(INDEX, column, value)), column if isinstance(value, str | None) else "sub01") for column, value in CELLS if column in ("stride", "n_frames", "apex_place")]),
    *table("caches", "prepared", MAJORITY, [(f"majority: {name}", *rest) for name, *rest in [*FILES[:6], INDICES[1]]]),
    *table("caches", "prepared", FDP, [("fdp: small frames gone", arrays(CLIP, lambda held: {"frames_small": None}), "frames_small"), ("fdp: small frames of another size", changed("frames_small", lambda array: array[:, ::2, ::2]), "frames_small")]),
    *table("caches", "prepared", [PREPARE, MAJORITY], [(f"mended: {name}", change, "pooled over 6 clips") for name, change in MENDED], expected=Expected.works),
    *table("caches", "prepared", MAJORITY, [("no record, as of version 0.1", remove(SOURCE), "pooled over 6 clips")], expected=Expected.works),
]  # fmt: skip
