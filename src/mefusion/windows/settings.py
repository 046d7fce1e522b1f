"""Which windows a model trains on, as a configuration says it."""

from dataclasses import dataclass
from enum import StrEnum

from mefusion.common.errors import MefusionError
from mefusion.windows.augmentation import Augmentation


class Windows(StrEnum):
    """Windows of a clip in an epoch: a random one, all, the first, or the two phases around the apex."""

    random = "random"
    all = "all"
    first = "first"
    dual_phase = "dual_phase"


@dataclass
class WindowSettings(Augmentation):
    """Windows and batches of a fold.

    Attributes:
        batch_size: windows a batch, of all processes together.
        windows: which windows of a clip an epoch shows.

    Raises:
        MefusionError: the batch size is below 1.
    """

    batch_size: int = 8
    windows: Windows = Windows.random

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 1:
            raise MefusionError(f"model.training.batch_size={self.batch_size}: give a number above 0")
