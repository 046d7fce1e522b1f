"""Settings of the windows that a model is trained on."""

from dataclasses import dataclass
from enum import StrEnum

from mefusion.common.errors import MefusionError
from mefusion.windows.augmentation import Augmentation


class Windows(StrEnum):
    """Windows of a clip in each epoch: one at random, all, the first, or the two before and after the apex."""

    random = "random"
    all = "all"
    first = "first"
    dual_phase = "dual_phase"


@dataclass
class WindowSettings(Augmentation):
    """Settings of windows, batches and augmentation.

    Attributes:
        batch_size: number of windows in a batch, all processes together.
        windows: windows of each clip that an epoch uses.

    Raises:
        MefusionError: the batch size is below 1.
    """

    batch_size: int = 8
    windows: Windows = Windows.random

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1:
            raise MefusionError(f"model.training.batch_size={self.batch_size}: give a number above 0")
