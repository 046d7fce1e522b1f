"""MOL as a LightningModule."""

from typing import Any

from mefusion.training.module import MERModule
from mefusion.windows.datamodule import Statistics


class MOLModule(MERModule):
    """Recognition, optical flow and landmarks from frames on the canvas.

    Args:
        mean_shape: Extension: landmarks start at the training subjects' mean shape.
        *others: see `MERModule`.
    """

    view = "canvas"

    def __init__(self, *others: Any, mean_shape: bool = False):
        super().__init__(*others)
        self.mean_shape = mean_shape

    def initialise(self, statistics: Statistics) -> None:
        """See `MERModule.initialise`."""
        if self.mean_shape and "landmarks" in self.tasks:
            self.network.initialise_landmarks(statistics.mean_shape)  # type: ignore[operator]
