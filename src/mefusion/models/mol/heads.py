"""MOL's heads on F5C maps: recognition and landmarks."""

import torch
from einops import rearrange
from torch import Tensor, nn

from mefusion.models.mol.blocks import scaled

LANDMARKS = 68


class RecognitionHead(nn.Module):
    """A 3D convolution over the pairs' F5C maps, max pooling and a two-layer classifier.

    ``paper``: a pair's maps are joined on channels, ``[2 c, t - 1, h, w]``. ``released``: they follow one
    another in time, ``[c, h, w, 2 (t - 1)]``. There is no activation between convolution and pooling.

    Args:
        channels: Channels c of the F5C maps.
        size: Their height and width.
        num_classes: Classes.
        clip_length: Frames t of a clip.
        width: Multiplies the convolution's 32 maps.
        hidden: Units of the classifier's hidden layer.
        dropout: Probability, before each of the classifier's layers.
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
        # Both variants leave t - 3 steps in time and a quarter of the map each way.
        self.fc1 = nn.Linear(maps * (clip_length - 3) * (size // 4) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits ``[b, classes]`` from the pairs' maps ``[b, t - 1, c, h, w]``."""
        if self.interleaved:
            x = rearrange([first, second], "two b t c h w -> b c h w (t two)")
        else:
            x = rearrange([first, second], "two b t c h w -> b (two c) t h w")
        x = self.pool(self.conv(x)).flatten(1)
        x = self.fc1(self.dropout(x)).relu()
        return self.fc2(self.dropout(x))


class LandmarkHead(nn.Module):
    """A 3x3 convolution and two fully-connected layers, frame by frame.

    Args:
        channels: Channels of the F5C maps.
        size: Their height and width.
        width: Multiplies the convolution's 32 maps.
        hidden: Units of the hidden layer.
    """

    def __init__(self, channels: int, size: int, *, width: float, hidden: int) -> None:
        super().__init__()
        maps = scaled(32, width)
        self.conv = nn.Conv2d(channels, maps, 3)
        self.fc1 = nn.Linear(maps * (size - 2) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, LANDMARKS * 2)

    def forward(self, maps: Tensor) -> Tensor:
        """Landmarks ``[b, t, 68, 2]`` from maps ``[b, t, c, h, w]``."""
        x = self.conv(rearrange(maps, "b t c h w -> (b t) c h w")).relu()
        x = self.fc1(x.flatten(1)).relu()
        # Half precision would round coordinates of a hundred pixels to half a pixel.
        with torch.autocast(x.device.type, enabled=False):
            points = self.fc2(x.to(self.fc2.weight.dtype))
        return rearrange(points, "(b t) (point xy) -> b t point xy", b=maps.shape[0], xy=2)
