"""The LightningModule of all networks: losses, logging, optimiser and predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from mefusion.common.errors import MefusionError
from mefusion.evaluation.metrics import uf1
from mefusion.processes.distributed import gather_shares
from mefusion.training.losses import Task
from mefusion.training.settings import OptimizerName, OptimizerSettings, Schedule
from mefusion.windows.datamodule import Statistics
from mefusion.windows.store import Batch

OPTIMIZERS = {OptimizerName.adamw: torch.optim.AdamW, OptimizerName.adam: torch.optim.Adam}


@dataclass
class StepResult:
    """Output of the network for a batch, and its losses.

    Attributes:
        output: the network's output.
        losses: of the tasks, not yet weighted.
        loss: their weighted sum.
    """

    output: Any
    losses: dict[str, Tensor]
    loss: Tensor


@dataclass
class Prediction:
    """Predictions for a batch of windows.

    Attributes:
        clip: [B] row numbers of the clip table.
        probabilities: [B, K].
        errors: columns of the prediction table, [B] each.
    """

    clip: Tensor
    probabilities: Tensor
    errors: dict[str, Tensor]

    def by_clip(self) -> pd.DataFrame:
        """Average the probabilities and errors over the windows of each clip.

        Returns:
            One row for each clip; the index is its row number, the columns are the numbers of the classes, then the
            errors.
        """
        probabilities = self.probabilities.double().numpy()
        columns: dict[Any, np.ndarray] = {"clip": self.clip.numpy(), **dict(enumerate(probabilities.T))}
        columns |= {name: errors.double().numpy() for name, errors in self.errors.items()}
        return pd.DataFrame(columns).groupby("clip").mean()

    @classmethod
    def joined(cls, batches: Sequence["Prediction"], count: int) -> "Prediction":
        """Join the batches of all processes: all `count` windows in their order."""
        return cls(
            clip=gather_shares(torch.cat([batch.clip for batch in batches]), count),
            probabilities=gather_shares(torch.cat([batch.probabilities for batch in batches]), count),
            errors={
                name: gather_shares(torch.cat([b.errors[name] for b in batches]), count) for name in batches[0].errors
            },
        )


class MERModule(L.LightningModule):
    """Trains a network on the weighted sum of its tasks' losses and predicts windows.

    Args:
        network: its output has a field for each task.
        tasks: the tasks that are on, by name.
        optimizer: its settings.
        mean_shape: Extension: the predicted landmarks start at the mean shape of the training subjects.
    """

    def __init__(
        self, network: nn.Module, tasks: Mapping[str, Task], optimizer: OptimizerSettings, *, mean_shape: bool = False
    ):
        super().__init__()
        self.network, self.tasks, self.optimizer_settings = network, dict(tasks), optimizer
        self.mean_shape = mean_shape
        self._validated: list[Prediction] = []

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def initialise(self, statistics: Statistics) -> None:
        """Set initial values from the training subjects' statistics, if the network uses any."""
        if self.mean_shape and "landmarks" in self.tasks:
            self.network.initialise_landmarks(statistics.mean_shape)  # type: ignore[operator]
        if hasattr(self.network, "count"):
            self.network.count(statistics.class_counts)  # type: ignore[operator]

    @property
    def is_fitted(self) -> bool:
        """Whether the network is fitted at once, by a method `fit`, and not trained step by step."""
        return hasattr(self.network, "fit")

    def fit_network(self, batch: Batch) -> None:
        """Fit the network to all windows of the training subjects.

        `fit(inputs, labels, weights)` gets `[n, ...]` normalised inputs, `[n]` class numbers and `[n]` weights: those
        of the class that balance the loss; the windows of a clip share one weight, and all sum to the number of clips.
        """
        _, clip, windows = batch.clip.unique(return_inverse=True, return_counts=True)
        weights = 1 / windows[clip]
        if (classes := getattr(self.tasks["recognition"], "class_weights", None)) is not None:
            weights = weights * classes[batch.label]
        self.network.fit(batch.inputs, batch.label, weights * len(windows) / weights.sum())  # type: ignore[operator]

    def forward(self, inputs: Tensor) -> Any:
        """See the network's forward."""
        return self.network(inputs)

    def step(self, batch: Batch) -> StepResult:
        """Output and losses of a batch."""
        output = self(batch.inputs)
        losses = {name: self._loss(name, output, batch) for name in self.tasks}
        loss = torch.stack([self.tasks[name].weight * value for name, value in losses.items()]).sum()
        return StepResult(output=output, losses=losses, loss=loss)

    def _loss(self, name: str, output: Any, batch: Batch) -> Tensor:
        try:
            return self.tasks[name].loss(output, batch)
        except AttributeError as error:
            if error.obj is not output:
                raise
            missing, place = error.name, f"the network's output, a {type(output).__name__}"
        except KeyError as error:
            if error.args[0] in batch.targets:
                raise
            missing, place = error.args[0], f"what the view cuts ({', '.join(batch.targets) or 'no targets'})"
        raise MefusionError(f"the task {name} needs {missing}, which is not in {place}: give tasks.{name}.weight=0")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Weighted sum of the tasks' losses; logs it, each loss and the accuracy."""
        result = self.step(batch)
        accuracy = (result.output.logits.argmax(1) == batch.label).float().mean()
        logged = {f"{name}_loss": value for name, value in result.losses.items()}
        logged |= {"loss": result.loss, "accuracy": accuracy}
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in logged.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch),
            sync_dist=True,
        )
        return result.loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the class probabilities of the validation windows."""
        self._validated.append(Prediction(batch.clip.cpu(), self(batch.inputs).logits.float().softmax(1).cpu(), {}))

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation clips, and the criterion that selects the best epoch."""
        windows = self.trainer.val_dataloaders.dataset  # type: ignore[union-attr]
        scores = validation_scores(Prediction.joined(self._validated, len(windows)), windows.store.labels)
        self._validated.clear()
        self.log_dict({f"validation/{name}": scores[name] for name in ("uf1", "loss")}, sync_dist=True)
        self.log("validation/criterion", scores["criterion"], logger=False, sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Prediction:
        """Class probabilities and task errors of each window, on the CPU."""
        output = self(batch.inputs)
        errors = {name: value for task in self.tasks.values() for name, value in task.errors(output, batch).items()}
        return Prediction(
            clip=batch.clip.cpu(),
            probabilities=output.logits.float().softmax(1).cpu(),
            errors={name: value.float().cpu() for name, value in errors.items()},
        )

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Optimiser of the parameters that require gradients."""
        settings = self.optimizer_settings
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return OPTIMIZERS[settings.name](learning, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser, and learning-rate schedule that is updated after each step."""
        optimizer = self.make_optimizer()
        scheduler: torch.optim.lr_scheduler.LRScheduler
        settings = self.optimizer_settings
        if settings.schedule == Schedule.cosine:
            steps = int(self.trainer.estimated_stepping_batches)
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        elif settings.schedule == Schedule.one_cycle:
            steps = int(self.trainer.estimated_stepping_batches)
            # For a warm-up of exactly one step, OneCycleLR divides by zero.
            warmup = settings.warmup * (1 + 1e-9) if settings.warmup * steps == 1 else settings.warmup
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=steps, pct_start=warmup)
        else:
            scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def validation_scores(prediction: Prediction, labels: np.ndarray) -> dict[str, float]:
    """Scores of validation clips; a clip's probabilities are the means over its windows.

    Args:
        prediction: of all windows of the validation clips.
        labels: class numbers of all clips, by row of the clip table.

    Returns:
        `uf1`; `loss`, the mean negative log probability of the labels; and `criterion`, by which epochs are compared:
        UF1 minus a term below .001 that grows with the loss, so that the loss decides between equal UF1.
    """
    clips = prediction.by_clip()
    probabilities, truth = clips.to_numpy(), labels[clips.index]
    matrix = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(matrix, (truth, probabilities.argmax(1)), 1)
    loss = float(-np.log(probabilities[np.arange(len(clips)), truth] + 1e-12).mean())
    score = float(uf1(matrix))
    return {"uf1": score, "loss": loss, "criterion": score - 1e-3 * loss / (1 + loss)}
