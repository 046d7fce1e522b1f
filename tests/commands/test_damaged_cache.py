"""Prepared clips that were damaged, mixed up or edited: one sentence, never a traceback, never a silent result.

Another case is another line of a table.
"""

import functools
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from composed import experiment_of

from mefusion.clips.cache import load_arrays, read_header, save_arrays, save_clip
from mefusion.common.errors import MefusionError
from mefusion.configuration.composition import load_clips

PREPARE = "run mefusion-prepare"


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tiny cache that a test may damage."""
    folder = tmp_path / "synthetic" / tiny.cache.name
    shutil.copytree(tiny.cache, folder)
    return folder


@pytest.fixture(scope="module")
def load(tiny):
    """Load a cache as `mefusion-train` does, for a model."""

    @functools.cache
    def experiment(model):
        return experiment_of(*tiny.overrides, f"model={model}")

    def load(folder, model="mol_tiny"):
        plan = experiment(model)
        return load_clips(replace(plan, preparation=replace(plan.preparation, cache=folder)))

    return load


@pytest.fixture(scope="module")
def refusal(load):
    """The sentence that refuses a cache."""

    def refusal(folder, model="mol_tiny"):
        with pytest.raises(MefusionError) as error:
            load(folder, model)
        return checked(str(error.value))

    return refusal


def checked(sentence):
    assert "\n" not in sentence
    assert PREPARE in sentence
    return sentence


def first_file(folder):
    """File of the first clip of the index."""
    return sorted(folder.glob("clips/*/*/*.safetensors"))[0]


def test_an_undamaged_copy_is_read(folder, load):
    assert len(load(folder).index) == 6


# Damage to the bytes, which checksums show.


def flip(path, place):
    """Flip a bit of a file at a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 16
    path.write_bytes(content)


def flip_array(name):
    """Flip a bit amid an array of the first clip."""

    def damage(folder):
        path = first_file(folder)
        content, values = path.read_bytes(), load_arrays(path)[name].tobytes()
        place = content.index(values) + len(values) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])

    return damage


def put_folder(path):
    path.unlink()
    path.mkdir()


def swap(folder):
    one, other = sorted(folder.glob("clips/*/*/*.safetensors"))[:2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def edit_index(change):
    """Replace the index by what `change` makes of it."""

    def damage(folder):
        change(pd.read_parquet(folder / "index.parquet")).to_parquet(folder / "index.parquet")

    return damage


def without_index_checksum(folder):
    """Make the record of the source as version 0.1 wrote it."""
    source = folder / "source.txt"
    source.write_text(f"{source.read_text().split()[0]}\n")


def first_row(**values):
    """Set values of the first row."""

    def change(index):
        for name, value in values.items():
            index[name] = [value, *index[name][1:]]
        return index

    return change


def rename_checksums(folder):
    file = first_file(folder)
    file.write_bytes(file.read_bytes().replace(b"checksums", b"checksumt", 1))


def change_metadata(folder):
    """Another apex, in a header that is as long as before."""
    file = first_file(folder)
    content = file.read_bytes()
    key = content.index(b"apex_place")
    place = next(place for place in range(key, key + 40) if chr(content[place]).isdecimal())
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


BYTES = {  # what is damaged -> (how, what the sentence says)
    "a row lost from the index": (edit_index(lambda index: index.iloc[1:]), "is not as mefusion-prepare wrote it"),
    "rows of the index in another order": (
        edit_index(lambda index: index[::-1]),
        "is not as mefusion-prepare wrote it",
    ),
    "another emotion in the index": (edit_index(first_row(emotion="surprise")), "is not as mefusion-prepare wrote it"),
    "another apex in the index": (edit_index(first_row(apex_place=2)), "is not as mefusion-prepare wrote it"),
    "a bit of the index": (lambda folder: flip(folder / "index.parquet", 0.5), "is not as mefusion-prepare wrote it"),
    "two clips' files swapped": (swap, "it is another clip"),
    "a bit of the frames": (flip_array("frames"), "its frames is not what was written"),
    "a bit of the flow": (flip_array("flow"), "its flow is not what was written"),
    "a bit of the landmarks": (flip_array("landmarks"), "its landmarks is not what was written"),
    "a bit of the header": (lambda folder: flip(first_file(folder), 1e-5), "missing or damaged"),
    "a letter of the metadata": (change_metadata, "it does not say which clip it is"),
    "a letter of the name of the checksums": (rename_checksums, "it does not say which clip it is"),
    "half a file": (
        lambda folder: first_file(folder).write_bytes(first_file(folder).read_bytes()[:400_000]),
        "missing or damaged",
    ),
    "an empty file": (lambda folder: first_file(folder).write_bytes(b""), "missing or damaged"),
    "a missing file": (lambda folder: first_file(folder).unlink(), "missing or damaged"),
    "a folder in place of a file": (lambda folder: put_folder(first_file(folder)), "missing or damaged"),
}


@pytest.mark.parametrize("case", BYTES)
def test_damaged_bytes_are_found(folder, refusal, case):
    damage, part = BYTES[case]
    damage(folder)
    assert part in refusal(folder)


@pytest.mark.parametrize(("model", "name"), [("fdp_tiny", "frames_small"), ("ststnet", "onset_apex_flow")])
def test_a_model_s_own_arrays_are_compared(folder, load, refusal, model, name):
    flip_array(name)(folder)
    assert f"its {name} is not what was written" in refusal(folder, model)
    load(folder, "mol_tiny")  # which does not see them


# Files that are whole, but hold something else.


def written(change, **metadata):
    """Write the first clip's file with other arrays or metadata; checksums are right where `save_clip` writes it."""

    def damage(folder):
        path = first_file(folder)
        arrays = change(load_arrays(path))
        save_clip(path, {name: array for name, array in arrays.items() if array is not None}, described(path, metadata))

    return damage


def described(path, changes):
    both = {**read_header(path).metadata, **changes}
    return {name: value for name, value in both.items() if value is not None}


def without_checksums(change):
    """Write the first clip's file as version 0.1 did, with other arrays."""

    def damage(folder):
        path = first_file(folder)
        text = json.dumps(dict(read_header(path).metadata), sort_keys=True)
        save_arrays(path, change(load_arrays(path)), {"clip": text})

    return damage


def with_nan(name):
    def change(arrays):
        array = arrays[name].copy()
        array.flat[len(array.flat) // 2] = np.nan
        return arrays | {name: array}

    return change


FILES = {
    "frames of another size": (written(lambda a: a | {"frames": a["frames"][:, ::2, ::2]}), "its frames are U8 [8, 72"),
    "frames of another number": (written(lambda a: a | {"frames": a["frames"][:5]}), "its frames are U8 [5, 144, 144]"),
    "arrays of another number": (
        written(lambda a: a | {name: a[name][:-1] for name in ("frames", "frames_small", "landmarks", "flow")}),
        "its frames are U8 [7, 144, 144]",
    ),
    "frames of another type": (written(lambda a: a | {"frames": a["frames"].astype(np.int8)}), "are I8 [8, 144, 144]"),
    "frames in colour": (written(lambda a: a | {"frames": np.stack([a["frames"]] * 3, -1)}), "[8, 144, 144, 3]"),
    "small frames of another size": (
        written(lambda a: a | {"frames_small": a["frames_small"][:, :9, :9]}),
        "its frames_small are U8 [8, 9, 9]",
    ),
    "no frames": (written(lambda a: a | {"frames": None}), "it has no frames"),
    "no flow": (written(lambda a: a | {"flow": None}), "it has no flow"),
    "no landmarks": (written(lambda a: a | {"landmarks": None}), "it has no landmarks"),
    "no arrays": (written(lambda a: {}), "missing or damaged"),
    "67 landmarks": (written(lambda a: a | {"landmarks": a["landmarks"][:, 1:]}), "its landmarks are F32 [8, 67, 2]"),
    "flow of one direction": (written(lambda a: a | {"flow": a["flow"][:, :1]}), "its flow are F16 [7, 1, 144, 144]"),
    "a flow image": (written(lambda a: {"flow_image": np.zeros((3, 9, 9), np.uint8)}), "[3, 9, 9]"),
    "the content of another clip": (written(dict, content="5811bab328422c7b"), "it is another clip"),
    "another number of frames in its metadata": (written(dict, n_frames="8"), "it is another clip"),
    "frames that are no number": (written(dict, n_frames="many"), "how many frames"),
    "no metadata": (
        lambda folder: save_arrays(first_file(folder), load_arrays(first_file(folder)), {}),
        "does not say which clip it is",
    ),
    "metadata that are no JSON": (
        lambda folder: save_arrays(first_file(folder), load_arrays(first_file(folder)), {"clip": "{"}),
        "does not say which clip it is",
    ),
    "metadata that are a list": (
        lambda folder: save_arrays(first_file(folder), load_arrays(first_file(folder)), {"clip": "[1]"}),
        "does not say which clip it is",
    ),
    "nested metadata": (
        lambda folder: save_arrays(first_file(folder), load_arrays(first_file(folder)), {"clip": "[" * 99_999}),
        "does not say which clip it is",
    ),
    "flow that is not a number, of version 0.1": (
        without_checksums(with_nan("flow")),
        "its flow has values that are not finite",
    ),
    "landmarks that are not a number, of version 0.1": (
        without_checksums(with_nan("landmarks")),
        "its landmarks has values that are not finite",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_of_something_else_is_found(folder, refusal, case):
    damage, part = FILES[case]
    damage(folder)
    sentence = refusal(folder)
    assert part in sentence
    assert str(first_file(folder)) in sentence


# Indices and records that somebody made.


def write_over(name, content):
    """Write other bytes in place of a file; None puts a folder there."""

    def damage(folder):
        if content is None:
            put_folder(folder / name)
        else:
            (folder / name).write_bytes(content)

    return damage


def unrecorded(damage):
    """The same without a record."""

    def both(folder):
        (folder / "source.txt").unlink()
        damage(folder)

    return both


INDICES = {
    "the index is empty": (unrecorded(write_over("index.parquet", b"")), "is broken"),
    "the index is text": (unrecorded(write_over("index.parquet", b"clip_id,subject\n")), "is broken"),
    "the index is a folder": (write_over("index.parquet", None), "is broken"),
    "the index is cut": (unrecorded(write_over("index.parquet", b"PAR1" + bytes(99))), "is broken"),
    "source.txt is not text": (write_over("source.txt", b"\xff\xfe\x00\x93"), "source.txt is broken"),
    "source.txt is a folder": (write_over("source.txt", None), "source.txt is broken"),
    "source.txt is of another list": (write_over("source.txt", b"0" * 64), "has changed since it was prepared"),
}
ROWS = {
    "no clip": (lambda index: index.iloc[:0], "lists no clip"),
    "a clip twice": (lambda index: pd.concat([index, index.iloc[:1]]), "lists the clip synthetic/sub01/sub01_"),
    "stride 0": (first_row(stride=0), "with the stride 0"),
    "stride -1": (first_row(stride=-1), "with the stride -1"),
    "stride 99": (first_row(stride=99), "the index gives it the stride 99 in place of 1"),
    "stride as text": (
        lambda index: index.assign(stride=index["stride"].astype(str)),
        "column 'stride' that is no whole number",
    ),
    "a broken stride": (first_row(stride=1.5), "column 'stride' that is no whole number"),
    "a missing stride": (first_row(stride=None), "column 'stride' that is no whole number"),
    "apex 99": (first_row(apex_place=99), "the apex at 99, which cannot be"),
    "apex -1": (first_row(apex_place=-1), "the apex at -1, which cannot be"),
    "another apex": (first_row(apex_place=2), "it is another clip"),
    "no frames": (first_row(n_frames=0), "0 frames"),
    "other frames": (first_row(n_frames=88), "it is another clip"),
    "a missing subject": (first_row(subject=None), "column 'subject' that is no text"),
    "another file": (first_row(file="clips/synthetic/sub01/x.safetensors"), "missing or damaged"),
    "a file that is missing": (first_row(file=None), "column 'file' that is no text"),
    **{f"without {name}": (lambda index, name=name: index.drop(columns=name), f"has no column {name!r}") for name in (
        "subject", "clip_id", "dataset", "emotion", "notes", "file", "content", "n_frames", "stride", "apex_place",
    )},
}  # fmt: skip


@pytest.mark.parametrize("case", INDICES)
def test_an_index_or_record_that_is_none_is_one_sentence(folder, refusal, case):
    damage, part = INDICES[case]
    damage(folder)
    assert part in refusal(folder)


@pytest.mark.parametrize("case", ROWS)
def test_an_index_that_cannot_be_is_one_sentence(folder, refusal, case):
    change, part = ROWS[case]
    edit_index(change)(folder)
    without_index_checksum(folder)
    assert part in refusal(folder)


# What version 0.1 prepared.


def as_version_0_1(folder):
    for path in folder.glob("clips/*/*/*.safetensors"):
        text = json.dumps(dict(read_header(path).metadata), sort_keys=True)
        save_arrays(path, load_arrays(path), {"clip": text})
    without_index_checksum(folder)


def test_a_cache_without_checksums_is_read_as_it_was(folder, load):
    expected = load(folder)
    as_version_0_1(folder)
    found = load(folder)
    assert all(
        np.array_equal(mine[name], theirs[name])
        for mine, theirs in zip(found.arrays, expected.arrays, strict=True)
        for name in theirs
    )


def test_preparing_again_adds_the_checksums_and_computes_nothing(folder, tiny, command, tmp_path, monkeypatch):
    as_version_0_1(folder)
    monkeypatch.setattr("mefusion.preparation.clips.prepare_clip", None)
    monkeypatch.setattr("mefusion.datasets.synthetic.SyntheticSource.compare_with_truth", lambda *_: [])  # takes long
    done = command("mefusion-prepare", *tiny.overrides, f"cache_dir={tmp_path}", "workers=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for path in [*tiny.cache.rglob("*.safetensors"), tiny.cache / "index.parquet", tiny.cache / "source.txt"]:
        assert (folder / path.relative_to(tiny.cache)).read_bytes() == path.read_bytes()


def test_the_command_says_it_in_one_line_and_writes_no_study(folder, tiny, command, tmp_path):
    flip_array("flow")(folder)
    done = command("mefusion-train", *tiny.overrides, f"cache_dir={tmp_path}", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"mefusion-train: \S+ is damaged \(its flow is not .*", done.stderr.strip())
    assert not (tmp_path / "outputs").exists()
