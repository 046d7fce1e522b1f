"""Checkpoints of a fold: the last one, to go on from, and those that its study's rule predicts with."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mefusion.training.settings import Rule

CRITERION = "validation/criterion"
"""What the best epoch has most of: UF1 of the validation clips, and of equal ones the lower loss."""

LAST, BEST = "last", "best"


def rule_callbacks(rule: Rule, folder: Path) -> list[Callback]:
    """What keeps a fold's checkpoints: the last one, to go on from, and what the rule asks for."""
    last = Checkpoint(folder, filename=LAST)
    if rule.validates:
        # The last is written last, so that it knows of the best.
        best = Checkpoint(folder, filename=BEST, monitor=CRITERION, mode="max", save_weights_only=True)
        return [best, last]
    return [MovingAverage(), last] if rule == Rule.average else [last]


def selected_checkpoint(rule: Rule, folder: Path) -> Path:
    """The checkpoint of a fold whose `state_dict` predicts."""
    return folder / f"{BEST if rule.validates else LAST}.ckpt"


class Checkpoint(ModelCheckpoint):
    """One file, replaced after each epoch or each better one; its folder may move between two runs."""

    def __init__(self, folder: Path, **options: Any):
        super().__init__(folder, enable_version_counter=False, save_on_train_epoch_end=True, **options)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Called by Lightning, which would forget the best score where the folder has another name now."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved: dict[str, Any] = {"dirpath": self.dirpath} | {key: here(state_dict[key]) for key in paths}
        moved["best_k_models"] = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved)


class MovingAverage(WeightAveraging):
    """Exponential moving average of weights and buffers, an update a step.

    The decay is .999, but (1 + n) / (10 + n) in step n as long as this is less, as in TensorFlow's
    ExponentialMovingAverage: a short training's average forgets where it started, too.
    """

    def __init__(self) -> None:
        super().__init__(multi_avg_fn=_average)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Called by Lightning, before the module is on its device."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


@torch.no_grad()
def _average(averaged: Any, current: Any, count: Tensor | int) -> None:
    if not averaged[0].is_floating_point():  # counts and tables of indices have no average
        torch._foreach_copy_(averaged, current)
        return
    decay = min(0.999, (1 + int(count)) / (10 + int(count)))
    get_ema_multi_avg_fn(decay)(averaged, current, count)
