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
        copies: how often an epoch uses each of them, each time augmented anew.

    Raises:
        MefusionError: the batch size or the number of copies is below 1.
    """

    batch_size: int = 8
    windows: Windows = Windows.random
    copies: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "copies"):
            if getattr(self, name) < 1:
                raise MefusionError(f"model.training.{name}={getattr(self, name)}: give a number above 0")
