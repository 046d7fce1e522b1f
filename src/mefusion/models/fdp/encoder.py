"""FDP's frame encoder: the local-global feature-aware transformer (arXiv 2509.06015).

Its blocks follow Next-ViT (arXiv 2207.05501). Every block takes and returns feature maps ``[n, c, h, w]`` of n
frames, square: h = w.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mefusion.models.convolution import Conv3x3, ConvBNReLU, rounded

LRA_RATIO = 3  # hidden channels of an LRA block's MLP to its channels
GRA_RATIO = 2
GLOBAL_SHARE = 0.75  # of a GRA block's channels, those that attend
WINDOWS = (8, 4, 2, 1)  # over which a stage's keys and values are averaged
STAGES = len(WINDOWS)


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
        return nn.Sequential(Conv3x3(channels, channels))
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


class FrameEncoder(nn.Module):
    """Stem, four stages of LRA and GRA blocks, and a linear layer to one map as large as the frame.

    Args:
        image_size: Height and width of a frame, a multiple of 32.
        stem_channels: Channels of the stem's four convolutions, of which the first and last halve the map.
        lra_channels: Channels of each stage's LRA blocks.
        gra_channels: Channels of each stage's GRA blocks.
        lra_blocks: LRA blocks of each stage.
        gra_blocks: GRA blocks of every stage.
        head_size: Channels of a convolution's group and of an attention head; hidden channels are its multiples.
        drop_path: Probability in the last block; it rises to it linearly from 0.
        reference: Extension of ours: "first" subtracts the first frame's stem maps from every frame's.
        flatten: Extension of ours: flatten the last maps rather than average them.
        variant: "paper" or "released".
    """

    def __init__(
        self,
        *,
        image_size: int,
        stem_channels: Sequence[int],
        lra_channels: Sequence[int],
        gra_channels: Sequence[int],
        lra_blocks: Sequence[int],
        gra_blocks: int,
        head_size: int,
        drop_path: float,
        reference: str | None,
        flatten: bool,
        variant: str,
    ) -> None:
        super().__init__()
        self.reference = reference
        self.flatten = flatten
        inputs = (1, *stem_channels[:-1])
        self.stem = nn.Sequential(
            *(ConvBNReLU(i, o, stride=s) for i, o, s in zip(inputs, stem_channels, (2, 1, 1, 2), strict=True))
        )
        depth = sum(lra_blocks) + STAGES * gra_blocks
        drops = (drop_path * i / (depth - 1) for i in range(depth))
        channels = stem_channels[-1]
        blocks: list[nn.Module] = []
        for stage, (local, whole, count) in enumerate(zip(lra_channels, gra_channels, lra_blocks, strict=True)):
            for i in range(count):
                halves, drop = stage > 0 and i == 0, next(drops)
                blocks.append(LRA(channels, local, halves=halves, head_size=head_size, drop_path=drop, variant=variant))
                channels = local
            for _ in range(gra_blocks):
                blocks.append(GRA(channels, whole, head_size=head_size, window=WINDOWS[stage], drop_path=next(drops)))
                channels = whole
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.project = nn.Linear(channels * ((image_size // 32) ** 2 if flatten else 1), image_size**2)
        self.apply(_initialise)

    def forward(self, frames: Tensor) -> Tensor:
        """Features ``[b, t, h w]`` of frames ``[b, t, 1, h, w]``."""
        x = self.stem(rearrange(frames, "b t c h w -> (b t) c h w"))
        if self.reference == "first":
            maps = rearrange(x, "(b t) c h w -> b t c h w", b=frames.shape[0])
            x = rearrange(maps - maps[:, :1], "b t c h w -> (b t) c h w")
        x = self.norm(self.blocks(x))
        # Frames of a clip differ by little: their features are not to be rounded to half precision.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.project.weight.dtype)
            x = rearrange(x, "n c h w -> n (c h w)") if self.flatten else x.mean(dim=(2, 3))
            return rearrange(self.project(x), "(b t) p -> b t p", b=frames.shape[0])


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
