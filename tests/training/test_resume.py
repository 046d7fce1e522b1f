"""A study that is interrupted at any moment and run again gives what an uninterrupted one gives, bit for bit."""

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import lightning as L
import pandas as pd
import pytest
import torch

from mefusion.commands import train
from mefusion.common.errors import MefusionError
from mefusion.evaluation.predictions import load_predictions
from mefusion.training.module import MERModule
from mefusion.training.resume import (
    DIGEST,
    AtomicCheckpointIO,
    FoldCallback,
    content_digest,
    last_checkpoint,
    read_checkpoint,
    require_fit,
    trim_log,
)

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

    def run(output, *overrides, small=SMALL):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["mefusion-train", *three, *small, f"output_dir={output}", *overrides])
            train.main()
        (study,) = output.iterdir()
        return study / "folds" / "synthetic-sub02"

    return run


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """The uninterrupted fold of a rule and other overrides."""
    folds = {}

    def whole(rule, *overrides):
        if (rule, *overrides) not in folds:
            folds[rule, *overrides] = run(tmp_path_factory.mktemp(rule), f"rule={rule}", *overrides)
        return folds[rule, *overrides]

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
def test_a_training_of_so_many_steps_goes_on_to_the_same_bits(run, whole, tmp_path, monkeypatch, rule, hook, number):
    # An epoch and a half, or three where one of the two subjects validates.
    steps = ("trainer.max_epochs=-1", "model.training.max_steps=6")
    with monkeypatch.context() as patch:
        stop_in(patch, hook, number)
        with pytest.raises(StopError):
            run(tmp_path / "broken", f"rule={rule}", *steps)
    fold = run(tmp_path / "broken", f"rule={rule}", *steps)
    assert torch.load(fold / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
    same_predictions(fold, whole(rule, *steps))


def test_dropout_differs_between_the_batches_of_a_step():
    def drawn(batch, *, accumulated, step=3):
        trainer = SimpleNamespace(global_step=step, accumulate_grad_batches=accumulated)
        FoldCallback(0, {}).on_train_batch_start(trainer, None, None, batch)
        return torch.rand(1).item()

    assert len({drawn(batch, accumulated=3) for batch in range(3)} | {drawn(3, accumulated=3, step=4)}) == 4
    # Without accumulation the step alone counts, as in studies of older versions.
    assert drawn(0, accumulated=1) == drawn(7, accumulated=1) == pytest.approx(0.2648006)


def test_augmented_copies_and_one_cycle_of_the_learning_rate_go_on_where_they_were(run, tmp_path, monkeypatch):
    # Four clips six times are three steps of eight an epoch.
    small = ("model=flow_cnn", "model.training.copies=6", "model.training.batch_size=8", "model.training.max_epochs=3")
    small += ("protocol.folds=[sub02]", "callbacks=[learning_rate]")
    expected = run(tmp_path / "whole", small=small)
    with monkeypatch.context() as patch:
        stop_in(patch, "training_step", 8)
        with pytest.raises(StopError):
            run(tmp_path / "outputs", small=small)
    fold = run(tmp_path / "outputs", small=small)
    same_predictions(fold, expected)
    log, expected_log = (pd.read_csv(path / "metrics.csv") for path in (fold, expected))
    pd.testing.assert_frame_equal(log, expected_log)
    rates = log["lr-AdamW"].dropna()
    assert rates.iloc[-1] < rates.max()
    assert rates.max() <= 2e-3


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


@pytest.mark.slow  # with rule=inner_val in test_metrics_after_kill.py
def test_a_killed_process_leaves_what_the_next_one_goes_on_from(three, run, whole, tmp_path):
    arguments = [*three, *SMALL, f"output_dir={tmp_path / 'outputs'}", "rule=average"]
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
    same_predictions(run(tmp_path / "outputs", "rule=average"), whole("average"))


# Checkpoints.


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path):
    class Unwritable:
        def __reduce__(self):
            raise StopError

    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    with pytest.raises(StopError):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2, "broken": Unwritable()}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1, DIGEST: content_digest({"epoch": 1})}
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
    assert torch.load(path, weights_only=True) == {"epoch": 1, DIGEST: content_digest({"epoch": 1})}
    assert list(tmp_path.iterdir()) == [path]


ORIGIN = {"study": "s", "fold": "f", "seed": 0}


class SmallModule(L.LightningModule):
    """Two layers, of which the second learns nothing."""

    def __init__(self):
        super().__init__()
        self.layer, self.unused = torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)


SMALL_MODULE = SmallModule()


def whole_checkpoint():
    """What Lightning writes for the small module after a step."""
    optimizer = torch.optim.AdamW(SMALL_MODULE.parameters())
    SMALL_MODULE.layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 4,
        "global_step": 9,
        "pytorch-lightning_version": "2.6.1",
        "state_dict": SMALL_MODULE.state_dict(),
        "loops": {},
        "callbacks": {},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{}],
        "origin": ORIGIN,
    }


def weights(**changes):
    """The small module's weights with changes; None takes one out."""
    changed = {**SMALL_MODULE.state_dict(), **{name.replace("_", "."): value for name, value in changes.items()}}
    return {"state_dict": {name: value for name, value in changed.items() if value is not None}}


def flipped(share):
    """Flip a bit of the file."""

    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(share * len(content))] ^= 16
        path.write_bytes(content)

    return damage


def put_folder(path):
    path.unlink()
    path.mkdir()


def flip_weights(path):
    """Flip a bit of the weights, which torch reads without a word."""
    content, values = path.read_bytes(), SMALL_MODULE.layer.weight.detach().numpy().tobytes()
    place = content.index(values)
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


class Call:
    """A pickle that would run a command."""

    def __reduce__(self):
        return pytest.fail, ("a checkpoint ran code",)


def put_pipe(path):
    path.unlink()
    os.mkfifo(path)


def put_loop(path):
    path.unlink()
    path.symlink_to(path)


DAMAGED_FILES = {  # how the file is damaged -> what the sentence says
    "text": (lambda path: path.write_text("epoch 3"), "missing or broken"),
    "nothing": (lambda path: path.write_bytes(b""), "missing or broken"),
    "half": (lambda path: path.write_bytes(path.read_bytes()[:2000]), "missing or broken"),
    "a folder": (put_folder, "missing or broken"),
    **({"a pipe": (put_pipe, "missing or broken")} if hasattr(os, "mkfifo") else {}),
    "a link to itself": (put_loop, "missing or broken"),
    "a bit of the weights": (flip_weights, "differs from its checksum"),
    "a bit of the pickle": (flipped(0.02), "missing or broken"),
    "a bit of the directory": (flipped(0.99), "missing or broken"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(Call())), "missing or broken"),
    "a pickle within": (lambda path: torch.save(whole_checkpoint() | {"x": Call()}, path), "missing or broken"),
    "an archive of something else": (lambda path: zipfile.ZipFile(path, "w").close(), "missing or broken"),
}
OTHER_CONTENT = {  # what differs -> what the sentence says
    "another network": ({"state_dict": {"x": torch.zeros(1)}}, "is of another network (5 tensors differ, such as "),
    "another width": (weights(layer_weight=torch.zeros(4, 3)), "(1 tensors differ, such as layer.weight)"),
    "a tensor less": (weights(layer_bias=None), "(1 tensors differ, such as layer.bias)"),
    "a tensor more": (weights(extra=torch.zeros(1)), "(1 tensors differ, such as extra)"),
    "text for a tensor": (weights(layer_bias="x"), "(1 tensors differ, such as layer.bias)"),
    "no optimiser": ({"optimizer_states": []}, "has the state of another optimiser"),
    "an empty optimiser": ({"optimizer_states": [{}]}, "has the state of another optimiser"),
    "an optimiser of nothing": ({"optimizer_states": [{"state": {}, "param_groups": []}]}, "another optimiser"),
    "an optimiser of other shapes": (
        {
            "optimizer_states": [
                {
                    "state": {0: {"exp_avg": torch.zeros(7), "exp_avg_sq": torch.zeros(7)}},
                    "param_groups": [{"params": [0, 1, 2, 3]}],
                }
            ]
        },
        "another optimiser",
    ),
    "a version that is none": ({"pytorch-lightning_version": "x"}, "has no usable pytorch-lightning_version"),
    "an epoch before the first": ({"epoch": -5}, "has no usable epoch"),
    "half an epoch": ({"epoch": 1.5}, "has no usable epoch"),
    "a true epoch": ({"epoch": True}, "has no usable epoch"),
    "another program's": ({"origin": "x"}, "is a checkpoint of another program"),
    **{
        f"{name} {value!r}": ({name: value}, f"has no usable {name}")
        for name in ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops", "callbacks",
                     "optimizer_states", "lr_schedulers")
        for value in ("text", None)
        if (name, value) != ("pytorch-lightning_version", "text")
    },
}  # fmt: skip


def refusal(folder):
    with pytest.raises(MefusionError) as error:
        last_checkpoint(folder, ORIGIN, SMALL_MODULE)
    sentence = str(error.value)
    assert sentence.startswith(str(folder / "last.ckpt"))
    assert sentence.endswith("and the fold starts again")
    assert "\n" not in sentence
    return sentence


def test_a_whole_checkpoint_is_gone_on_from(tmp_path):
    torch.save(whole_checkpoint(), tmp_path / "last.ckpt")
    assert last_checkpoint(tmp_path, ORIGIN, SMALL_MODULE).epochs == 5


@pytest.mark.parametrize("case", DAMAGED_FILES)
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, case):
    damage, part = DAMAGED_FILES[case]
    torch.save(whole_checkpoint(), tmp_path / "last.ckpt")
    damage(tmp_path / "last.ckpt")
    assert part in refusal(tmp_path)


@pytest.mark.parametrize("case", OTHER_CONTENT)
def test_a_checkpoint_that_does_not_fit_is_one_sentence(tmp_path, case):
    changes, part = OTHER_CONTENT[case]
    torch.save(whole_checkpoint() | changes, tmp_path / "last.ckpt")
    assert part in refusal(tmp_path)


def later(checkpoint):
    checkpoint["epoch"] = 99


def scaled(checkpoint):
    checkpoint["state_dict"]["layer.weight"] *= 2


def whole_numbers(checkpoint):
    checkpoint["state_dict"] = {name: tensor.to(torch.int64) for name, tensor in checkpoint["state_dict"].items()}


def without_callbacks(checkpoint):
    checkpoint["callbacks"] = {}


def without_moments(checkpoint):
    checkpoint["optimizer_states"][0]["state"] = {}


def with_more(checkpoint):
    checkpoint["more"] = 1


@pytest.mark.parametrize("change", [later, scaled, whole_numbers, without_callbacks, without_moments, with_more])
def test_a_checkpoint_that_was_changed_is_one_sentence(tmp_path, change):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(whole_checkpoint() | {"callbacks": {"last": {"best": ""}}}, path)
    assert last_checkpoint(tmp_path, ORIGIN, SMALL_MODULE).epochs == 5
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    assert "was changed after it was written" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["loops", "optimizer_states", "lr_schedulers", "pytorch-lightning_version"])
def test_a_checkpoint_of_weights_alone_is_one_sentence(tmp_path, name):
    checkpoint = whole_checkpoint()
    del checkpoint[name]
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert f"has no usable {name}" in refusal(tmp_path)


def test_a_best_epoch_of_another_network_is_one_sentence(tmp_path):
    path = tmp_path / "best.ckpt"
    torch.save({"epoch": 1, **weights(layer_bias=None)}, path)
    with pytest.raises(MefusionError, match=r"best\.ckpt is of another network \(1 tensors differ"):
        require_fit(path, read_checkpoint(path)["state_dict"], SMALL_MODULE)


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
        last_checkpoint(tmp_path, ORIGIN, SMALL_MODULE)


@pytest.mark.parametrize("content", [[1, 2], {"weights": 1}])
def test_a_file_that_is_no_checkpoint_is_one_sentence(tmp_path, content):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(MefusionError, match="not a checkpoint of a training"):
        last_checkpoint(tmp_path, ORIGIN, SMALL_MODULE)


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
