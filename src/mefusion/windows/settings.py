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


class Normalisation(StrEnum):
    """How flow images are normalised.

    `pixels`: as they are, then by mean and standard deviation of the training subjects. The others take each image by
    itself, and nothing of the training subjects. `stretched`: each channel to its own range; flow in -.5..0.5, strain
    in 0..1. `standardised`: flow less its median, over its standard deviation; strain over its standard deviation.
    """

    pixels = "pixels"
    stretched = "stretched"
    standardised = "standardised"


@dataclass
class FlowSettings:
    """What models of flow images see.

    Attributes:
        strain: whether they see the optical strain; otherwise that channel is 0.
        normalisation: of the images.
        mirror_test: whether a test clip is predicted from its mirrored image too; its probabilities are the mean.
    """

    strain: bool = True
    normalisation: Normalisation = Normalisation.pixels
    mirror_test: bool = False


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
