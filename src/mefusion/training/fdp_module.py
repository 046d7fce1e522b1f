"""FDP as a LightningModule."""

from mefusion.training.module import MERModule


class FDPModule(MERModule):
    """Recognition, dynamic image and rank of frames from small frames."""

    view = "small"
