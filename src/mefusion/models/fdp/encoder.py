"""FDP's frame encoder: the local-global feature-aware transformer (arXiv 2509.06015)."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from mefusion.models.fdp.blocks import GRA, LRA, ConvBNReLU

WINDOWS = (8, 4, 2, 1)  # of each stage: height and width of the windows over which keys and values are averaged
STAGES = len(WINDOWS)


class FrameEncoder(nn.Module):
    """Stem, four stages of LRA and GRA blocks, and a linear layer that gives one map of the frame's size.

    Args:
        image_size: Height and width of a frame, a multiple of 32.
        stem_channels: Channels of the stem's four convolutions; the first and the last halve height and width.
        lra_channels: Channels of each stage's LRA blocks.
        gra_channels: Channels of each stage's GRA blocks.
        lra_blocks: LRA blocks of each stage.
        gra_blocks: GRA blocks of every stage.
        head_size: Channels of a convolution's group and of an attention head; hidden channels are multiples of it.
        drop_path: Probability that a residual branch is dropped, in the last block; it rises linearly from 0.
        reference: Our extension: "first" subtracts the first frame's stem maps from those of every frame.
        flatten: Our extension: flatten the last maps instead of averaging them.
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

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Encode frames.

        Args:
            frames: ``[b, t, 1, h, w]``.

        Returns:
            Features ``[b, t, h w]``, and maps ``[b, t, c, h / 2, w / 2]`` of the stem's first convolution.
        """
        first, *others = self.stem
        x = fine = first(rearrange(frames, "b t c h w -> (b t) c h w"))
        for layer in others:
            x = layer(x)
        if self.reference == "first":
            maps = rearrange(x, "(b t) c h w -> b t c h w", b=frames.shape[0])
            x = rearrange(maps - maps[:, :1], "b t c h w -> (b t) c h w")
        x = self.norm(self.blocks(x))
        # Features of a clip's frames differ little, and half precision would round the differences away.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.project.weight.dtype)
            x = rearrange(x, "n c h w -> n (c h w)") if self.flatten else x.mean(dim=(2, 3))
            features = rearrange(self.project(x), "(b t) p -> b t p", b=frames.shape[0])
        return features, rearrange(fine, "(b t) c h w -> b t c h w", b=frames.shape[0])


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
