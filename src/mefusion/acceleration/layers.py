"""Faster computation of the same networks: layers for a CPU, memory order for a GPU.

The networks are written with PyTorch's own layers. `use_cpu_layers` changes layers that are slow on a CPU to the
classes below, and `use_plain_layers` changes them back.
"""

from itertools import product
from typing import TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mefusion.acceleration.streams import JoinedSTSTNet
from mefusion.acceleration.winograd import LEAST_CHANNELS, conv3x3
from mefusion.models.baselines import STSTNet
from mefusion.models.fdp import FDP
from mefusion.models.mol.flow_net import FlowNet

Network = TypeVar("Network", bound=nn.Module)

SMALL_MAP = 4  # positions; for larger maps, PyTorch's transposed convolution is faster


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution, padded by 1, with Winograd's algorithm if that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, outputs, h, w]``."""
        return conv3x3(x, self.weight, self.bias) if _on_cpu(x) else super().forward(x)


class ChannelSubsetConv2d(nn.Conv2d):
    """A 3x3 convolution, padded by 1, that skips input channels which are always zero.

    Attributes:
        channels: Indices of the other input channels.
    """

    channels: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, outputs, h, w]``."""
        if not _on_cpu(x):
            return super().forward(x)
        return conv3x3(x.index_select(1, self.channels), self.weight.index_select(1, self.channels), self.bias)


class FlowConv2d(nn.Conv2d):
    """A 3x3 convolution, padded by 1, without bias, with only few output channels, such as the two of flow."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, outputs, h, w]``."""
        if not _on_cpu(x):
            return super().forward(x)
        # Multiply by each tap of the kernel, then shift and add the maps: PyTorch's own takes four times as long.
        taps = rearrange(self.weight.flip(2, 3), "o c k l -> (o k l) c").expand(x.shape[0], -1, -1)
        return F.fold(taps @ x.flatten(2), x.shape[2:], 3, padding=1)


class SmallMapConvTranspose2d(nn.ConvTranspose2d):
    """A transposed 4x4 convolution without bias that doubles height and width."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, outputs, 2 h, 2 w]``."""
        n, _, height, width = x.shape
        if not _on_cpu(x) or height * width > SMALL_MAP:
            return super().forward(x, output_size)
        # Multiply by each tap of the kernel, then add the overlapping results, as in the definition. For a large
        # kernel and a small map, PyTorch's own takes three times as long.
        taps = rearrange(x, "n c h w -> (n h w) c") @ self.weight.flatten(1)
        taps = rearrange(taps, "(n p) okl -> n okl p", n=n)
        return F.fold(taps, (2 * height, 2 * width), 4, stride=2, padding=1)


PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    WinogradConv2d: nn.Conv2d,
    ChannelSubsetConv2d: nn.Conv2d,
    FlowConv2d: nn.Conv2d,
    SmallMapConvTranspose2d: nn.ConvTranspose2d,
    JoinedSTSTNet: STSTNet,
}


def use_cpu_layers(network: Network) -> Network:
    """Change a network's layers so that it computes the same results faster on a CPU.

    The network is changed in place. Only the class of its layers changes: parameters stay the same objects with the
    same names and values, so optimizers and state dicts stay valid. The results of a layer differ by about 1e-5 of
    its largest value. On other devices, and during export, the layers compute as PyTorch's own do.

    Args:
        network: A network of this package, or a module that contains one. It may be trained, copied and moved to
            another device before and after.

    Returns:
        The same network.
    """
    for module in network.modules():
        if isinstance(module, FDP):
            # Convolutions of many channels on few positions are fastest in channels-last memory.
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif type(module) is STSTNet:
            module.__class__ = JoinedSTSTNet
        elif isinstance(module, FlowNet):
            _leave_out_zero_maps(module)
        elif type(module) is nn.Conv2d and _is_padded_3x3(module):
            if module.out_channels == 2 and module.bias is None:
                module.__class__ = FlowConv2d
            elif min(module.in_channels, module.out_channels) >= LEAST_CHANNELS:
                module.__class__ = WinogradConv2d
        elif type(module) is nn.ConvTranspose2d and _doubles(module):
            module.__class__ = SmallMapConvTranspose2d
    return network


def use_plain_layers(network: Network) -> Network:
    """Undo `use_cpu_layers`: all layers are PyTorch's own again.

    Args:
        network: A network, or a module that contains one; it is changed in place.

    Returns:
        The same network.
    """
    for module in network.modules():
        if isinstance(module, FDP):
            module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        if isinstance(module, ChannelSubsetConv2d):
            del module.channels
        module.__class__ = PLAIN.get(type(module), type(module))
    return network


def _leave_out_zero_maps(flow_net: FlowNet) -> None:
    """Let the convolution after the correlation skip maps whose displacement leads outside from every position."""
    layer, redir, correlation = flow_net.conv3_1[0], flow_net.conv_redir[0], flow_net.correlation
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(redir, nn.Conv2d)
    displacements = product(range(-correlation.radius, correlation.radius + 1), repeat=2)
    maps = enumerate(displacements, start=redir.out_channels)
    zero = {channel for channel, (i, j) in maps if max(abs(i), abs(j)) >= correlation.side}
    if zero and type(layer) is nn.Conv2d:
        given = [channel for channel in range(layer.in_channels) if channel not in zero]
        layer.__class__ = ChannelSubsetConv2d
        layer.register_buffer("channels", torch.tensor(given, device=layer.weight.device), persistent=False)


def _is_padded_3x3(layer: nn.Conv2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return shape == ((3, 3), (1, 1), (1, 1), (1, 1)) and layer.groups == 1 and layer.padding_mode == "zeros"


def _doubles(layer: nn.ConvTranspose2d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.output_padding, layer.dilation)
    return shape == ((4, 4), (2, 2), (1, 1), (0, 0), (1, 1)) and layer.groups == 1 and layer.bias is None


def _on_cpu(x: Tensor) -> bool:
    """Whether to use the faster computation: on a CPU, except during export.

    An exported network would always compute in the way that was chosen for the batch size of the example.
    """
    return x.device.type == "cpu" and not torch.compiler.is_exporting()


def channels_last(network: nn.Module) -> None:
    """Set the memory order of 2D convolutions to channels-last: a position's channels are adjacent."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
