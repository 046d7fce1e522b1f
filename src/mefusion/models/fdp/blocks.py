"""The blocks of FDP's frame encoder, LRA and GRA, and their parts (arXiv 2509.06015).

They follow Next-ViT (arXiv 2207.05501). Every block takes and returns feature maps ``[n, c, h, w]`` of n frames,
square: h = w.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

LRA_RATIO = 3  # hidden channels of an LRA block's MLP to its channels
GRA_RATIO = 2
GLOBAL_SHARE = 0.75  # of a GRA block's channels, those that attend


def rounded(channels: float, multiple: int = 1) -> int:
    """The nearest multiple, at least one; the larger of two as near."""
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
    """Averages over 2x2 where the map halves; then 1x1 convolution and batch norm where the channels change."""

    def __init__(self, inputs: int, outputs: int, *, halves: bool = False) -> None:
        super().__init__()
        if halves:
            self.pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
        if inputs != outputs:
            self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.norm = nn.BatchNorm2d(outputs)


class MLP(nn.Module):
    """1x1 convolution, ReLU, 1x1 convolution, position by position."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to the same shape."""
        return self.conv2(F.relu(self.conv1(x), inplace=True))


class DropPath(nn.Module):
    """In training, drops a residual branch for some samples and scales it up for the others.

    Stochastic depth (arXiv 1603.09382). The samples are frames.

    Args:
        probability: Of a sample to lose the branch.
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
    """The 3x3 convolution of LRA: ``paper`` by groups of channels, then mixed; ``released`` one dense layer."""
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
        inputs: Channels that come in.
        channels: Channels that go out, a multiple of ``head_size``.
        halves: Whether the map halves.
        head_size: Channels of a group.
        drop_path: Probability.
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
        """Map ``[n, inputs, h, w]`` to ``[n, channels, h, w]``, or half as high and wide."""
        x = self.patch_embed(x)
        x = x + self.drop_path(self.conv(x))
        return x + self.drop_path(self.mlp(self.norm(x)))


class Attention(nn.Module):
    """Multi-head self-attention of positions to averages over windows of positions.

    Args:
        channels: Channels c, a multiple of ``head_size``.
        head_size: Channels of a head.
        window: Side of the windows over which keys and values are averaged, then batch-normed; 1: neither.
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
    """Global representation aggregation: three quarters of the channels attend, the rest convolve.

    x = PE(x); x = x + DP(MHSA(BN(x))); z = PE'(x); z = z + DP(conv(z)); y = [x; z]; y + DP(MLP(BN(y))).

    Args:
        inputs: Channels that come in.
        channels: Channels that go out, a multiple of ``head_size`` and at least two of it.
        head_size: Channels of an attention head and of a convolution's group.
        window: Side of the windows over which keys and values are averaged.
        drop_path: Probability p; attention drops with .75 p and convolution with .25 p.
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
