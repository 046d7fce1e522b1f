"""A network of one's own: it sees how the frames of a clip differ from the first one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn


@dataclass
class Output:
    """A field for each task that the network has; recognition reads `logits`."""

    logits: Tensor
    """``[b, classes]``."""


class DifferenceNet(nn.Module):
    """Convolutions over the differences of a clip's frames to its first one, then the mean over the face.

    Args:
        num_classes: classes of the label scheme.
        tasks: the tasks that are on; this network has recognition alone.
        clip_length: frames t of a clip.
        image_size: height and width of a frame.
        width: channels of the first layer.
    """

    def __init__(
        self, num_classes: int, *, tasks: Sequence[str], clip_length: int, image_size: int, width: int = 16
    ) -> None:
        super().__init__()
        channels = (clip_length - 1, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels[-1] * 16, num_classes)

    def forward(self, frames: Tensor) -> Output:
        """Recognise b clips of normalised grey frames ``[b, t, 1, h, w]``."""
        differences = rearrange(frames[:, 1:] - frames[:, :1], "b t 1 h w -> b t h w")
        maps = nn.functional.adaptive_avg_pool2d(self.features(differences), 4)
        return Output(logits=self.classifier(torch.flatten(maps, start_dim=1)))
