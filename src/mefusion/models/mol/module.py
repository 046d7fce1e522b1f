"""MOL as a LightningModule."""

from collections.abc import Mapping
from dataclasses import dataclass

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from mefusion.data.clips import Batch
from mefusion.errors import MefusionError
from mefusion.tasks import Task

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW and its learning rate, which stays or falls to 0 along a half cosine over the whole training."""

    lr: float = 1e-4
    weight_decay: float = 1e-3
    schedule: str = "constant"

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise MefusionError(f"model.optimizer.schedule={self.schedule}: choose from {', '.join(SCHEDULES)}")


@dataclass
class Prediction:
    """What a batch of windows is predicted to be.

    Attributes:
        clip: [B] row numbers of the clip table.
        probabilities: [B, K].
        errors: columns of the prediction table, [B] each.
    """

    clip: Tensor
    probabilities: Tensor
    errors: dict[str, Tensor]


class MOLModule(L.LightningModule):
    """Trains a network on the weighted sum of its tasks' losses and predicts windows.

    Args:
        network: its output has a field for each task.
        tasks: by name, those that are on.
        optimizer: settings of AdamW.
    """

    def __init__(self, network: nn.Module, tasks: Mapping[str, Task], optimizer: OptimizerSettings):
        super().__init__()
        self.network, self.tasks, self.optimizer_settings = network, dict(tasks), optimizer

    def forward(self, frames: Tensor):
        """See the network's forward."""
        return self.network(frames)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Weighted sum of the tasks' losses."""
        output = self(batch.frames)
        losses = {name: task.loss(output, batch) for name, task in self.tasks.items()}
        loss = torch.stack([self.tasks[name].weight * value for name, value in losses.items()]).sum()
        accuracy = (output.logits.argmax(1) == batch.label).float().mean()
        logged = {"loss": loss, "accuracy": accuracy} | {f"{name}_loss": value for name, value in losses.items()}
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in logged.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(batch),
        )
        return loss

    def predict_step(self, batch: Batch, batch_idx: int) -> Prediction:
        """Class probabilities and task errors of each window, on the CPU."""
        output = self(batch.frames)
        errors = {name: value for task in self.tasks.values() for name, value in task.errors(output, batch).items()}
        return Prediction(
            clip=batch.clip.cpu(),
            probabilities=output.logits.float().softmax(1).cpu(),
            errors={name: value.float().cpu() for name, value in errors.items()},
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over the parameters that learn, and the schedule, a step at a time."""
        settings = self.optimizer_settings
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=settings.lr, weight_decay=settings.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler: torch.optim.lr_scheduler.LRScheduler
        if settings.schedule == "cosine":
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        else:
            scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
