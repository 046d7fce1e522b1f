"""MOL's heads, which read the F5C maps: recognition and landmarks."""

import torch
from einops import rearrange
from torch import Tensor, nn

from mefusion.models.mol.blocks import scaled

LANDMARKS = 68


class RecognitionHead(nn.Module):
    """A 3D convolution over the pairs' F5C maps, max pooling and a two-layer classifier.

    ``paper``: the two maps of a pair are joined along the channels, ``[2 c, t - 1, h, w]``. ``released``: they follow
    each other in time, ``[c, h, w, 2 (t - 1)]``. There is no activation between convolution and pooling.

    Args:
        channels: Channels c of the F5C maps.
        size: Height and width of the F5C maps.
        num_classes: Number of classes.
        clip_length: Frames t of a clip.
        width: Factor of the convolution's 32 output channels.
        hidden: Units of the classifier's hidden layer.
        dropout: Probability of dropout before each of the classifier's layers.
        variant: "paper" or "released".
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        num_classes: int,
        clip_length: int,
        width: float,
        hidden: int,
        dropout: float,
        variant: str,
    ) -> None:
        super().__init__()
        self.interleaved = variant == "released"
        maps = scaled(32, width)
        if self.interleaved:
            self.conv = nn.Conv3d(channels, maps, (2, 2, 5), (2, 2, 1))
            self.pool = nn.MaxPool3d(2)
        else:
            self.conv = nn.Conv3d(2 * channels, maps, (3, 2, 2), (1, 2, 2))
            self.pool = nn.MaxPool3d((1, 2, 2))
        self.dropout = nn.Dropout(dropout)
        # In both variants t - 3 steps in time are left, and a quarter of the map's height and width.
        self.fc1 = nn.Linear(maps * (clip_length - 3) * (size // 4) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute logits ``[b, classes]`` from the maps ``[b, t - 1, c, h, w]`` of the pairs' frames."""
        if self.interleaved:
            x = rearrange([first, second], "two b t c h w -> b c h w (t two)")
        else:
            x = rearrange([first, second], "two b t c h w -> b (two c) t h w")
        x = self.pool(self.conv(x)).flatten(1)
        x = self.fc1(self.dropout(x)).relu()
        return self.fc2(self.dropout(x))


class LandmarkHead(nn.Module):
    """A 3x3 convolution and two fully-connected layers, for each frame.

    Args:
        channels: Channels of the F5C maps.
        size: Height and width of the F5C maps.
        width: Factor of the convolution's 32 output channels.
        hidden: Units of the hidden layer.
    """

    def __init__(self, channels: int, size: int, *, width: float, hidden: int) -> None:
        super().__init__()
        maps = scaled(32, width)
        self.conv = nn.Conv2d(channels, maps, 3)
        self.fc1 = nn.Linear(maps * (size - 2) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, LANDMARKS * 2)

    def forward(self, maps: Tensor) -> Tensor:
        """Predict landmarks ``[b, t, 68, 2]`` from maps ``[b, t, c, h, w]``."""
        x = self.conv(rearrange(maps, "b t c h w -> (b t) c h w")).relu()
        x = self.fc1(x.flatten(1)).relu()
        # Half precision would round coordinates near 100 pixels to half a pixel.
        with torch.autocast(x.device.type, enabled=False):
            points = self.fc2(x.to(self.fc2.weight.dtype))
        return rearrange(points, "(b t) (point xy) -> b t point xy", b=maps.shape[0], xy=2)
