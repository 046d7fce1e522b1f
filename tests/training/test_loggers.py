import json
import os
import struct
from pathlib import Path

import pandas as pd
import pytest
from composed import experiment_of
from lightning.pytorch.loggers import Logger
from matplotlib.image import imread

from mefusion.common.errors import MefusionError
from mefusion.configuration import building
from mefusion.studies.runs import Run
from mefusion.studies.study import Study
from mefusion.training.loggers import MetricsFile, require_packages, wandb_logger

SMALL = ("trainer=smoke", "model.network.image_size=64", "model.network.width=0.0625")


@pytest.fixture
def fold(tmp_path):
    folder = tmp_path / "s" / "folds" / "f"
    folder.mkdir(parents=True)
    return folder


def log(logger, *epochs):
    for epoch in epochs:
        logger.log_metrics({"epoch": epoch, "loss": 1 / (1 + epoch)}, step=epoch)
        logger.save()


def loggers_of(directory, *overrides):
    """The loggers that a fold's trainer has."""
    experiment = experiment_of(*overrides)
    told = {"model": "mol", "data": "d", "labels": "five", "rule": "last", "tasks": {"recognition": 1.0, "flow": 1.0}}
    study = Study(directory, "", told, [], (0,), experiment.settings.rule, 0.2)
    return building.make_trainer(experiment, study, Run(directory, "f", 0), []).loggers


def test_nothing_logged_makes_no_file(fold):
    MetricsFile(fold / "metrics.csv").save()  # as Lightning does at the end of every training and prediction
    assert list(fold.iterdir()) == []


def test_metrics_are_a_csv_file_in_the_fold_s_folder(fold):
    log(MetricsFile(fold / "metrics.csv"), 0, 1)
    table = pd.read_csv(fold / "metrics.csv")
    assert table["epoch"].tolist() == [0, 1]
    assert table["loss"].tolist() == [1, 0.5]
    assert [path.name for path in fold.iterdir()] == ["metrics.csv"]


def test_a_resumed_fold_keeps_what_it_logged_before(fold):
    log(MetricsFile(fold / "metrics.csv"), 0, 1)
    log(MetricsFile(fold / "metrics.csv"), 2)
    assert pd.read_csv(fold / "metrics.csv")["epoch"].tolist() == [0, 1, 2]


def test_an_empty_or_half_written_log_does_not_stop_a_fold(fold):
    (fold / "metrics.csv").touch()
    log(MetricsFile(fold / "metrics.csv"), 0)
    assert len(pd.read_csv(fold / "metrics.csv")) == 1


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_logger_without_its_package_names_it(monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    require_packages(["mlflow"])  # says itself what it needs
    with pytest.raises(MefusionError, match=rf"logger={name} needs .*pip install {name}"):
        require_packages([name])


def test_the_same_fold_is_the_same_wandb_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")

    def run(study, fold):
        logger = wandb_logger(project="p", directory=str(tmp_path), study=study, fold=fold, tags=["mol", "flow+rank"])
        assert logger._wandb_init["tags"] == ["mol", "flow", "rank"]
        return logger.version, logger.name, logger._wandb_init["group"]

    first = run("s", "f")
    assert run("s", "f") == first
    assert first[2] == "s"
    others = [run("s", "g"), run("s", "f/seed1"), run("t", "f")]
    assert len({first[0], *(version for version, *_ in others)}) == 4


def test_tensorboard_events_hold_the_metrics(fold):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _, logger = loggers_of(fold.parents[1], "logger=tensorboard")
    log(logger, 0, 1)
    logger.finalize("success")
    read = events.EventAccumulator(str(fold / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(0, 1), (1, 0.5)]


class Notes(Logger):
    """A logger of one's own, which keeps what it is told."""

    def __init__(self, place, words):
        super().__init__()
        self.place, self.words, self.told = place, words, {}

    name, version = "notes", 0

    def log_hyperparams(self, params):
        self.told = params

    def log_metrics(self, metrics, step):
        pass


def test_a_logger_of_one_s_own_is_told_where_it_is_and_the_settings(tmp_path):
    own = [
        f"+logger.notes._target_={__name__}.Notes",
        "+logger.notes.place='{folder}'",
        "+logger.notes.words=[a,'{study}/{fold}']",
    ]
    _, notes = loggers_of(tmp_path, *own, "model.optimizer.lr=0.25")
    assert notes.place == str(tmp_path / "folds" / "f")
    assert notes.words == ["a", f"{tmp_path.name}/f"]
    assert notes.told["model"]["optimizer"]["lr"] == 0.25


def records(path):
    """The records of a .wandb file: LevelDB's log format, behind a header of 7 bytes, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def values(items):
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


def run_of(folder):
    """A W&B run as its directory tells it: group, kind, tags, configuration, history and summary."""
    (path,) = folder.glob("*.wandb")
    run, config, history, summary = None, {}, [], {}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif kind == "config":
            config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            history.append(values(record.history.item))
        elif kind == "summary":
            summary |= {
                item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
            }
    return run.run_id, run.run_group, run.job_type, set(run.tags), config, history, summary


@pytest.mark.slow
def test_wandb_without_a_key_logs_offline_a_run_a_fold_and_one_of_the_study(tiny, script, tmp_path):
    pytest.importorskip("wandb")
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        done = script(
            "mefusion-train",
            *tiny.overrides,
            *SMALL,
            "logger=wandb",
            "callbacks=[examples]",
            "callbacks.examples.every=1",
            cwd=work,
            env={"HOME": str(home)},
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    # Nothing lands outside the study.
    assert [path.name for path in Path(work).iterdir()] == ["outputs"]
    (study,) = (work / "outputs").iterdir()
    folders = sorted((study / "wandb").glob("offline-run-*"))
    runs = [run_of(folder) for folder in folders]
    assert len({number for number, *_ in runs}) == len(runs) == 3
    for _, group, _, tags, config, *_ in runs:
        assert group == study.name
        assert tags == {"mol_tiny", "synthetic", "three", "last", "recognition", "flow", "landmarks"}
        assert config["model"]["network"]["width"] == 0.0625
    assert [kind for _, _, kind, *_ in runs] == ["fold", "fold", "summary"]
    for (*_, history, _), folder in zip(runs[:2], sorted((study / "folds").iterdir()), strict=True):
        logged = pd.read_csv(folder / "metrics.csv")["train/loss"].dropna().tolist()
        assert [row["train/loss"] for row in history if "train/loss" in row] == pytest.approx(logged)
        assert any("examples" in row for row in history)
    *_, history, summary = runs[2]
    scores = json.loads((study / "summary.json").read_text())
    for name in ("uf1", "uar", "flow_epe", "landmarks_nme"):
        assert summary[name] == scores[name]
    assert summary["majority/uf1"] == scores["majority"]["uf1"]
    assert {"confusion_matrix", "predictions"} <= history[0].keys()
    (table,) = (folders[2] / "files" / "media" / "table").glob("*.json")
    table = json.loads(table.read_text())
    column = table["columns"].index("clip_id")
    assert sorted(row[column] for row in table["data"]) == sorted(tiny.index["clip_id"])


def test_pictures_of_examples_are_drawn_every_so_many_epochs(tiny, tmp_path, monkeypatch):
    from mefusion.commands import train

    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    small = [*SMALL, "trainer.max_epochs=4", "logger=tensorboard", "protocol.folds=[sub01]"]

    def study(*more):
        arguments = [*tiny.overrides, *small, f"output_dir={tmp_path / str(len(more))}", *more]
        monkeypatch.setattr("sys.argv", ["mefusion-train", *arguments])
        train.main()
        (folder,) = (tmp_path / str(len(more))).glob("*/folds/*")
        return folder

    folder = study("callbacks=[examples]", "callbacks.examples.every=2")
    pictures = sorted((folder / "examples").iterdir())
    assert [path.name for path in pictures] == ["epoch0002.png", "epoch0004.png"]
    height, width, _ = imread(pictures[0]).shape
    assert height > width > 300  # blocks of three clips, one below the other
    assert (imread(pictures[0]) != imread(pictures[1])).any()
    read = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in read.Images("examples")] == [2, 4]
    assert len(read.Scalars("train/loss")) == 4
    # Drawing changes nothing of the training.
    plain = study()
    assert not (plain / "examples").exists()
    tables = [pd.read_parquet(path / "predictions.parquet") for path in (folder, plain)]
    pd.testing.assert_frame_equal(*(table.drop(columns="study") for table in tables), check_exact=True)
