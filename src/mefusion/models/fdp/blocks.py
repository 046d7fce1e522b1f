"""The blocks of FDP's frame encoder, LRA and GRA, and their parts (arXiv 2509.06015).

They follow Next-ViT (arXiv 2207.05501). Every block takes and returns square feature maps ``[n, c, h, w]``, h = w, of n
frames.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

LRA_RATIO = 3  # hidden channels of an LRA block's MLP, divided by its channels
GRA_RATIO = 2  # the same for a GRA block
GLOBAL_SHARE = 0.75  # share of a GRA block's channels that go through attention


def rounded(channels: float, multiple: int = 1) -> int:
    """Round to the nearest multiple of ``multiple``, upwards from the middle; the result is at least ``multiple``."""
    return max(multiple, int(channels / multiple + 0.5) * multiple)


class ConvBNReLU(nn.Module):
    """3x3 convolution, padded by 1, then batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, outputs, h / stride, w / stride]``."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


class PatchEmbed(nn.Sequential):
    """2x2 average pooling if ``halves``; then 1x1 convolution and batch norm if the number of channels changes."""

    def __init__(self, inputs: int, outputs: int, *, halves: bool = False) -> None:
        super().__init__()
        if halves:
            self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        if inputs != outputs:
            self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.norm = nn.BatchNorm2d(outputs)


class MLP(nn.Module):
    """1x1 convolution, ReLU, 1x1 convolution: an MLP at each position."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to the same shape."""
        return self.conv2(F.relu(self.conv1(x), inplace=True))


class DropPath(nn.Module):
    """Stochastic depth: in training, drops a residual branch for some samples and scales it up for the others.

    arXiv 1603.09382; the samples are frames.

    Args:
        probability: Probability that a sample's branch is dropped.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to the same shape."""
        if not self.training or self.probability == 0:
            return x
        kept = 1 - self.probability
        return x * (torch.rand(x.shape[0], 1, 1, 1, device=x.device) < kept).to(x.dtype).div_(kept)


def make_local_conv(channels: int, head_size: int, *, variant: str) -> nn.Sequential:
    """The 3x3 convolution of LRA. ``paper``: in groups of channels, then a 1x1 convolution; ``released``: one layer."""
    if variant == "released":
        return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels // head_size, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
    )


class LRA(nn.Module):
    """Local representation aggregation: x = PE(x); x = x + DP(conv(x)); x = x + DP(MLP(BN(x))).

    Args:
        inputs: Number of input channels.
        channels: Number of output channels, a multiple of ``head_size``.
        halves: Whether height and width of the map are halved.
        head_size: Channels of a group.
        drop_path: Probability that a residual branch is dropped.
        variant: "paper" or "released".
    """

    def __init__(
        self, inputs: int, channels: int, *, halves: bool, head_size: int, drop_path: float, variant: str
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(inputs, channels, halves=halves)
        self.conv = make_local_conv(channels, head_size, variant=variant)
        self.norm = nn.BatchNorm2d(channels)
        self.mlp = MLP(channels, rounded(LRA_RATIO * channels, head_size))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, channels, h, w]``, or to half the height and width."""
        x = self.patch_embed(x)
        x = x + self.drop_path(self.conv(x))
        return x + self.drop_path(self.mlp(self.norm(x)))


class Attention(nn.Module):
    """Multi-head self-attention: queries are positions, keys and values are averages over windows of positions.

    Args:
        channels: Channels c, a multiple of ``head_size``.
        head_size: Channels of a head.
        window: Height and width of the windows. Averages are followed by batch norm; 1 means no averages and no norm.
    """

    def __init__(self, channels: int, head_size: int, window: int) -> None:
        super().__init__()
        self.head_size = head_size
        self.reduce: nn.Module = nn.Identity()
        if window > 1:
            self.reduce = nn.Sequential(nn.AvgPool2d(window), nn.BatchNorm2d(channels))
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to the same shape."""
        positions = rearrange(x, "n c h w -> n (h w) c")
        averages = rearrange(self.reduce(x), "n c h w -> n (h w) c")
        heads = (self.query(positions), self.key(averages), self.value(averages))
        q, k, v = (rearrange(part, "n p (head d) -> n head p d", d=self.head_size) for part in heads)
        y = rearrange(F.scaled_dot_product_attention(q, k, v), "n head p d -> n p (head d)")
        return rearrange(self.project(y), "n (h w) c -> n c h w", h=x.shape[2])


class GRA(nn.Module):
    """Global representation aggregation: attention on three quarters of the channels, convolution on the others.

    x = PE(x); x = x + DP(MHSA(BN(x))); z = PE'(x); z = z + DP(conv(z)); y = [x; z]; y + DP(MLP(BN(y))).

    Args:
        inputs: Number of input channels.
        channels: Number of output channels, a multiple of ``head_size``, at least ``2 * head_size``.
        head_size: Channels of an attention head and of a convolution's group.
        window: Height and width of the windows over which keys and values are averaged.
        drop_path: Probability p that the MLP's branch is dropped; .75 p for attention, .25 p for convolution.
    """

    def __init__(self, inputs: int, channels: int, *, head_size: int, window: int, drop_path: float) -> None:
        super().__init__()
        attending = min(rounded(GLOBAL_SHARE * channels, head_size), channels - head_size)
        convolving = channels - attending
        self.patch_embed = PatchEmbed(inputs, attending)
        self.norm_1 = nn.BatchNorm2d(attending)
        self.attention = Attention(attending, head_size, window)
        self.project = PatchEmbed(attending, convolving)
        self.conv = make_local_conv(convolving, head_size, variant="paper")
        self.norm_2 = nn.BatchNorm2d(channels)
        self.mlp = MLP(channels, rounded(GRA_RATIO * channels, head_size))
        self.drop_attention = DropPath(GLOBAL_SHARE * drop_path)
        self.drop_conv = DropPath((1 - GLOBAL_SHARE) * drop_path)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, channels, h, w]``."""
        x = self.patch_embed(x)
        x = x + self.drop_attention(self.attention(self.norm_1(x)))
        z = self.project(x)
        z = z + self.drop_conv(self.conv(z))
        y = torch.cat([x, z], dim=1)
        return y + self.drop_path(self.mlp(self.norm_2(y)))
