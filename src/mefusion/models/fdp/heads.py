"""FDP's heads, which read the dynamic representation: recognition and dynamic image."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mefusion.models.fdp.blocks import ConvBNReLU, rounded

CHANNELS = (64, 128, 256, 512, 512)  # of SegNet's stages
LAYERS = (2, 2, 3, 3, 3)
SMALLEST_CONTRAST = 1e-6
DETAIL_GAIN = 40  # makes up for small weights, and keeps SegNet's own part of the image, and so its gradients, small


class RecognitionHead(nn.Module):
    """Max pooling over 3x3 and a two-layer classifier.

    Args:
        maps: Number of input maps.
        size: Height and width of the maps.
        num_classes: Number of classes.
        hidden: Units of the hidden layer.
        dropout: Probability of dropout before each layer.
    """

    def __init__(self, maps: int, size: int, *, num_classes: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3)
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(maps * (size // 3) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[b, classes]`` from ``[b, maps, h, w]``."""
        x = rearrange(self.pool(x), "b c h w -> b (c h w)")
        x = self.fc1(self.dropout(x)).relu()
        return self.fc2(self.dropout(x))


class SegNet(nn.Module):
    """An encoder like VGG16 and a mirrored decoder, which unpools to the places of the maxima (arXiv 1511.00561).

    Args:
        maps: Number of input maps.
        width: Factor of the published numbers of channels.
        detail: Our extension, off at 0: channels of fine maps, from which details are added to the image. The image
            is then stretched to 0..1, as its target is.
    """

    def __init__(self, maps: int, *, width: float = 1.0, detail: int = 0) -> None:
        super().__init__()
        channels = [rounded(n * width) for n in CHANNELS]
        stages = list(zip([maps, *channels], channels, LAYERS, strict=False))
        self.encoder = nn.ModuleList(make_stage([inputs, *[outputs] * layers]) for inputs, outputs, layers in stages)
        self.decoder = nn.ModuleList(
            make_stage([*[outputs] * layers, inputs]) for inputs, outputs, layers in stages[:0:-1]
        )
        # The last convolution gives the image, so it has neither batch norm nor ReLU.
        last = make_stage([channels[0]] * LAYERS[0])
        image = nn.Conv2d(channels[0], 1, 3, padding=1)
        self.decoder.append(last.append(image))
        self.detail: nn.Module | None = None
        if detail:
            deconv = nn.ConvTranspose2d(detail, 1, 2, stride=2)
            self.detail = nn.Sequential(nn.BatchNorm2d(detail), deconv)
            # Training starts from the details, not from the noise of deep random layers. Small weights learn faster.
            nn.init.zeros_(image.weight)
            nn.init.trunc_normal_(deconv.weight, std=0.005)

    def forward(self, x: Tensor, fine: Tensor | None = None) -> Tensor:
        """Compute images in 0..1.

        Args:
            x: ``[b, maps, h, w]``, h and w multiples of 32.
            fine: ``[b, detail, h / 2, w / 2]``, if there are details.

        Returns:
            ``[b, h, w]``.
        """
        places = []
        for stage in self.encoder:
            x, place = F.max_pool2d(stage(x), 2, return_indices=True)
            places.append(place)
        for stage in self.decoder:
            x = stage(unpool(x, places.pop()))
        if self.detail is not None:
            return rearrange(stretch(x + DETAIL_GAIN * self.detail(fine)), "b 1 h w -> b h w")
        return rearrange(torch.sigmoid(x), "b 1 h w -> b h w")


def stretch(x: Tensor) -> Tensor:
    """Scale each map of ``[b, c, h, w]`` to 0..1; one without contrast becomes 0.

    Minimum and maximum are constants for the gradient. Otherwise it moves two pixels of each image, much, and little is
    learned of the others.
    """
    low, high = (extreme.detach() for extreme in (x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)))
    return (x - low) / (high - low).clamp_min(SMALLEST_CONTRAST)


def unpool(x: Tensor, places: Tensor) -> Tensor:
    """Put maxima ``[b, c, h, w]`` back to their places in maps ``[b, c, 2 h, 2 w]``, with zeros elsewhere.

    `torch.nn.functional.max_unpool2d` does the same, but raises an error in torch's deterministic mode.
    """
    zeros = x.new_zeros(*x.shape[:2], 4 * x.shape[2] * x.shape[3])
    return zeros.scatter(2, places.flatten(2), x.flatten(2)).unflatten(2, (2 * x.shape[2], 2 * x.shape[3]))


def make_stage(channels: Sequence[int]) -> nn.Sequential:
    """Chain of 3x3 convolutions with these numbers of channels, each followed by batch norm and ReLU."""
    return nn.Sequential(*(ConvBNReLU(inputs, outputs, bias=True) for inputs, outputs in pairwise(channels)))
