"""FDP as a LightningModule."""

from mefusion.models.module import MERModule


class FDPModule(MERModule):
    """Recognition, dynamic image and rank of frames from small frames."""

    view = "small"
