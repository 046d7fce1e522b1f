"""Checkpoints of a fold: the last one, to resume from, and the one whose weights predict by the study's rule."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mefusion.training.settings import Rule

CRITERION = "validation/criterion"
"""The best epoch has the largest value: the UF1 of the validation clips, and among equal UF1 the lower loss."""

LAST, BEST = "last", "best"


def rule_callbacks(rule: Rule, folder: Path) -> list[Callback]:
    """Callbacks that write a fold's checkpoints: the last one, to resume from, and the one that the rule needs."""
    last = Checkpoint(folder, filename=LAST)
    if rule.validates:
        # The last checkpoint is written after the best one, since it also stores the state of that callback.
        best = Checkpoint(folder, filename=BEST, monitor=CRITERION, mode="max", save_weights_only=True)
        return [best, last]
    return [MovingAverage(), last] if rule == Rule.average else [last]


def selected_checkpoint(rule: Rule, folder: Path) -> Path:
    """Path of the checkpoint whose weights predict the fold's test subjects."""
    return folder / f"{BEST if rule.validates else LAST}.ckpt"


class Checkpoint(ModelCheckpoint):
    """One file, replaced after each epoch or each better epoch; its folder may be moved between two runs."""

    def __init__(self, folder: Path, **options: Any):
        super().__init__(folder, enable_version_counter=False, save_on_train_epoch_end=True, **options)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning, which by itself would forget the best score if the folder was moved."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved: dict[str, Any] = {"dirpath": self.dirpath} | {key: here(state_dict[key]) for key in paths}
        moved["best_k_models"] = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved)


class MovingAverage(WeightAveraging):
    """Exponential moving average of weights and buffers, updated after each step.

    The decay in step n is the smaller of .999 and (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage. So
    the average forgets the initial weights in a short training, too.
    """

    def __init__(self) -> None:
        super().__init__(multi_avg_fn=_average)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Called by Lightning, before the module is on its device."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


@torch.no_grad()
def _average(averaged: Any, current: Any, count: Tensor | int) -> None:
    if not averaged[0].is_floating_point():  # counters and indices cannot be averaged
        torch._foreach_copy_(averaged, current)
        return
    decay = min(0.999, (1 + int(count)) / (10 + int(count)))
    get_ema_multi_avg_fn(decay)(averaged, current, count)
