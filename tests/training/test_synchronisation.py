"""A training step on a GPU must not wait for a value of the step before."""

from contextlib import nullcontext

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from composed import settings_of
from torch.utils._python_dispatch import TorchDispatchMode

from mefusion.bench.measuring import random_batch
from mefusion.clips.cache import save_arrays
from mefusion.configuration.building import make_module
from mefusion.configuration.composition import resolve_tasks
from mefusion.evaluation.folds import leave_one_subject_out
from mefusion.models import STSTNet
from mefusion.training.losses import Recognition
from mefusion.training.module import MERModule
from mefusion.training.settings import OptimizerSettings
from mefusion.windows.datamodule import FoldData, Statistics
from mefusion.windows.settings import Windows, WindowSettings
from mefusion.windows.store import ClipStore
from mefusion.windows.views import make_view

STATISTICS = Statistics(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), torch.ones(3), torch.zeros(68, 2))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=mol_tiny"],
        ["model=mol_released", "model.network.width=0.125"],
        ["model=fdp_tiny"],
        ["model=fdp_released", "model.network.width=0.125"],
        ["model=ststnet", "imbalance=class_weights"],
        ["model=ststnet", "imbalance=logit_adjustment"],
    ],
    ids=" ".join,
)
def test_a_step_needs_no_value_of_its_tensors(overrides, monkeypatch):
    # Tensors on the device "meta" have no values: .item(), .cpu(), a test of a value or a mask as an index fail.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # does not know this device
    settings = settings_of(*overrides)
    module = make_module(settings, resolve_tasks(settings), STATISTICS).to("meta").train()
    batch = random_batch(settings, 4).to(torch.device("meta"))
    module.step(batch).loss.backward()
    assert all(parameter.grad is not None for parameter in module.parameters() if parameter.requires_grad)


def test_the_check_finds_a_value_that_is_read():
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.ones(2, device="meta").sum().item()
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.ones(2, device="meta").cpu()


class CountValues(TorchDispatchMode, L.Callback):
    """Counts the values that are read from tensors within training batches."""

    def __init__(self):
        super().__init__()
        self.counting, self.read, self.batches = False, 0, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.read += self.counting and operation is torch.ops.aten._local_scalar_dense.default
        return operation(*args, **(kwargs or {}))

    def on_train_batch_start(self, *_):
        self.counting = True

    def on_train_batch_end(self, *_):
        self.counting, self.batches = False, self.batches + 1


class Peeking(MERModule):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.last = loss.item()
        return loss


def flow_image_fold(folder):
    for number in range(6):
        flow = np.random.default_rng(number).normal(size=(2, 40, 40)).astype(np.float16)
        save_arrays(folder / f"{number}.safetensors", {"onset_apex_flow": flow}, {})
    rows = [
        {"subject": f"d/{n // 2}", "clip_id": str(n), "file": f"{n}.safetensors", "stride": 1, "apex_place": 1}
        for n in range(6)
    ]
    index = pd.DataFrame(rows).assign(label=["a", "b"] * 3)
    view = make_view("flow_image", image_size=28)
    store = ClipStore(index, folder, classes=("a", "b"), clip_length=3, view=view)
    settings = WindowSettings(batch_size=2, windows=Windows.first, flip=True)
    fold = leave_one_subject_out(store.index["subject"])[0]
    return FoldData(store, fold, settings, image_size=28, seed=0, resident=True)


@pytest.mark.parametrize(("kind", "values"), [(MERModule, 0), (Peeking, 1)])
def test_training_logs_without_reading_a_value(kind, values, tmp_path):
    counted = CountValues()
    module = kind(STSTNet(2), {"recognition": Recognition(1)}, OptimizerSettings())
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        callbacks=[counted],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
        default_root_dir=tmp_path,
    )
    with counted:
        trainer.fit(module, datamodule=flow_image_fold(tmp_path))
    assert counted.batches == 4
    assert counted.read == values * counted.batches
