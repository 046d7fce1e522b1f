"""mefusion-prepare as a user runs it: killed, twice at once, and on data that need no faces."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from imitations import write_small

from mefusion.clips.cache import load_arrays

PROGRAM = [str(Path(sys.executable).parent / "mefusion-prepare")]
SMALL = ("data.subjects=1", "data.clips_per_class=1", "data.frames=[4,4]", "clip_length=2", "workers=1")
TINY_MODEL = ("trainer=smoke", "model.network.image_size=64", "model.network.width=0.0625")


def prepared(cache):
    """Content of every file of a cache, but for what a killed process left; the index is the last to be written."""
    (index,) = cache.glob("*/*/index.parquet")
    files = [path for path in index.parent.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(cache)): path.read_bytes() for path in files}


def started(arguments, cwd):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*PROGRAM, *arguments], cwd=cwd, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_killed_prepare_goes_on_and_ends_as_an_uninterrupted_one(command, tmp_path):
    arguments = [*SMALL, f"data.root={tmp_path / 'data'}", f"cache_dir={tmp_path / 'cache'}"]
    process = started(arguments, tmp_path)
    while len(done := list(tmp_path.rglob("*.safetensors"))) < 1:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)  # its worker ends by itself
    done = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*.safetensors")}
    assert 1 <= len(done) < 3
    assert not list(tmp_path.rglob("index.parquet"))
    run(command, "mefusion-prepare", *arguments, cwd=tmp_path)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in done} == done
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    run(command, "mefusion-prepare", *arguments, f"cache_dir={tmp_path / 'once'}", cwd=tmp_path)
    assert prepared(tmp_path / "cache") == prepared(tmp_path / "once")


@pytest.mark.slow
def test_two_at_once_make_one_cache(command, tmp_path):
    # Each renders the set too.
    arguments = [*SMALL, f"data.root={tmp_path / 'data'}", f"cache_dir={tmp_path / 'cache'}"]
    both = [started(arguments, tmp_path) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    run(command, "mefusion-prepare", *arguments, f"cache_dir={tmp_path / 'once'}", cwd=tmp_path)
    assert prepared(tmp_path / "cache") == prepared(tmp_path / "once")
    assert not list(tmp_path.rglob(".*"))  # nothing unfinished is left


def run(command, program, *arguments, cwd):
    done = command(program, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def refused(command, program, *arguments, cwd):
    done = command(program, *arguments, cwd=cwd)
    assert done.returncode == 1
    (sentence,) = done.stderr.strip().splitlines()
    return sentence


# Flow images.


@pytest.fixture(scope="module")
def flow_images(tmp_path_factory, command):
    """A prepared folder of flow images: where it is run, its overrides, its pictures by clip."""
    folder = tmp_path_factory.mktemp("flow")
    rng, pictures = np.random.default_rng(0), {}

    def picture(row, number):
        pictures[f"casme2/{row.subject}", row.clip] = rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)
        return pictures[f"casme2/{row.subject}", row.clip]

    write_small("flow_images", folder / "new", picture, subjects=2, clips_per_class=1)
    overrides = ["data=flow_images", "data.root=new", "data.allow_partial=true", "workers=1"]
    assert "6 of 6 clips of 2 subjects" in run(command, "mefusion-prepare", *overrides, cwd=folder)
    return folder, overrides, pictures


def test_flow_images_are_prepared_as_they_are(flow_images):
    folder, _, pictures = flow_images
    (index,) = folder.glob("cache/flow_images/*/index.parquet")
    for row in pd.read_parquet(index).itertuples():
        (array,) = load_arrays(index.parent / row.file).values()
        np.testing.assert_array_equal(array, pictures[row.subject, row.clip_id].transpose(2, 0, 1))


@pytest.mark.parametrize("given", [["ststnet"], ["majority"], ["sssnet", "model.network.image_size=32"]])
def test_baselines_train_on_flow_images(flow_images, given, command):
    folder, overrides, _ = flow_images
    model, *others = given
    outputs = f"output_dir={model}"
    run(command, "mefusion-train", *overrides, f"model={model}", *others, "trainer=smoke", outputs, cwd=folder)
    (summary,) = folder.glob(f"{model}/*/summary.json")
    assert json.loads(summary.read_text())["uf1"] >= 0


@pytest.mark.parametrize("model", ["mol_tiny", "fdp_tiny"])
def test_models_of_frames_say_that_they_need_frames(flow_images, model, command):
    folder, overrides, _ = flow_images
    sentence = refused(command, "mefusion-train", *overrides, f"model={model}", cwd=folder)
    assert "is a flow image and has no frames" in sentence
    assert "model=ststnet" in sentence


# Faces that are known, or cut out already.


@pytest.mark.usefixtures("quick_flow")
def test_landmarks_from_a_folder(tiny, command, tmp_path):
    for row in tiny.index.itertuples():
        arrays = load_arrays(tiny.cache / row.file)
        back = np.stack([np.linalg.inv(np.vstack([m, (0, 0, 1)]))[:2] for m in arrays["matrices"].astype(float)])
        points = np.einsum("nij,npj->npi", back[:, :, :2], arrays["landmarks"]) + back[:, None, :, 2]
        file = tmp_path / "landmarks" / row.subject.split("/")[1] / f"{row.clip_id}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        # One row a frame of the folder; the last of nine frames is no part of the windows.
        np.save(file, np.concatenate([points, points[-1:]])[: row.n_frames])
    given = [*tiny.overrides, "faces=precomputed", "workers=1", f"cache_dir={tmp_path / 'cache'}"]
    sentence = refused(command, "mefusion-prepare", *given, cwd=tmp_path)
    assert "faces=precomputed has no landmarks" in sentence
    run(command, "mefusion-prepare", *given, "faces.folder=landmarks", cwd=tmp_path)
    (index,) = tmp_path.glob("cache/synthetic/*/index.parquet")
    for row in pd.read_parquet(index).itertuples():
        mine, theirs = load_arrays(index.parent / row.file), load_arrays(tiny.cache / row.file)
        assert np.abs(mine["frames"].astype(float) - theirs["frames"]).mean() < 1


@pytest.mark.usefixtures("quick_flow")
def test_clips_that_are_cut_already_train_without_landmarks(tiny, command, tmp_path):
    given = [*tiny.overrides, "faces=none", "workers=1", f"cache_dir={tmp_path / 'cache'}"]
    printed = run(command, "mefusion-prepare", *given, cwd=tmp_path)
    assert "6 of 6 clips" in printed
    assert "against the truth" not in printed
    sentence = refused(command, "mefusion-train", *given, *TINY_MODEL, cwd=tmp_path)
    assert "tasks.landmarks.weight=0" in sentence
    run(command, "mefusion-train", *given, *TINY_MODEL, "tasks.landmarks.weight=0", cwd=tmp_path)
    (study,) = (tmp_path / "outputs").iterdir()
    run(command, "mefusion-report", str(study), cwd=tmp_path)
