"""Several processes that share a training, on CPUs through gloo."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from mefusion.commands import train
from mefusion.evaluation.predictions import load_predictions
from mefusion.processes import distributed
from mefusion.windows.datamodule import SharedBatchSampler
from mefusion.windows.settings import Windows
from mefusion.windows.store import EpochSampler

# OFF-ApexNet has no batch normalisation; without dropout its steps are the same however a batch is shared out.
MODEL = ("model=off_apexnet", "imbalance=class_weights", "model.training.max_epochs=3", "model.training.batch_size=4")
SCRIPT = """
from mefusion.models.baselines import network
from mefusion.commands.train import main

network.DROPOUT = 0
main()
"""


@pytest.fixture
def process(monkeypatch):
    """Pretend to be a process of several."""

    def process(rank, count):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "processes", lambda: count)

    return process


def table_of(study):
    return load_predictions(study).sort_values(["subject", "clip_id"], ignore_index=True)


def test_one_process_has_the_whole():
    assert (distributed.rank(), distributed.processes()) == (0, 1)
    assert distributed.own_share(range(5)) == [0, 1, 2, 3, 4]
    assert distributed.broadcast("x") == "x"
    assert distributed.gather_shares(torch.arange(5), 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("items", "count"), [(7, 2), (8, 4), (1, 3), (0, 2), (5, 5), (2, 3)])
def test_parts_are_equally_large_and_put_together_are_the_whole(process, monkeypatch, items, count):
    parts = []
    for rank in range(count):
        process(rank, count)
        parts.append(torch.tensor(distributed.own_share([10 * n for n in range(items)]), dtype=torch.float))
    assert len({len(part) for part in parts}) == 1
    monkeypatch.setattr(distributed, "_several_processes", lambda: True)
    monkeypatch.setattr(
        torch.distributed, "all_gather_object", lambda found, mine: found.__setitem__(slice(None), parts)
    )
    assert distributed.gather_shares(parts[0], items).tolist() == [10 * n for n in range(items)]


def test_a_batch_is_shared_out_and_drawn_by_nobody_anew(process):
    class Store:
        labels = np.arange(10) % 2

    sampler = EpochSampler(Store, np.arange(10), windows=Windows.first, seed=0)
    alone = list(SharedBatchSampler(sampler, 4, drop_last=False))
    assert [len(batch) for batch in alone] == [4, 4, 2]
    shares = []
    for rank in range(2):
        process(rank, 2)
        shares.append(list(SharedBatchSampler(sampler, 4, drop_last=False)))
    for whole, one, other in zip(alone, *shares, strict=True):
        assert sorted([*one, *other]) == sorted(whole)
        assert len(one) == len(other)


@pytest.mark.slow
def test_two_processes_train_and_predict_as_one_does(three, tmp_path, monkeypatch):
    script = tmp_path / "without_dropout.py"
    script.write_text(SCRIPT)
    arguments = [*three, *MODEL, "rule=inner_val"]
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.deterministic=true"]
    done = run_script(script, *arguments, *ddp, f"output_dir={tmp_path / 'two'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [line.split(":")[0] for line in done.stdout.splitlines()[1:4]] == [
        f"fold {n}/3 synthetic-sub0{n}" for n in (1, 2, 3)
    ]
    monkeypatch.setattr("mefusion.models.baselines.network.DROPOUT", 0)
    monkeypatch.setattr(sys, "argv", ["mefusion-train", *arguments, f"output_dir={tmp_path / 'one'}"])
    train.main()
    torch.use_deterministic_algorithms(False)
    (two,), (one,) = ((tmp_path / name).iterdir() for name in ("two", "one"))
    assert two.name == one.name  # devices make no other study
    tables = [table_of(study) for study in (two, one)]
    assert len(tables[0]) == 6
    pd.testing.assert_frame_equal(*tables, rtol=1e-4)
    for fold in ("synthetic-sub01", "synthetic-sub03"):
        logs = [pd.read_csv(study / "folds" / fold / "metrics.csv") for study in (two, one)]
        pd.testing.assert_frame_equal(*logs, rtol=1e-4)
    told = json.loads((two / "folds" / "synthetic-sub01" / "fold.json").read_text())
    assert told["processes"] == 2


def run_script(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=cwd, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_starts_the_second_process_itself(tiny, script, tmp_path):
    small = ("model=off_apexnet", "model.training.max_epochs=1")
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "protocol.folds=[sub02]")
    done = script("mefusion-train", *tiny.overrides, *small, *ddp, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fold 1/1 synthetic-sub02") == 1
    (study,) = (tmp_path / "outputs").iterdir()
    table = table_of(study / "folds" / "synthetic-sub02")
    expected = tiny.index[tiny.index["subject"] == "synthetic/sub02"]
    assert table["clip_id"].tolist() == sorted(expected["clip_id"])  # three windows, of which one process has two


@pytest.mark.slow
def test_what_is_wrong_in_two_processes_shows_once(tiny, script, tmp_path):
    ddp = ("model=off_apexnet", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    wrong = script(
        "mefusion-train", *tiny.overrides, *ddp, "model.training.max_epochs=2", "model.optimizer.lr=1e30", cwd=tmp_path
    )
    assert wrong.returncode == 1
    assert wrong.stderr.count("diverged") == 1
    assert "Traceback" not in wrong.stderr


def test_several_devices_in_a_sweep_are_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEFUSION_RESULT_FILE", str(tmp_path / "result"))
    monkeypatch.setattr(sys, "argv", ["mefusion-train", *tiny.overrides, "trainer.devices=2"])
    sentence = r"trainer\.devices=2 is not possible in a sweep.* give trainer\.devices=1, and the jobs run at the same"
    with pytest.raises(SystemExit, match=sentence):
        train.main()
    assert not (tmp_path / "outputs").exists()
