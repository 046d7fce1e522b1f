"""What a training calls between epochs: the progress bar of a study, and early stopping."""

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
    """Show how far a study is while the block runs: its folds, the epoch of the present one, and the time left.

    Args:
        folds: how many are to be trained.
        console: where to; standard output unless given.

    Yields:
        What the folds' trainers are to call: nothing where no terminal shows it.
    """
    console = console or Console()
    if rank() > 0 or not console.is_terminal:
        yield []
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield [ShowProgress(bar, bar.add_task("", total=folds))]


class ShowProgress(L.Callback):
    """Moves a bar by a fold's share of a study with each epoch; see `progress_bar`."""

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
    """Lightning's; a training that was killed after it had stopped does not go on for one more epoch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        trainer.should_stop |= self.stopping_reason != EarlyStoppingReason.NOT_STOPPED
