"""metrics.csv of a training that was killed at any rename, and run again, is that of an uninterrupted one."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import lightning as L
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from torch.utils.data import DataLoader, TensorDataset

from mefusion.evaluation.predictions import load_predictions
from mefusion.training.checkpoints import rule_callbacks
from mefusion.training.loggers import MetricsFile, read_rows
from mefusion.training.resume import AtomicCheckpointIO, FoldCallback, last_checkpoint, trim_log
from mefusion.training.settings import Rule

ORIGIN = {"study": "s", "fold": "f", "seed": 0}
EPOCHS = 3


class KillError(Exception):
    pass


class Line(L.LightningModule):
    """Fits a line; its made-up UF1 is best in the second epoch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = (self.layer(batch[0]) - batch[0]).square().mean()
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        score = -abs(self.current_epoch - 1.0)
        self.log("validation/uf1", score)
        self.log("validation/criterion", score, logger=False)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)}


def train(folder):
    """Start or resume a fold, as `run_fold` does."""
    L.seed_everything(0, verbose=False)
    module = Line()
    resumed = last_checkpoint(folder / "checkpoints", ORIGIN, module)
    trim_log(folder / "metrics.csv", *((resumed.epochs, resumed.steps) if resumed else (0, 0)))
    trainer = L.Trainer(
        callbacks=[
            *(FoldCallback(0, ORIGIN), *rule_callbacks(Rule.inner_val, folder / "checkpoints")),
            LearningRateMonitor("step"),
        ],
        logger=[MetricsFile(folder / "metrics.csv")],
        plugins=[AtomicCheckpointIO()],
        accelerator="cpu",
        max_epochs=EPOCHS,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    data = DataLoader(TensorDataset(torch.arange(4.0)[:, None] / 4), batch_size=2)
    trainer.fit(module, data, data, ckpt_path=resumed and resumed.path, weights_only=True)


def renames(patch, *, stop=None, after=False):
    """Names of the files that are renamed from now on; the `stop`-th rename raises, before or after it is done."""
    names, rename = [], os.replace

    def counted(source, target):
        names.append(Path(target).name)
        if len(names) == stop and not after:
            raise KillError
        rename(source, target)
        if len(names) == stop:
            raise KillError

    patch.setattr(os, "replace", counted)
    return names


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("after", [False, True])
def test_a_training_stopped_at_any_rename_has_the_same_log(tmp_path, monkeypatch, after):
    with monkeypatch.context() as patch:
        names = renames(patch)
        train(tmp_path / "whole")
    expected = (tmp_path / "whole" / "metrics.csv").read_bytes()
    rows = read_rows(tmp_path / "whole" / "metrics.csv")
    assert [row["epoch"] for row in rows if "train/loss" in row] == ["0", "1", "2"]
    assert [row["epoch"] for row in rows if "validation/uf1" in row] == ["0", "1", "2"]
    assert len([row for row in rows if "lr-SGD" in row]) == 2 * EPOCHS
    assert names.count("last.ckpt") == EPOCHS
    for number in range(1, len(names) + 1):
        fold = tmp_path / str(number)
        with monkeypatch.context() as patch:
            renames(patch, stop=number, after=after)
            with pytest.raises(KillError):
                train(fold)
        train(fold)
        assert (fold / "metrics.csv").read_bytes() == expected, f"stopped at rename {number}, of {names[number - 1]}"


KILLED = """
    import os, pathlib, signal, sys
    count = 2  # checkpoints
    rename = os.replace
    def killing(source, to):
        global count
        rename(source, to)
        count -= pathlib.Path(to).name == "last.ckpt"
        if not count:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = killing
    from mefusion.commands import train
    train.main()
"""


@pytest.mark.slow
def test_the_command_killed_at_a_rename_goes_on_to_the_same_log_and_predictions(three, tmp_path, command):
    small = ("trainer=smoke", "trainer.max_epochs=2", "model.training.batch_size=1", "model.network.width=0.0625")
    arguments = [*three, *small, "model.network.image_size=64", "protocol.folds=[sub02]", "rule=inner_val"]
    program = [sys.executable, "-c", textwrap.dedent(KILLED), *arguments, "output_dir=killed"]
    killed = subprocess.run(program, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    assert not [*tmp_path.rglob("DONE")]
    for output in ("killed", "whole"):
        assert command("mefusion-train", *arguments, f"output_dir={output}", cwd=tmp_path).returncode == 0
    (gone_on,), (whole,) = (tmp_path.glob(f"{name}/*/folds/*") for name in ("killed", "whole"))
    assert (gone_on / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    pd.testing.assert_frame_equal(load_predictions(gone_on), load_predictions(whole), check_exact=True)
