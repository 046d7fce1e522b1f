"""How a model is trained, as a configuration says it. Without torch, so that commands answer at once."""

from dataclasses import dataclass
from enum import StrEnum

from mefusion.common.errors import MefusionError
from mefusion.windows.settings import WindowSettings


class Rule(StrEnum):
    """Which weights of a training predict the test subjects.

    The last ones; those of the best epoch on validation subjects; their moving average; or those of the best epoch on
    the test subjects, as most published numbers are made.
    """

    last = "last"
    inner_val = "inner_val"
    average = "average"
    oracle = "oracle"

    @property
    def validates(self) -> bool:
        """Whether the rule looks at clips after each epoch."""
        return self in (Rule.inner_val, Rule.oracle)


class Imbalance(StrEnum):
    """What makes up for classes of different size, see `mefusion.training.losses.Recognition`."""

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
    """Course of the learning rate: it stays, or falls to 0 along a half cosine over the whole training."""

    constant = "constant"
    cosine = "cosine"


@dataclass
class OptimizerSettings:
    """Optimiser of a model.

    Attributes:
        lr: learning rate.
        weight_decay: of all parameters.
        name: which one.
        schedule: course of the learning rate.

    Raises:
        MefusionError: a number is below 0.
    """

    lr: float = 1e-4
    weight_decay: float = 1e-3
    name: OptimizerName = OptimizerName.adamw
    schedule: Schedule = Schedule.constant

    def __post_init__(self) -> None:
        for option in ("lr", "weight_decay"):
            if getattr(self, option) < 0:
                raise MefusionError(f"model.optimizer.{option}={getattr(self, option)}: give a number from 0 up")


@dataclass
class TrainingSettings(WindowSettings):
    """On which windows and how long a model trains.

    Attributes:
        max_epochs: epochs, -1 for no limit.
        max_steps: steps, -1 for no limit; one of the two has to be set.
    """

    max_epochs: int = -1
    max_steps: int = -1
