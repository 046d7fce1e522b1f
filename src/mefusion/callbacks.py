"""What is done between epochs besides training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from matplotlib.image import imread
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mefusion.data.datamodule import FoldData
from mefusion.distributed import rank
from mefusion.files import replacing
from mefusion.models.module import MERModule


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
        self.bar.update(self.task, completed=self.folds + share, description=text)


class ShowExamples(L.Callback):
    """Draws what the network predicts for some test clips beside their targets, into pictures and the loggers.

    Args:
        folder: the fold's; receives `examples/epoch<n>.png`.
        every: epochs between two pictures.
    """

    def __init__(self, folder: Path, *, every: int):
        self.folder, self.every = folder, every

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, MERModule)
        examples = predict_examples(pl_module, trainer.datamodule)  # type: ignore[attr-defined]
        if not examples:
            return
        from mefusion.plots import contact_sheet

        picture = self.folder / "examples" / f"epoch{epoch:04d}.png"
        figure = contact_sheet(examples, title=f"{self.folder.name} after epoch {epoch}")
        with replacing(picture) as temporary:
            figure.savefig(temporary, format="png", dpi=100)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("examples", [str(picture)], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                pixels = imread(picture)
                logger.experiment.add_image("examples", pixels, trainer.global_step, dataformats="HWC")


@torch.no_grad()
def predict_examples(module: MERModule, data: FoldData) -> list[dict[str, Any]]:
    """One window a class of a fold's test clips, as `plots.load_examples` gives them.

    Args:
        module: is left in the mode that it was in.
        data: of the fold.

    Returns:
        None where the network sees no frames, since a picture shows them.
    """
    raw = data.examples()
    if raw.inputs.dim() != 5:
        return []
    training = module.training
    output = module.eval()(data.normalise(raw).inputs.to(module.device))
    module.train(training)
    answers = output.logits.argmax(1).tolist()
    examples = []
    for row, clip in enumerate(raw.clip.tolist()):
        facts = data.store.index.loc[clip]
        example = {name: str(facts[name]) for name in ("clip_id", "subject", "label")}
        example["prediction"] = data.store.classes[answers[row]]
        arrays = {"frames": raw.inputs[row, :, 0].numpy()}
        for name in ("flow", "landmarks", "dynamic_image"):
            if name in module.tasks:
                arrays[name] = getattr(output, name)[row].float().cpu().numpy()
                arrays[f"{name}_target"] = getattr(raw, name)[row].numpy()
        if "rank" in module.tasks:
            arrays["rank_scores"] = output.rank_scores[row].float().cpu().numpy()
        examples.append(example | arrays)
    return examples
