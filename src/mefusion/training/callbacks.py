"""Callbacks of a training: the progress bar of a study, and early stopping."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
from lightning.pytorch.callbacks import early_stopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mefusion.common.distributed import rank


@contextmanager
def progress_bar(folds: int, console: Console | None = None) -> Iterator[list[L.Callback]]:
    """Show the progress of a study while the block runs: the fold, its epoch, and the time left.

    Args:
        folds: number of folds to train.
        console: where the bar is shown; by default standard output.

    Yields:
        Callbacks for the folds' trainers; an empty list if the output is not a terminal.
    """
    console = console or Console()
    if rank() > 0 or not console.is_terminal:
        yield []
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield [ShowProgress(bar, bar.add_task("", total=folds))]


class ShowProgress(L.Callback):
    """Moves the bar of `progress_bar` after each epoch."""

    def __init__(self, bar: Progress, task: TaskID):
        self.bar, self.task, self.folds = bar, task, 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._show(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._show(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self.folds += 1
        self.bar.update(self.task, completed=self.folds)

    def _show(self, trainer: L.Trainer) -> None:
        share = trainer.global_step / trainer.estimated_stepping_batches
        text = f"fold {self.folds + 1}/{self.bar.tasks[self.task].total:.0f}, epoch {trainer.current_epoch + 1}"
        self.bar.update(self.task, completed=self.folds + share, description=text, refresh=True)


class EarlyStopping(early_stopping.EarlyStopping):
    """Lightning's early stopping, but a resumed training that had already stopped is not trained for one more epoch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        trainer.should_stop |= self.stopping_reason != EarlyStoppingReason.NOT_STOPPED
