"""Every protocol through the real command, and what is fitted in its folds."""

import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from mefusion.clips.cache import save_arrays
from mefusion.commands import train
from mefusion.evaluation.folds import make_folds, take_out_validation
from mefusion.evaluation.predictions import load_predictions
from mefusion.synthetic.rendered_download import write_rendered_download
from mefusion.synthetic.scene import SyntheticSettings
from mefusion.windows.datamodule import FoldData
from mefusion.windows.settings import Windows, WindowSettings
from mefusion.windows.store import ClipStore
from mefusion.windows.views import make_view

MAJORITY = ("model=majority", "trainer=smoke")


def run(monkeypatch, folder, *arguments):
    """`mefusion-train` in this process; returns the study's directory."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["mefusion-train", *MAJORITY, *arguments])
    train.main()
    (study,) = (folder / "outputs").iterdir()
    return study


@pytest.mark.parametrize(
    ("protocol", "folds", "subjects"),
    [
        (["protocol=kfold", "protocol.k=2"], ["fold1", "fold2"], ["sub01", "sub02"]),
        (["protocol=holdout", "protocol.test=[sub02]"], ["holdout"], ["sub02"]),
    ],
)
def test_a_protocol_tests_each_clip_of_its_subjects_once(tiny, tmp_path, monkeypatch, protocol, folds, subjects):
    study = run(monkeypatch, tmp_path, *tiny.overrides, *protocol)
    told, table = json.loads((study / "study.json").read_text()), load_predictions(study)
    assert told["protocol"] == protocol[0].split("=")[1]
    assert told["folds"] == folds
    expected = tiny.index[tiny.index["subject"].isin([f"synthetic/{subject}" for subject in subjects])]
    assert sorted(table["clip_id"]) == sorted(expected["clip_id"])
    assert told["clips"] == len(expected)
    assert set(table["fold"]) == set(folds)


def test_folds_of_several_subjects_run_one_by_one(tiny, tmp_path, monkeypatch, capsys):
    protocol = ("protocol=kfold", "protocol.k=2")
    study = run(monkeypatch, tmp_path, *tiny.overrides, *protocol, "protocol.folds=[fold2]")
    assert "is incomplete: the folds fold1 are missing" in capsys.readouterr().out
    run(monkeypatch, tmp_path, *tiny.overrides, *protocol)
    assert len(load_predictions(study)) == 6


# What is fitted.

CLASSES = ("negative", "positive", "surprise")


@pytest.fixture
def store(tmp_path):
    """Two datasets of three subjects; a subject's clips share a brightness, its classes differ in number."""
    rng, rows = np.random.default_rng(0), []
    for number in range(24):
        subject = f"{'ab'[number % 2]}/{number % 6}"
        arrays = {
            "frames": rng.integers(0, 20 + 30 * (number % 6), (2, 12, 12), dtype=np.uint8),
            "flow": np.zeros((1, 2, 12, 12), np.float16),
            "landmarks": rng.uniform(0, 12, (2, 68, 2)).astype(np.float32),
        }
        save_arrays(tmp_path / f"{number}.safetensors", arrays, {})
        label = CLASSES[number % 3 if number < 18 else number % 6 // 3]
        row = {"dataset": subject[0], "subject": subject, "clip_id": str(number), "label": label}
        rows.append(row | {"file": f"{number}.safetensors", "stride": 1, "apex_place": 0})
    view = make_view("canvas", image_size=8)
    return ClipStore(pd.DataFrame(rows), tmp_path, classes=CLASSES, clip_length=2, view=view)


@pytest.mark.parametrize(("balanced", "validated"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(
    ("protocol", "options"),
    [("loso", {}), ("kfold", {"k": 3}), ("cross_dataset", {}), ("holdout", {"test": ["a/0", "b/3"]})],
)
def test_what_is_fitted_knows_the_training_subjects_alone(store, protocol, options, balanced, validated):
    def fitted(fold):
        settings = WindowSettings(batch_size=64, windows=Windows.random, crop_jitter=1, flip=True)
        return FoldData(store, fold, settings, image_size=8, seed=0, balanced=balanced)

    clips, labels = store.arrays, store.labels
    for fold in make_folds(protocol, store.index, **options):
        if validated:  # then they are no training subjects any more
            fold = take_out_validation(fold, store.index, share=0.3, seed=0)
            assert fold.validation
        data = fitted(fold)
        mine = store.index["subject"].isin(fold.train).to_numpy()
        # Normalisation, class weights and the landmarks' start, by hand.
        values = np.concatenate([clips[n]["frames"][:, 2:10, 2:10].ravel() for n in np.flatnonzero(mine)]) / 255
        assert data.statistics.mean.item() == pytest.approx(values.mean(), rel=1e-5)
        assert data.statistics.std.item() == pytest.approx(values.std(), rel=1e-5)
        assert data.statistics.class_counts.tolist() == np.bincount(labels[mine], minlength=3).tolist()
        (batch,) = data.train_dataloader()
        assert set(batch.clip.tolist()) <= set(np.flatnonzero(mine))
        # All that is known of the test subjects may change: nothing that training uses does.
        store.arrays = [
            clip if known else {name: 0 * a for name, a in clip.items()}
            for clip, known in zip(clips, mine, strict=True)
        ]
        store.labels = np.where(mine, labels, 0)
        other = fitted(fold)
        for name, value in vars(data.statistics).items():
            np.testing.assert_array_equal(value, getattr(other.statistics, name))
        (again,) = other.train_dataloader()
        assert {"inputs", "label", "clip", "flow", "landmarks"} == batch.tensors.keys()
        for name, value in batch.tensors.items():
            np.testing.assert_array_equal(value, again.tensors[name])
        tested = [clip for shown in other.predict_dataloader() for clip in shown.clip.tolist()]
        assert sorted(tested) == store.rows(fold.test).tolist()
        watched = [clip for shown in other.val_dataloader() for clip in shown.clip.tolist()]
        assert sorted(watched) == store.rows(fold.validation).tolist()
        store.arrays, store.labels = clips, labels


# Several sources.

STSTNET = ("model=ststnet", "trainer=smoke")
RENDERED = SyntheticSettings(subjects=2, clips_per_class=1, frames=(8, 9), size=160)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_flow")
def test_a_pool_of_two_downloads_is_trained_on_one_and_tested_on_the_other(command, tmp_path):
    for layout in ("casme2", "samm"):
        write_rendered_download(layout, tmp_path / layout, RENDERED, workers=1)
    pool = ["workers=1", "data=pooled", "faces=dlib", "data/sources=[casme2,samm]", "data.allow_partial=true"]
    pool += [f"data.sources.{layout}.root={layout}" for layout in ("casme2", "samm")]
    done = command("mefusion-prepare", *pool, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "of 4 subjects" in done.stdout
    done = command("mefusion-train", *pool, *STSTNET, "protocol=cross_dataset", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (study,) = (tmp_path / "outputs").iterdir()
    table, told = load_predictions(study), json.loads((study / "study.json").read_text())
    assert told["folds"] == ["casme2", "samm"]
    assert {*zip(table["fold"], table["dataset"], strict=True)} == {("casme2", "casme2"), ("samm", "samm")}
    assert len(table) == told["clips"]
    assert {line.split(":")[0] for line in told["partial"]} == {"casme2", "samm"}
    assert set(json.loads((study / "summary.json").read_text())["datasets"]) == {"casme2", "samm"}


@pytest.mark.slow
@pytest.mark.usefixtures("quick_flow")
def test_a_pool_of_two_manifests_leaves_out_one_subject_of_either(tiny, command, tmp_path):
    rows = pd.read_csv(tiny.frames / "manifest.csv", dtype=str)
    for name in ("here", "there"):
        shutil.copytree(tiny.frames, tmp_path / name)
        rows.to_csv(tmp_path / name / "manifest.csv", index=False)
    pool = ["workers=1", "data=pooled", "faces=dlib"]
    for name in ("here", "there"):
        pool += [
            f"+data@data.sources.{name}=manifest",
            f"data.sources.{name}.name={name}",
            f"data.sources.{name}.root={name}",
        ]
    assert command("mefusion-prepare", *pool, cwd=tmp_path).returncode == 0
    done = command("mefusion-train", *pool, *STSTNET, "protocol.folds=[here/sub01,there/sub02]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "12 clips of 4 subjects" in done.stdout
    assert "is incomplete: the folds here-sub02, there-sub01 are missing" in done.stdout
    (study,) = (tmp_path / "outputs").iterdir()
    for fold in ("here-sub01", "there-sub02"):
        assert set(load_predictions(study / "folds" / fold)["subject"]) == {fold.replace("-", "/")}
