"""MOL's flow net: FlowNetC (arXiv 1504.06852) with batch norm, joined by both frames' F5C features."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mefusion.models.convolution import Conv3x3
from mefusion.models.mol.blocks import scaled

LEVELS = 6  # the coarsest level is 1 / 2**6 of the image
SLOPE = 0.1  # of every leaky ReLU, and of its Kaiming initialisation
SMALL_MAP = 4  # positions; above, the library's transposed convolution is faster


class Correlation(nn.Module):
    """Correlation of two maps over even displacements, followed by LeakyReLU 0.1.

    Map (2 r + 1) i + j at (y, x) is LeakyReLU((1 / c) sum_c a_c[y, x] b_c[y + 2 (i - r), x + 2 (j - r)]),
    zero outside; i is vertical and j horizontal. Displacements as long as the map lead outside from everywhere:
    their maps are zero and left out.

    Args:
        radius: Displacements r of each sign and axis; (2 r + 1)**2 maps.
        size: Height and width of the maps, even.

    Attributes:
        reached: Which of the (2 r + 1)**2 maps are given, d in number.
    """

    def __init__(self, radius: int, size: int) -> None:
        super().__init__()
        self.radius = radius
        self.side = size // 2
        place = torch.arange(self.side)
        steps = range(-radius, radius + 1)
        shifted = place + torch.tensor(steps)[:, None]
        inside = (shifted >= 0) & (shifted < self.side)
        shifted = shifted.clamp(0, self.side - 1)
        target = shifted[:, None, :, None] * self.side + shifted[None, :, None, :]
        source = place[:, None] * self.side + place
        index = rearrange(source * self.side**2 + target, "i j y x -> (i j) (y x)")
        mask = rearrange(inside[:, None, :, None] & inside[None, :, None, :], "i j y x -> (i j) (y x)")
        inward = (abs(i) < self.side and abs(j) < self.side for i in steps for j in steps)
        reached = torch.tensor([number for number, leads_inside in enumerate(inward) if leads_inside])
        self.register_buffer("reached", reached, persistent=False)
        self.register_buffer("index", index[reached].flatten(), persistent=False)
        self.register_buffer("mask", mask[reached], persistent=False)
        self.reached: Tensor
        self.index: Tensor
        self.mask: Tensor

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Correlate ``[n, c, h, w]`` twice to ``[n, d, h, w]``."""
        # The displacements are even, so a position meets only those of its own parity (p, q).
        grid = {"p": 2, "q": 2, "h": self.side}
        a_positions = rearrange(a, "n c (h p) (w q) -> (n p q) (h w) c", **grid)
        b_positions = rearrange(b, "n c (h p) (w q) -> (n p q) c (h w)", **grid)
        products = torch.matmul(a_positions, b_positions) / a.shape[1]
        maps = products.flatten(1).index_select(1, self.index).unflatten(1, self.mask.shape)
        maps = rearrange(maps * self.mask, "(n p q) d (h w) -> n d (h p) (w q)", **grid)
        return F.leaky_relu(maps, SLOPE)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm and LeakyReLU 0.1, padded by (kernel - 1) // 2."""
    if kernel == 3:
        return normed(Conv3x3(inputs, outputs, stride=stride))
    return normed(nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False))


def normed(layer: nn.Conv2d) -> nn.Sequential:
    """A convolution with batch norm and LeakyReLU 0.1 after it."""
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.LeakyReLU(SLOPE, inplace=True))


class PartialConv3x3(Conv3x3):
    """A 3x3 convolution of which some inputs are always zero and not passed.

    Args:
        inputs: Channels with those that are zero.
        outputs: Channels that go out.
        given: Which of the inputs are passed.
    """

    def __init__(self, inputs: int, outputs: int, given: Tensor) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("given", given, persistent=False)
        self.given: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, given, h, w]`` to ``[n, outputs, h, w]``."""
        return self._conv_forward(x, self.weight.index_select(1, self.given), self.bias)


class Deconv(nn.ConvTranspose2d):
    """A transposed 4x4 convolution without bias that doubles height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, outputs, 2 h, 2 w]``."""
        n, _, height, width = x.shape
        if height * width > SMALL_MAP:
            return super().forward(x, output_size)
        # Its definition: a product with every tap, laid over one another. Of a large kernel and a tiny map the
        # library's own costs three times as much on a CPU.
        taps = rearrange(x, "n c h w -> (n h w) c") @ self.weight.flatten(1)
        taps = rearrange(taps, "(n p) okl -> n okl p", n=n)
        return F.fold(taps, (2 * height, 2 * width), 4, stride=2, padding=1)


class FlowConv(nn.Conv2d):
    """A 3x3 convolution without bias to the two components of flow, padded by 1."""

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs, 2, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, 2, h, w]``."""
        # A product with every tap, then the taps' maps shifted and added. With outputs as few as two the
        # library's own costs four times as much on a CPU.
        taps = rearrange(self.weight.flip(2, 3), "uv c k l -> (uv k l) c").expand(len(x), -1, -1)
        return F.fold(taps @ x.flatten(2), x.shape[2:], 3, padding=1)


class DecoderLevel(nn.Module):
    """One level of the decoder: [skip, deconvolved maps, upsampled flow], and the flow predicted from them.

    Args:
        inputs: Channels of the level below.
        skip: Channels of the skip connection.
        outputs: Channels of the deconvolution.
    """

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.deconv = nn.Sequential(Deconv(inputs, outputs), nn.LeakyReLU(SLOPE, inplace=True))
        self.upsample = Deconv(2, 2)
        self.predict = FlowConv(skip + outputs + 2)

    def forward(self, x: Tensor, flow: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """This level's maps and flow, from the maps and flow of the level below."""
        x = torch.cat([skip, self.deconv(x), self.upsample(flow)], dim=1)
        return x, self.predict(x)


class FlowNet(nn.Module):
    """FlowNetC on the pairs (t, t + 1) of a clip.

    Each frame is encoded once; the two ``conv3`` maps of a pair are correlated.

    Args:
        features: Channels of the F5C maps, which lie on the grid of ``conv3``.
        image_size: Height and width of the frames, a multiple of 64.
        width: Multiplies the published channels.
        correlation_radius: Displacements of each sign and axis, in steps of 2 positions.
        differences: Extension of ours, off at 0: the frames' difference, multiplied by this (5 does), is a
            second input channel of both frames of the pair, in the encoder and so in the skip at full
            resolution. A pair sees its own difference only, so both its frames are encoded anew for it.
        scale: Extension of ours, off at 1: decode to 1 / scale of the frame's size and upsample bilinearly.
    """

    def __init__(
        self,
        features: int,
        *,
        image_size: int,
        width: float = 1.0,
        correlation_radius: int = 10,
        differences: float = 0.0,
        scale: int = 1,
    ) -> None:
        super().__init__()
        self.differences = differences
        self.scale = scale
        images = 2 if differences else 1
        c1, c2, c3, redir, c4, c6 = (scaled(n, width) for n in (64, 128, 256, 32, 512, 1024))
        self.conv1 = conv(images, c1, 6, 2)
        self.conv2 = conv(c1, c2, 4, 2)
        self.conv3 = conv(c2, c3, 2, 2)
        self.conv_redir = conv(c3, redir, 1)
        self.correlation = Correlation(correlation_radius, image_size // 8)
        displacements = (2 * correlation_radius + 1) ** 2
        inputs_3_1 = torch.arange(redir + displacements + 2 * features)
        before, correlated, after = inputs_3_1.split([redir, displacements, 2 * features])
        given = torch.cat([before, correlated[self.correlation.reached], after])
        self.conv3_1 = normed(PartialConv3x3(len(inputs_3_1), c3, given))
        self.conv4 = conv(c3, c4, 3, 2)
        self.conv4_1 = conv(c4, c4, 3)
        self.conv5 = conv(c4, c4, 3, 2)
        self.conv5_1 = conv(c4, c4, 3)
        self.conv6 = conv(c4, c6, 3, 2)
        self.conv6_1 = conv(c6, c6, 3)
        self.predict_flow6 = FlowConv(c6)
        outputs = [scaled(n, width) for n in (512, 256, 128, 128, 64, 32)]
        skips = [c4, c4, c3, c2, c1, images]
        inputs = [c6] + [skip + output + 2 for skip, output in zip(skips, outputs, strict=True)]
        kept = LEVELS - int(math.log2(scale))  # finer levels than the output's are not built
        levels = zip(inputs[:kept], skips[:kept], outputs[:kept], strict=True)
        self.decoder = nn.ModuleList(DecoderLevel(*channels) for channels in levels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if differences:
            # Micro-motions are near zero: start there, not at random flows of many pixels to be unlearned.
            for name, module in self.named_modules():
                if name.endswith(("predict", "predict_flow6")):
                    nn.init.zeros_(module.weight)

    def forward(self, frames: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Flow of each pair.

        Args:
            frames: ``[b, t, 1, h, w]``.
            first: F5C maps ``[b, t - 1, c, h / 8, w / 8]`` of each pair's first frame.
            second: The same of its second frame.

        Returns:
            ``[b, t - 1, 2, h, w]``, pixels of the frame, horizontal then vertical.
        """
        (*fine_skips, first_conv3), second_conv3 = self._encode(frames)
        joined = [
            self.conv_redir(first_conv3),
            self.correlation(first_conv3, second_conv3),
            rearrange(first, "b t c h w -> (b t) c h w"),
            rearrange(second, "b t c h w -> (b t) c h w"),
        ]
        c3 = self.conv3_1(torch.cat(joined, dim=1))
        c4 = self.conv4_1(self.conv4(c3))
        c5 = self.conv5_1(self.conv5(c4))
        x = self.conv6_1(self.conv6(c5))
        flow = self.predict_flow6(x)
        skips = [c5, c4, c3, *reversed(fine_skips)]
        for level, skip in zip(self.decoder, skips, strict=False):
            x, flow = level(x, flow, skip)
        if self.scale > 1:
            flow = F.interpolate(flow, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return rearrange(flow, "(b t) uv h w -> b t uv h w", b=frames.shape[0])

    def _encode(self, frames: Tensor) -> tuple[list[Tensor], Tensor]:
        """Input, conv1, conv2, conv3 of the pairs' first frames; conv3 of their second; ``[(b t) c h w]``."""
        if self.differences:
            difference = self.differences * (frames[:, 1:] - frames[:, :-1])
            ends = torch.cat([frames[:, :-1], frames[:, 1:]])
            maps = self._pyramid(torch.cat([ends, torch.cat([difference, difference])], dim=2))
            first, second = [m.chunk(2)[0] for m in maps], maps[-1].chunk(2)[1]
        else:
            maps = self._pyramid(frames)
            first, second = [m[:, :-1] for m in maps], maps[-1][:, 1:]
        return [m.flatten(0, 1) for m in first], second.flatten(0, 1)

    def _pyramid(self, images: Tensor) -> list[Tensor]:
        """Input, conv1, conv2 and conv3, as ``[b, t, c, h, w]``."""
        maps = [rearrange(images, "b t c h w -> (b t) c h w")]
        for layer in (self.conv1, self.conv2, self.conv3):
            maps.append(layer(maps[-1]))
        return [rearrange(m, "(b t) c h w -> b t c h w", b=images.shape[0]) for m in maps]
