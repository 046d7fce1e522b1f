"""MOL's flow net: FlowNetC (arXiv 1504.06852) with batch norm, which also gets the F5C features of both frames."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mefusion.models.mol.blocks import scaled

LEVELS = 6  # height and width of the coarsest level are 1 / 2**6 of the image's
LK_WINDOWS = (1, 3, 5)  # of Lucas-Kanade flow, in positions of the result
LK_DAMPING = 3e-3  # squared grey levels, normalised, per pixel; it keeps the flow small where the face has no texture
SLOPE = 0.1  # negative slope of all leaky ReLUs, also for the Kaiming initialisation


class Correlation(nn.Module):
    """Correlation of two maps over even displacements, followed by LeakyReLU 0.1.

    Map (2 r + 1) i + j at (y, x) is LeakyReLU((1 / c) sum_c a_c[y, x] b_c[y + 2 (i - r), x + 2 (j - r)]),
    zero outside; i is vertical and j horizontal.

    Args:
        radius: Number of displacements r in each direction; the result has d = (2 r + 1)**2 maps.
        size: Height and width of the maps, even.
    """

    def __init__(self, radius: int, size: int) -> None:
        super().__init__()
        self.radius = radius
        self.side = size // 2
        # For each displacement and each place along an axis: the displaced place, and whether it is inside the map.
        place = torch.arange(self.side)
        moved = place + torch.arange(-radius, radius + 1)[:, None]
        inside = (moved >= 0) & (moved < self.side)
        moved = moved.clamp(0, self.side - 1)
        source = self.side * place[:, None] + place
        target = self.side * moved[:, None, :, None] + moved[None, :, None, :]
        index = rearrange(self.side**2 * source + target, "i j y x -> (i j y x)")
        inside = rearrange(inside[:, None, :, None] & inside[None, :, None, :], "i j y x -> (i j) (y x)")
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("inside", inside, persistent=False)
        self.index: Tensor
        self.inside: Tensor

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Correlate two maps ``[n, c, h, w]``; gives ``[n, d, h, w]``."""
        # The displacements are even, so a position is compared only with positions of the same parity (p, q).
        grid = {"p": 2, "q": 2, "h": self.side}
        a_positions = rearrange(a, "n c (h p) (w q) -> (n p q) (h w) c", **grid)
        b_positions = rearrange(b, "n c (h p) (w q) -> (n p q) c (h w)", **grid)
        products = torch.matmul(a_positions, b_positions) / a.shape[1]
        maps = products.flatten(1).index_select(1, self.index).unflatten(1, self.inside.shape)
        maps = rearrange(maps * self.inside, "(n p q) d (h w) -> n d (h p) (w q)", **grid)
        return F.leaky_relu(maps, SLOPE)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, padded by (kernel - 1) // 2, batch norm and LeakyReLU 0.1."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def deconv(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Transposed convolution without bias that doubles height and width."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def predict_flow(inputs: int) -> nn.Conv2d:
    """Convolution without bias to the two components of flow, horizontal then vertical."""
    return nn.Conv2d(inputs, 2, 3, padding=1, bias=False)


class DecoderLevel(nn.Module):
    """One level of the decoder: joins skip, deconvolved maps and upsampled flow, and predicts the flow from them.

    Args:
        inputs: Channels of the next coarser level.
        skip: Channels of the skip connection.
        outputs: Channels of the deconvolution.
    """

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.deconv = nn.Sequential(deconv(inputs, outputs), nn.LeakyReLU(SLOPE, inplace=True))
        self.upsample = deconv(2, 2)
        self.predict = predict_flow(skip + outputs + 2)

    def forward(self, x: Tensor, flow: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Compute this level's maps and flow from the maps and flow of the next coarser level."""
        x = torch.cat([skip, self.deconv(x), self.upsample(flow)], dim=1)
        return x, self.predict(x)


def lucas_kanade(first: Tensor, second: Tensor, *, scale: int) -> Tensor:
    """Flow of small motions in closed form (Lucas and Kanade 1981), from windows of three sizes.

    With gradients g = (g_x, g_y) of the pair's mean and its difference d, and < > an average over a window, the flow
    is u = -(<g g'> + damping)^-1 <g d>. Windows are 1, 3 and 5 positions of the result wide.

    Args:
        first: ``[n, 1, h, w]``, normalised grey levels.
        second: The same, a little later.
        scale: The result has 1 / scale of the frames' height and width.

    Returns:
        ``[n, 6, h / scale, w / scale]`` in pixels of the frame: horizontal and vertical flow of each window size.
    """
    mean = F.pad((first + second) / 2, (1, 1, 1, 1), mode="replicate")
    gx = (mean[:, :, 1:-1, 2:] - mean[:, :, 1:-1, :-2]) / 2
    gy = (mean[:, :, 2:, 1:-1] - mean[:, :, :-2, 1:-1]) / 2
    d = second - first
    moments = F.avg_pool2d(torch.cat([gx * gx, gx * gy, gy * gy, gx * d, gy * d], dim=1), scale)
    flows = []
    for window in LK_WINDOWS:
        averages = F.avg_pool2d(moments, window, stride=1, padding=window // 2, count_include_pad=False)
        xx, xy, yy, xd, yd = averages.split(1, dim=1)
        xx, yy = xx + LK_DAMPING, yy + LK_DAMPING
        determinant = xx * yy - xy * xy
        flows += [(xy * yd - yy * xd) / determinant, (xy * xd - xx * yd) / determinant]
    return torch.cat(flows, dim=1)


class FlowNet(nn.Module):
    """FlowNetC on the pairs (t, t + 1) of a clip.

    Each frame is encoded once; the two ``conv3`` maps of a pair are correlated.

    Args:
        features: Channels of the F5C maps, which have the height and width of ``conv3``.
        image_size: Height and width of the frames, a multiple of 64.
        width: Factor of the published numbers of channels.
        correlation_radius: Number of displacements in each direction, in steps of 2 positions.
        differences: Our extension, off at 0: the difference of a pair's frames, multiplied by this (5 works), is a
            second input channel of both frames, and so also in the skip at full resolution. As the difference
            belongs to a pair, the frames of each pair are encoded separately.
        scale: Our extension, off at 1: decode to 1 / scale of the frame's size and upsample bilinearly.
        closed_form: Our extension: the finest level also gets the pair's `lucas_kanade` flows.
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
        closed_form: bool = False,
    ) -> None:
        super().__init__()
        self.differences = differences
        self.scale = scale
        self.closed_form = closed_form
        images = 2 if differences else 1
        c1, c2, c3, redir, c4, c6 = (scaled(n, width) for n in (64, 128, 256, 32, 512, 1024))
        self.conv1 = conv(images, c1, 6, 2)
        self.conv2 = conv(c1, c2, 4, 2)
        self.conv3 = conv(c2, c3, 2, 2)
        self.conv_redir = conv(c3, redir, 1)
        self.correlation = Correlation(correlation_radius, image_size // 8)
        self.conv3_1 = conv(redir + (2 * correlation_radius + 1) ** 2 + 2 * features, c3, 3)
        self.conv4 = conv(c3, c4, 3, 2)
        self.conv4_1 = conv(c4, c4, 3)
        self.conv5 = conv(c4, c4, 3, 2)
        self.conv5_1 = conv(c4, c4, 3)
        self.conv6 = conv(c4, c6, 3, 2)
        self.conv6_1 = conv(c6, c6, 3)
        self.predict_flow6 = predict_flow(c6)
        outputs = [scaled(n, width) for n in (512, 256, 128, 128, 64, 32)]
        skips = [c4, c4, c3, c2, c1, images]
        inputs = [c6] + [skip + output + 2 for skip, output in zip(skips, outputs, strict=True)]
        kept = LEVELS - int(math.log2(scale))  # finer levels than the output's are not built
        skips[kept - 1] += 2 * len(LK_WINDOWS) * closed_form
        channels = zip(inputs[:kept], skips[:kept], outputs[:kept], strict=True)
        levels = [DecoderLevel(*level) for level in channels]
        self.decoder = nn.ModuleList(levels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if differences or closed_form:
            # Micro-motions are near zero, so the flow starts at zero, not at random flows of many pixels.
            for predict in (self.predict_flow6, *(level.predict for level in levels)):
                nn.init.zeros_(predict.weight)

    def forward(self, frames: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Estimate the flow of each pair.

        Args:
            frames: ``[b, t, 1, h, w]``.
            first: F5C maps ``[b, t - 1, c, h / 8, w / 8]`` of each pair's first frame.
            second: F5C maps of each pair's second frame, of the same shape.

        Returns:
            ``[b, t - 1, 2, h, w]`` in pixels of the frame, horizontal then vertical.
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
        if self.closed_form:
            ends = (end.flatten(0, 1) for end in (frames[:, :-1], frames[:, 1:]))
            finest = len(self.decoder) - 1
            skips[finest] = torch.cat([skips[finest], lucas_kanade(*ends, scale=self.scale)], dim=1)
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
            count = frames.shape[0]  # slices, since a chunk of the batch would fix its size in an exported network
            first, second = [m[:count] for m in maps], maps[-1][count:]
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
