"""Callbacks of a training: how far it has come, and early stopping."""

import time
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import early_stopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from mefusion.processes.assignments import Event

INTERVAL = 0.5  # seconds between two steps that are told within an epoch
WARM_UP = 2  # training batches of a fold before the first is told: the process then has the memory that it needs


class FoldProgress(L.Callback):
    """Tells how far the training of a fold has come.

    Args:
        tell: is called with events of the kind `step`; may be replaced.
    """

    def __init__(self, tell: Callable[[Event], None]):
        self.tell = tell
        self._fold, self._told = "", 0.0

    def begin(self, fold: str) -> None:
        """Called before each fold."""
        self._fold = fold

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        if trainer.global_step >= WARM_UP:
            self._show(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        """Called by Lightning."""
        if trainer.global_step >= WARM_UP and time.monotonic() - self._told >= INTERVAL:
            self._show(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._show(trainer)

    def _show(self, trainer: L.Trainer) -> None:
        self._told = time.monotonic()
        share = trainer.global_step / trainer.estimated_stepping_batches
        self.tell(Event("step", fold=self._fold, text=f"epoch {trainer.current_epoch + 1}", share=min(share, 1.0)))


class EarlyStopping(early_stopping.EarlyStopping):
    """Lightning's early stopping, but a resumed training that had already stopped is not trained for one more epoch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        trainer.should_stop |= self.stopping_reason != EarlyStoppingReason.NOT_STOPPED
