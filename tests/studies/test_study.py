import importlib.metadata
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from composed import experiment_of
from safetensors import safe_open
from sklearn.metrics import accuracy_score, f1_score, recall_score

from mefusion.clips.cache import load_arrays, read_metadata, save_clip
from mefusion.commands.train import main
from mefusion.common.files import try_lock
from mefusion.configuration import composition
from mefusion.evaluation.predictions import load_predictions
from mefusion.studies.study import prediction_table
from mefusion.training.module import MERModule, Prediction

NETWORK = ("model.network.image_size=64", "model.network.width=0.0625", "model.training.max_epochs=3")
CLASSES = ["negative", "positive", "surprise"]


@pytest.fixture(autouse=True)
def _as_found():
    """Training sets these for the whole process."""
    environment = dict(os.environ)
    yield
    torch.use_deterministic_algorithms(False)
    for name in set(os.environ) - set(environment):
        del os.environ[name]


@pytest.fixture(scope="module")
def run(tiny):
    """Run `mefusion-train` on the tiny set in this process; returns the study's directory."""

    def run(output, *overrides):
        arguments = [*tiny.overrides, *NETWORK, f"output_dir={output}", *overrides]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["mefusion-train", *arguments])
            main()
        (study,) = output.iterdir()
        return study

    return run


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory):
    """An uninterrupted study with all tasks; tests may read it."""
    return run(tmp_path_factory.mktemp("outputs"))


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it that may be changed."""
    return Path(shutil.copytree(finished, tmp_path / "outputs" / finished.name))


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def table_of(study):
    return load_predictions(study).sort_values("clip_id", ignore_index=True)


# What a study leaves.


def test_a_study_directory_is_as_designed(finished):
    files = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    folds = {
        f"folds/synthetic-{subject}/{name}"
        for subject in ("sub01", "sub02")
        for name in (
            *("DONE", "fold.json", "predictions.parquet", "metrics.csv", "examples.safetensors"),
            "checkpoints/last.ckpt",
        )
    }
    assert files == folds | {"config.yaml", "study.json", "predictions.parquet", "summary.json"}
    for subject in ("sub01", "sub02"):
        fold = finished / "folds" / f"synthetic-{subject}"
        done = (fold / "DONE").stat().st_mtime_ns
        assert all(path.stat().st_mtime_ns <= done for path in fold.rglob("*") if path.is_file())


def test_study_json_says_where_the_result_comes_from(finished):
    study = json.loads((finished / "study.json").read_text())
    assert study["study"] == finished.name
    assert finished.name == f"mol_tiny-synthetic-three-{study['config_hash']}"
    assert study["classes"] == CLASSES
    assert study["folds"] == ["synthetic-sub01", "synthetic-sub02"]
    assert study["tasks"] == {"recognition": 1, "flow": 300, "landmarks": 0.1}
    assert (study["rule"], study["seeds"], study["clips"]) == ("last", [0], 6)
    assert study["versions"]["torch"] == importlib.metadata.version("torch")
    assert {"git_revision", "device", "sample_list_hash"} <= set(study)


def test_every_clip_is_predicted_once_by_the_fold_of_its_subject(finished, tiny):
    table = table_of(finished)
    assert table["clip_id"].tolist() == sorted(tiny.index["clip_id"])
    assert (table["fold"] == table["subject"].str.replace("/", "-")).all()
    assert (table["label"] == table["clip_id"].str.split("_").str[1]).all()
    assert (table["epoch"] == 3).all()
    probabilities = table[[f"probability_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    assert table["prediction"].tolist() == [CLASSES[k] for k in probabilities.argmax(1)]


def test_pooled_metrics_are_those_of_scikit_learn(finished):
    table, summary = table_of(finished), json.loads((finished / "summary.json").read_text())
    truth, guess = table["label"], table["prediction"]
    options = {"labels": CLASSES, "zero_division": 0}
    assert summary["uf1"] == pytest.approx(f1_score(truth, guess, average="macro", **options))
    assert summary["wf1"] == pytest.approx(f1_score(truth, guess, average="weighted", **options))
    assert summary["uar"] == pytest.approx(recall_score(truth, guess, average="macro", **options))
    assert summary["acc"] == pytest.approx(accuracy_score(truth, guess))
    assert summary["flow_epe"] == pytest.approx(table["flow_epe"].mean())
    assert summary["clips"] == 6


def test_zero_flow_s_error_is_the_target_s_length(finished, tiny):
    table = table_of(finished)
    for row, clip in zip(table.itertuples(), tiny.index.sort_values("clip_id").itertuples(), strict=True):
        flow = load_arrays(tiny.cache / clip.file)["flow"][:, :, 40:104, 40:104].astype(float)
        assert row.flow_epe_zero == pytest.approx(np.linalg.norm(flow, axis=1).mean(), rel=1e-3)


def test_a_checkpoint_loads_safely(finished):
    for path in finished.rglob("last.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["epoch"] == 2
        assert all(isinstance(value, torch.Tensor) for value in checkpoint["state_dict"].values())


def test_training_is_logged_an_epoch_a_row(finished):
    for path in finished.rglob("metrics.csv"):
        log = pd.read_csv(path)
        assert log["epoch"].tolist() == [0, 1, 2]
        names = ("loss", "accuracy", "recognition_loss", "flow_loss", "landmarks_loss")
        values = log[[f"train/{name}" for name in names]].to_numpy()
        assert np.isfinite(values).all()
        total = log["train/recognition_loss"] + 300 * log["train/flow_loss"] + 0.1 * log["train/landmarks_loss"]
        np.testing.assert_allclose(log["train/loss"], total, rtol=1e-4)


def test_examples_for_pictures_hold_targets_and_predictions(finished):
    for path in finished.rglob("examples.safetensors"):
        with safe_open(path, framework="np") as file:
            metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        assert len(metadata) == 3
        for clip, facts in metadata.items():
            assert set(json.loads(facts)) == {"label", "prediction", "subject"}
            assert arrays[f"{clip}|frames"].shape == (8, 64, 64)
            for suffix in ("", "_target"):
                assert arrays[f"{clip}|flow{suffix}"].shape == (7, 2, 64, 64)
                assert arrays[f"{clip}|landmarks{suffix}"].shape == (7, 68, 2)
            assert arrays[f"{clip}|apex_flow"].shape == (2, 64, 64)
            attention = arrays[f"{clip}|attention"]
            assert attention.shape == (8, 64, 64)
            assert attention.min() >= 0
            assert attention.max() == 1


# Doing only what is missing.


def test_a_finished_study_trains_nothing(copied, run, monkeypatch, capsys):
    before = contents(copied / "folds")
    monkeypatch.setattr(MERModule, "training_step", lambda *args: pytest.fail("it trains"))
    run(copied.parent)
    assert contents(copied / "folds") == before
    printed = capsys.readouterr().out
    assert printed.count("done before") == 2
    assert f"UF1 {json.loads((copied / 'summary.json').read_text())['uf1']:.3f}" in printed


class StopError(Exception):
    pass


def stop_at(monkeypatch, number):
    """Let the n-th training step raise, as a kill would; returns the list of steps done."""
    steps, step = [], MERModule.training_step

    def counted(self, batch, batch_idx):
        steps.append(sorted(batch.clip.tolist()))
        if len(steps) == number:
            raise StopError
        return step(self, batch, batch_idx)

    monkeypatch.setattr(MERModule, "training_step", counted)
    return steps


def test_an_interrupted_study_completes_to_the_same_result(finished, run, tmp_path, monkeypatch):
    # Each epoch is one step of three clips; the fifth step is the second epoch of the second fold.
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(StopError):
            run(tmp_path / "outputs")
    study = tmp_path / "outputs" / finished.name
    first, second = (study / "folds" / f"synthetic-{subject}" for subject in ("sub01", "sub02"))
    assert (first / "DONE").exists()
    assert not (second / "DONE").exists()
    assert (second / "checkpoints" / "last.ckpt").exists()
    assert not (study / "predictions.parquet").exists()
    before = contents(first)
    steps = stop_at(monkeypatch, None)
    run(tmp_path / "outputs")
    assert len(steps) == 2  # the second fold's epochs two and three alone
    assert contents(first) == before
    pd.testing.assert_frame_equal(table_of(study), table_of(finished), rtol=1e-4)
    assert json.loads((study / "summary.json").read_text())["uf1"] == pytest.approx(
        json.loads((finished / "summary.json").read_text())["uf1"]
    )
    assert pd.read_csv(second / "metrics.csv")["epoch"].tolist() == [0, 1, 2]


def test_a_fold_that_another_process_is_at_is_left_to_it(copied, run, capsys):
    fold = copied / "folds" / "synthetic-sub02"
    (fold / "DONE").unlink()
    with try_lock(fold) as mine:
        assert mine
        run(copied.parent)
        printed = capsys.readouterr().out
        assert "synthetic-sub02: another process is working on it" in printed
        assert "is incomplete: the folds synthetic-sub02 are missing" in printed
    run(copied.parent)
    assert "pooled over 6 clips" in capsys.readouterr().out
    assert not list(copied.rglob(".claimed"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell which processes have ended")
def test_a_restart_removes_what_killed_processes_left(copied, run, left_behind):
    fold = copied / "folds" / "synthetic-sub01"
    left = [left_behind(path) for path in (copied / "config.yaml", fold / "predictions.parquet")]
    run(copied.parent)
    assert not [path for path in left if path.exists()]


def test_a_lock_that_ended_while_it_was_waited_for_is_not_taken_twice(tmp_path, monkeypatch):
    lock = pytest.importorskip("fcntl").flock  # not on Windows

    def late(file, how):
        monkeypatch.setattr("fcntl.flock", lock)
        (tmp_path / ".claimed").unlink()  # its owner ended, and another process has locked the folder again
        (tmp_path / ".claimed").touch()
        lock(file, how)

    monkeypatch.setattr("fcntl.flock", late)
    with try_lock(tmp_path) as mine:
        assert not mine
    with try_lock(tmp_path) as mine:
        assert mine


@pytest.mark.parametrize("limit", ["model.training.max_epochs=0", "model.training.max_steps=0"])
def test_training_that_would_not_happen_is_refused(run, tmp_path, limit):
    with pytest.raises(SystemExit, match="one must be 1 or more"):
        run(tmp_path / "outputs", limit)


def test_an_unknown_imbalance_leaves_nothing_behind(run, tmp_path):
    with pytest.raises(SystemExit, match="imbalance=some: choose from none"):
        run(tmp_path / "outputs", "imbalance=some")
    assert not (tmp_path / "outputs").exists()


def test_another_apex_is_another_study(tiny):
    experiment = experiment_of(*tiny.overrides)
    index = tiny.index.assign(label=tiny.index["emotion"])
    names = [
        composition.plan_study(experiment, SimpleNamespace(index=table, classes=CLASSES, view=None)).name
        for table in (index, index, index.assign(apex_place=index["apex_place"] + 1))
    ]
    assert names[0] == names[1] != names[2]


def test_a_fold_stopped_before_its_prediction_does_not_train_again(copied, finished, run, monkeypatch):
    for name in ("DONE", "predictions.parquet"):
        (copied / "folds" / "synthetic-sub02" / name).unlink()
    steps = stop_at(monkeypatch, None)
    run(copied.parent)
    assert steps == []
    pd.testing.assert_frame_equal(table_of(copied), table_of(finished), rtol=1e-4)


def test_a_checkpoint_that_was_cut_short_is_one_sentence(copied, run):
    fold = copied / "folds" / "synthetic-sub02"
    (fold / "DONE").unlink()
    checkpoint = fold / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(SystemExit, match=r"last\.ckpt"):
        run(copied.parent)


def test_folds_may_run_one_by_one_and_in_any_order(finished, run, tmp_path, capsys):
    study = run(tmp_path / "outputs", "protocol.folds=[sub02]")
    assert study.name == finished.name
    assert not (study / "summary.json").exists()
    assert "is incomplete: the folds synthetic-sub01 are missing" in capsys.readouterr().out
    run(tmp_path / "outputs", "protocol.folds=[sub01]")
    pd.testing.assert_frame_equal(table_of(study), table_of(finished), rtol=1e-4)


def test_several_seeds_make_one_study(finished, run, tmp_path, capsys):
    study = run(tmp_path / "outputs", "seeds=[0,1]", "protocol.folds=[sub02]")
    assert study.name != finished.name
    told = json.loads((study / "study.json").read_text())
    assert (told["seeds"], told["folds"]) == ([0, 1], ["synthetic-sub01", "synthetic-sub02"])
    assert [path.name for path in study.glob("folds/*")] == ["synthetic-sub02"]
    tables = [load_predictions(study / "folds" / "synthetic-sub02" / f"seed{seed}") for seed in (0, 1)]
    assert [set(table["seed"]) for table in tables] == [{0}, {1}]
    assert {fold for table in tables for fold in table["fold"]} == {"synthetic-sub02"}
    assert not np.allclose(*(table["probability_negative"] for table in tables))
    # A fold's result depends on its seed and not on the others of the study.
    alone = load_predictions(finished / "folds" / "synthetic-sub02")
    pd.testing.assert_frame_equal(tables[0].drop(columns="study"), alone.drop(columns="study"), check_exact=True)
    printed = capsys.readouterr().out
    assert "fold 1/2 synthetic-sub02/seed0: " in printed
    assert "fold 2/2 synthetic-sub02/seed1: " in printed
    assert "the folds synthetic-sub01/seed0, synthetic-sub01/seed1 are missing, so nothing is scored" in printed


def test_shards_are_the_folds_and_seeds_of_one_study(run, tmp_path, capsys):
    for number, expected in ((1, ["synthetic-sub01/seed0", "synthetic-sub02/seed1"]), (2, ["synthetic-sub02/seed0"])):
        study = run(
            tmp_path / "outputs", "seeds=[0,1]", "model.training.max_epochs=1", f"protocol.shard={number}/3"
        )  # fmt: skip
        assert re.findall(r"fold \d/\d (\S+): ", capsys.readouterr().out) == expected
    assert len(list(study.glob("folds/*/seed*/DONE"))) == 3


@pytest.fixture
def name(tiny, tmp_path):
    """What a study is called."""

    def name(*overrides):
        experiment = experiment_of(*tiny.overrides, *NETWORK, *overrides)
        return composition.plan_study(experiment, composition.load_clips(experiment)).name

    return name


def test_where_a_study_runs_does_not_change_its_name(name, tmp_path):
    places = ["workers=3", "logger=wandb", "protocol.folds=[sub01]", "protocol.shard=1/2", f"output_dir={tmp_path}"]
    places += ["trainer.devices=2", "trainer=ddp trainer.deterministic=true", "protocol.validation=0.5"]
    assert {name(*place.split()) for place in places} == {name()}
    assert name("rule=inner_val", "protocol.validation=0.5") != name("rule=inner_val")


def test_whatever_changes_a_result_changes_the_name(name):
    changes = ["seeds=[1]", "seeds=[0,1]", "rule=average", "rule=inner_val"]
    changes += ["model.optimizer.lr=1e-3", "tasks=recognition", "model.network.dropout=0.1"]
    assert len({name(), *map(name, changes)}) == len(changes) + 1


def test_the_result_depends_on_the_seed(finished, run, tmp_path):
    study = run(tmp_path / "outputs", "seeds=[1]", "protocol.folds=[sub01]")
    one, other = (load_predictions(path / "folds" / "synthetic-sub01") for path in (study, finished))
    assert (one["seed"] == 1).all()
    assert not np.allclose(one["probability_negative"], other["probability_negative"])


# Tasks.


def test_a_task_that_is_off_is_nowhere(run, tmp_path):
    study = run(tmp_path / "outputs", "tasks=recognition", "model.training.max_epochs=1")
    table = table_of(study)
    assert not set(table) & {"flow_epe", "flow_epe_zero", "landmarks_nme"}
    summary = json.loads((study / "summary.json").read_text())
    assert not [name for name in summary if "flow" in name or "landmark" in name]
    assert summary["provenance"]["tasks"] == {"recognition": 1}
    log = pd.read_csv(study / "folds" / "synthetic-sub01" / "metrics.csv")
    assert not [name for name in log if "flow" in name or "landmarks" in name]
    state = torch.load(study / "folds/synthetic-sub01/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert not [name for name in state if "flow" in name or "landmark" in name]
    with safe_open(study / "folds/synthetic-sub01/examples.safetensors", framework="np") as file:
        names = {name.split("|")[1] for name in file.keys()}  # noqa: SIM118
    assert names == {"frames", "times", "apex", "apex_flow", "attention"}


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("+tasks.gaze.weight=1", "gaze"),
        ("~tasks.recognition", "recognition"),
        ("model.optimizer.schedule=linear", "linear"),
        ("model.training.windows=some", "windows=some"),
        ("model.training.crop_jitter=99", "crop_jitter=99"),
        ("model.training.batch_size=0", "batch_size=0"),
        ("model.network.image_size=100", "100"),
        ("model.network.image_size=192", "192"),
        ("model.network.variant=mine", "mine"),
        ("+logger.paper=1", "logger.paper names no class"),
        ("protocol.folds=[sub99]", "sub99"),
        ("short_clips=drop", "short_clips=drop"),
    ],
)
def test_a_value_that_makes_no_sense_is_one_sentence(run, tmp_path, override, named):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "outputs", override)
    sentence = str(stop.value.code)
    assert sentence.startswith("mefusion-train: ")
    assert named in sentence
    assert "\n" not in sentence


# Windows to clips.


class FakeStore:
    classes = ("a", "b")
    index = pd.DataFrame(
        {"dataset": "d", "subject": ["d/1", "d/1", "d/2"], "clip_id": ["x", "y", "z"], "label": ["a", "b", "b"]}
    )


def test_a_clip_s_probabilities_are_the_means_of_its_windows():
    # Clip 2 has the windows .9/.1 and .3/.7 in different batches: .6/.4, so class a; clip 0 has .2/.8.
    batches = [
        Prediction(torch.tensor([2, 0]), torch.tensor([[0.9, 0.1], [0.2, 0.8]]), {"epe": torch.tensor([1.0, 5.0])}),
        Prediction(torch.tensor([2]), torch.tensor([[0.3, 0.7]]), {"epe": torch.tensor([2.0])}),
    ]
    table = prediction_table(Prediction.joined(batches, 3), FakeStore())
    assert table["clip_id"].tolist() == ["x", "z"]
    assert table["subject"].tolist() == ["d/1", "d/2"]
    assert table["label"].tolist() == ["a", "b"]
    assert table["prediction"].tolist() == ["b", "a"]
    np.testing.assert_allclose(table[["probability_a", "probability_b"]], [[0.2, 0.8], [0.6, 0.4]], atol=1e-6)
    np.testing.assert_allclose(table["epe"], [5, 1.5])


def test_windows_of_a_longer_clip_count_as_one_clip(tiny, run, tmp_path, monkeypatch):
    """A cache whose clips have two windows each; both are the same, so the clip's values are the window's."""
    cache = tmp_path / "cache" / "synthetic" / tiny.cache.name
    index = tiny.index
    for row in index.itertuples():
        arrays = load_arrays(tiny.cache / row.file)
        doubled = {name: np.repeat(arrays[name], 2, axis=0) for name in arrays if name != "onset_apex_flow"}
        metadata = {**read_metadata(tiny.cache / row.file), "n_frames": "16"}
        save_clip(cache / row.file, {**arrays, **doubled}, metadata)
    index.assign(n_frames=16, stride=2).to_parquet(cache / "index.parquet")
    shown, step = [], MERModule.predict_step

    def watched(self, batch, batch_idx):
        shown.extend(batch.clip.tolist())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(MERModule, "predict_step", watched)
    study = run(tmp_path / "outputs", f"cache_dir={tmp_path / 'cache'}", "model.training.max_epochs=1")
    assert sorted(shown) == sorted([*range(6)] * 2)
    table = table_of(study)
    assert len(table) == 6
    assert table["clip_id"].is_unique
