"""A study that is interrupted at any moment and run again gives what an uninterrupted one gives, bit for bit."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from mefusion.commands import train
from mefusion.common.errors import MefusionError
from mefusion.evaluation.predictions import load_predictions
from mefusion.training.module import MERModule
from mefusion.training.resume import AtomicCheckpointIO, last_checkpoint, trim_log

# Two training subjects of two clips and a clip a batch: four steps an epoch, or two where one subject validates.
SMALL = (
    *("trainer=smoke", "trainer.max_epochs=3", "model.training.batch_size=1"),
    *("model.network.image_size=64", "model.network.width=0.0625", "protocol.folds=[sub02]"),
)


class StopError(Exception):
    pass


@pytest.fixture(autouse=True)
def _as_found():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def run(three):
    """Run `mefusion-train` in this process; returns the folder of the one fold."""

    def run(output, *overrides):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["mefusion-train", *three, *SMALL, f"output_dir={output}", *overrides])
            train.main()
        (study,) = output.iterdir()
        return study / "folds" / "synthetic-sub02"

    return run


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """The uninterrupted fold of a rule."""
    folds = {}

    def whole(rule):
        if rule not in folds:
            folds[rule] = run(tmp_path_factory.mktemp(rule), f"rule={rule}")
        return folds[rule]

    return whole


def stop_in(patch, hook, number):
    """Let the n-th call of a hook of the module raise."""
    calls, original = [], getattr(MERModule, hook)

    def counted(*arguments):
        calls.append(None)
        if len(calls) == number:
            raise StopError
        return original(*arguments)

    patch.setattr(MERModule, hook, counted)


def same_predictions(fold, expected):
    one, other = (load_predictions(path) for path in (fold, expected))
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def same_log(fold, expected):
    log, expected_log = (pd.read_csv(path / "metrics.csv") for path in (fold, expected))
    assert log["epoch"].tolist() == expected_log["epoch"].tolist()
    losses = [table["train/loss"].dropna().tolist() for table in (log, expected_log)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("rule", "hook", "number"),
    [
        ("last", "training_step", 3),  # before there is a checkpoint
        ("last", "training_step", 7),  # amid the second epoch
        ("average", "training_step", 10),
        ("average", "predict_step", 1),  # all is trained, nothing predicted
        ("inner_val", "training_step", 4),
        ("inner_val", "on_train_epoch_start", 3),  # between two epochs
        ("inner_val", "on_validation_epoch_end", 2),
        ("inner_val", "predict_step", 1),
    ],
)
def test_a_fold_goes_on_to_the_same_bits(run, whole, tmp_path, monkeypatch, rule, hook, number):
    with monkeypatch.context() as patch:
        stop_in(patch, hook, number)
        with pytest.raises(StopError):
            run(tmp_path / "outputs", f"rule={rule}")
    fold = run(tmp_path / "outputs", f"rule={rule}")
    same_predictions(fold, whole(rule))
    same_log(fold, whole(rule))


@pytest.mark.parametrize(
    ("rule", "hook", "number"),
    [("last", "training_step", 6), ("last", "predict_step", 1), ("inner_val", "training_step", 6)],
)
def test_a_training_of_so_many_steps_goes_on_to_the_same_bits(run, tmp_path, monkeypatch, rule, hook, number):
    # An epoch and a half, or three where one of the two subjects validates.
    steps = ("trainer.max_epochs=-1", "model.training.max_steps=6", f"rule={rule}")
    with monkeypatch.context() as patch:
        stop_in(patch, hook, number)
        with pytest.raises(StopError):
            run(tmp_path / "broken", *steps)
    fold = run(tmp_path / "broken", *steps)
    assert torch.load(fold / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
    same_predictions(fold, run(tmp_path / "whole", *steps))


def test_a_study_that_was_moved_goes_on_too(run, whole, tmp_path, monkeypatch):
    # Of made-up scores the first epoch's is the best, which the second half must still know.
    scores = dict.fromkeys(("uf1", "loss", "criterion"), 0.9)
    told = iter([scores, *[dict.fromkeys(scores, 0.1)] * 9])
    monkeypatch.setattr("mefusion.training.module.validation_scores", lambda *_: next(told))
    with monkeypatch.context() as patch:
        stop_in(patch, "training_step", 4)
        with pytest.raises(StopError):
            run(tmp_path / "outputs", "rule=inner_val")
    shutil.move(tmp_path / "outputs", tmp_path / "elsewhere")
    fold = run(tmp_path / "elsewhere", "rule=inner_val")
    assert (load_predictions(fold)["epoch"] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["average", "inner_val"])
def test_a_killed_process_leaves_what_the_next_one_goes_on_from(three, run, whole, tmp_path, rule):
    arguments = [*three, *SMALL, f"output_dir={tmp_path / 'outputs'}", f"rule={rule}"]
    process = subprocess.Popen([sys.executable, "-m", "mefusion.commands.train", *arguments], env={**os.environ})
    try:
        while not (found := list(tmp_path.rglob("last.ckpt"))):
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    fold = found[0].parents[1]
    assert not (fold / "DONE").exists()
    same_predictions(run(tmp_path / "outputs", f"rule={rule}"), whole(rule))


# Checkpoints.


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path):
    class Unwritable:
        def __reduce__(self):
            raise StopError

    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    with pytest.raises(StopError):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2, "broken": Unwritable()}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoint_as_it_was(tmp_path):
    resource = pytest.importorskip("resource")  # not on Windows
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may be larger
    try:
        with pytest.raises(MefusionError, match=r"last\.ckpt cannot be written"):
            AtomicCheckpointIO().save_checkpoint({"epoch": 2, "weights": torch.zeros(10**6)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


ORIGIN = {"study": "s", "fold": "f", "seed": 0}


@pytest.mark.parametrize(
    ("checkpoint", "sentence"),
    [
        ({"origin": ORIGIN | {"study": "t"}}, "is a checkpoint of study t, fold f, seed 0"),
        ({"origin": ORIGIN | {"seed": 1}}, "is a checkpoint of study s, fold f, seed 1"),
        ({}, "is a checkpoint of another program"),
    ],
)
def test_a_checkpoint_of_something_else_is_one_sentence(tmp_path, checkpoint, sentence):
    torch.save({"epoch": 0, "state_dict": {}} | checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(MefusionError, match=re.escape(f"{tmp_path}/last.ckpt {sentence}: delete it")):
        last_checkpoint(tmp_path, ORIGIN)


@pytest.mark.parametrize("content", [[1, 2], {"weights": 1}])
def test_a_file_that_is_no_checkpoint_is_one_sentence(tmp_path, content):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(MefusionError, match="not a checkpoint of a training"):
        last_checkpoint(tmp_path, ORIGIN)


def test_what_was_logged_after_a_checkpoint_is_forgotten(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,loss\n0,3,5.0\n1,7,4.0\n2,11,3.0\n2")
    trim_log(path, epochs=2, steps=8)
    assert pd.read_csv(path)["loss"].tolist() == [5, 4]
    trim_log(path, epochs=0, steps=0)
    assert not path.exists()
    path.write_text("epo")
    trim_log(path, epochs=2, steps=8)
    trim_log(path, epochs=2, steps=8)  # nor where there is none
    assert not path.exists()
