"""Settings of training. Does not import torch, so that the commands start at once."""

from dataclasses import dataclass
from enum import StrEnum

from mefusion.common.errors import MefusionError
from mefusion.windows.settings import WindowSettings


class Rule(StrEnum):
    """Which weights of a training predict the test subjects.

    `last`: those of the last epoch; `inner_val`: those of the best epoch on validation subjects; `average`: the moving
    average of the weights; `oracle`: those of the best epoch on the test subjects, as in most published numbers.
    """

    last = "last"
    inner_val = "inner_val"
    average = "average"
    oracle = "oracle"

    @property
    def validates(self) -> bool:
        """Whether the rule scores clips after each epoch."""
        return self in (Rule.inner_val, Rule.oracle)


class Imbalance(StrEnum):
    """How classes of different size are balanced, see `mefusion.training.losses.Recognition`."""

    none = "none"
    class_weights = "class_weights"
    sampler = "sampler"
    logit_adjustment = "logit_adjustment"
    focal = "focal"


class OptimizerName(StrEnum):
    """The optimisers."""

    adamw = "adamw"
    adam = "adam"


class Schedule(StrEnum):
    """How the learning rate changes over the whole training.

    `constant`; `cosine`: it falls to 0 along a half cosine; `one_cycle`: it first rises, along a half cosine too (Smith
    and Topin 2019, as in `torch.optim.lr_scheduler.OneCycleLR`).
    """

    constant = "constant"
    cosine = "cosine"
    one_cycle = "one_cycle"


def batches_of_epoch(batches: int, limit: int | float | None) -> int:
    """Number of training batches of an epoch.

    Args:
        batches: that the data has.
        limit: `limit_train_batches` of Lightning's Trainer, a number of batches or a share; None means all.
    """
    if isinstance(limit, float):
        return max(int(batches * limit), 1)
    return batches if limit is None else min(batches, limit)


@dataclass
class OptimizerSettings:
    """Optimiser of a model.

    Attributes:
        lr: learning rate.
        weight_decay: of all parameters.
        name: which optimiser.
        schedule: how the learning rate changes.
        warmup: share of the steps in which the learning rate rises, with `one_cycle`.

    Raises:
        MefusionError: a number is below 0, or the warm-up is not a share.
    """

    lr: float = 1e-4
    weight_decay: float = 1e-3
    name: OptimizerName = OptimizerName.adamw
    schedule: Schedule = Schedule.constant
    warmup: float = 0.15

    def __post_init__(self) -> None:
        for option in ("lr", "weight_decay"):
            if getattr(self, option) < 0:
                raise MefusionError(f"model.optimizer.{option}={getattr(self, option)}: give a number from 0 up")
        if not 0 < self.warmup < 1:
            raise MefusionError(f"model.optimizer.warmup={self.warmup}: give a number between 0 and 1")


@dataclass
class TrainingSettings(WindowSettings):
    """Which windows a model is trained on, and how long.

    Attributes:
        max_epochs: largest number of epochs; -1 means no limit.
        max_steps: largest number of steps; -1 means no limit. One of the two must be set.
        label_smoothing: this share of a label is given to all classes alike.

    Raises:
        MefusionError: the label smoothing is not a share.
    """

    max_epochs: int = -1
    max_steps: int = -1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise MefusionError(f"model.training.label_smoothing={self.label_smoothing}: choose from 0 to below 1")
