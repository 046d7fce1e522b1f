"""The blocks of MOL's backbone: FCC, CCC and their combination F5C (arXiv 2506.14511).

Every block takes and returns square feature maps ``[n, c, h, w]``, h = w, of n frames.
"""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

RELEASED_KERNEL_LENGTH = 32  # length of the kernels and position embeddings in the authors' checkpoints
FFN_CHANNELS = 2
FFN_DROPOUT = 0.1


def scaled(channels: int, width: float) -> int:
    """Number of channels multiplied by a width factor, rounded; at least one."""
    return max(1, round(channels * width))


class CircularConv(nn.Module):
    """Depth-wise circular convolution along one axis: y[i] = bias + sum_j weight[j] x[(i + j) mod size].

    This is the position-aware circular convolution of ParC-Net (arXiv 2203.03952) without its position embedding,
    which the caller adds.

    Args:
        channels: Channels c.
        axis: "h" or "w".
        size: Length of the map along the axis.
        stored: Length of the stored kernel; its first ``size`` entries are used.
    """

    def __init__(self, channels: int, axis: str, *, size: int, stored: int) -> None:
        super().__init__()
        self.axis = axis
        self.size = size
        self.weight = nn.Parameter(torch.empty(channels, 1, *axis_shape(axis, stored)))
        self.bias = nn.Parameter(torch.randn(channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as in a depth-wise nn.Conv2d
        place = torch.arange(size)
        self.register_buffer("offset", (place - place[:, None]) % size, persistent=False)
        self.offset: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[n, c, h, w]`` along the axis."""
        # A product with the circulant matrix of entries weight[(j - i) mod size] needs no padding.
        circulant = self.weight.flatten(1)[:, self.offset]
        pattern = "n c j w, c i j -> n c i w" if self.axis == "h" else "n c h j, c i j -> n c h i"
        return einsum(x, circulant, pattern) + self.bias[:, None, None]


def axis_shape(axis: str, length: int) -> tuple[int, int]:
    """Height and width of a parameter that extends along one axis."""
    return (length, 1) if axis == "h" else (1, length)


class FCCHalf(nn.Module):
    """One half of FCC: a circular convolution along one axis, one along the other axis, and the residual.

    A = BN(X + P1), B = CC_1(A) + P2, C = CC_2(B), Y = X + C, where P1 and CC_1 run along the first axis and
    P2 and CC_2 along the second.

    Args:
        channels: Channels of the half.
        axes: The first and the second axis, ("h", "w") or ("w", "h").
        size: Height and width of the map.
        stored: Length of the stored kernels and embeddings; the first ``size`` entries are used.
    """

    def __init__(self, channels: int, axes: tuple[str, str], *, size: int, stored: int) -> None:
        super().__init__()
        first, second = axes
        self.position_1 = nn.Parameter(torch.randn(1, channels, *axis_shape(first, stored)))
        self.position_2 = nn.Parameter(torch.randn(1, channels, *axis_shape(second, stored)))
        self.norm = nn.BatchNorm2d(channels)
        self.conv_1 = CircularConv(channels, first, size=size, stored=stored)
        self.conv_2 = CircularConv(channels, second, size=size, stored=stored)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to the same shape."""
        height, width = x.shape[2:]
        a = self.norm(x + self.position_1[:, :, :height, :width])
        b = self.conv_1(a) + self.position_2[:, :, :height, :width]
        return x + self.conv_2(b)


class FCC(nn.Module):
    """Transformer-style fully-connected convolution: its receptive field is the whole map.

    The channels are split into halves. The first half is convolved along the height and then the width, the second
    along the width and then the height. In ``paper`` a feed-forward network with a residual follows, as in
    ParC-Net. In ``released`` this network exists but is never called, so its parameters need no gradient.

    Args:
        channels: Channels c, even.
        size: Height and width of the map.
        variant: "paper" or "released".
    """

    def __init__(self, channels: int, size: int, *, variant: str) -> None:
        super().__init__()
        stored = RELEASED_KERNEL_LENGTH if variant == "released" else size
        self.halves = nn.ModuleList(
            FCCHalf(channels // 2, axes, size=size, stored=stored) for axes in (("h", "w"), ("w", "h"))
        )
        self.ffn = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, FFN_CHANNELS, 1),
            nn.Hardswish(),
            nn.Dropout(FFN_DROPOUT),
            nn.Conv2d(FFN_CHANNELS, channels, 1),
            nn.Dropout(FFN_DROPOUT),
        )
        self.feeds_forward = variant == "paper"
        self.ffn.requires_grad_(self.feeds_forward)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to the same shape."""
        y = torch.cat([half(part) for half, part in zip(self.halves, x.chunk(2, dim=1), strict=True)], dim=1)
        return y + self.ffn(y) if self.feeds_forward else y


def nearest(rows: Tensor, k: int, *, include_self: bool) -> Tensor:
    """Indices of each row's k nearest rows by cosine similarity, the nearest first.

    Args:
        rows: ``[n, m, d]``: m vectors for each frame.
        k: Number of neighbours.
        include_self: Whether a row can be its own neighbour.

    Returns:
        ``[n, m, k]``.
    """
    # Only the order matters, so no gradient is needed. Without autocast, neighbours do not depend on the precision.
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        unit = F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)
        similarity = unit @ unit.mT
        if not include_self:
            own = torch.eye(rows.shape[1], dtype=torch.bool, device=rows.device)
            similarity = similarity.masked_fill(own, -math.inf)
        return similarity.topk(k, dim=-1).indices


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Select rows by indices within each frame: rows ``[n, m, d]``, index ``[n, m, k]``, result ``[n, m, k, d]``."""
    frame = torch.arange(rows.shape[0], device=rows.device) * rows.shape[1]
    chosen = rows.flatten(0, 1).index_select(0, (index + frame[:, None, None]).flatten())
    return chosen.unflatten(0, index.shape)


class CCC(nn.Module):
    """Graph-style channel correspondence convolution, without its residual.

    Let f_c be channel c as a row of h w values, and let j run over its k nearest neighbours by cosine similarity:

        CCC(F)_c = max_j ReLU(W1 f_c + b1 + W2 (f_j - f_c) + b2),

    for each element. ReLU and max can be exchanged, and only W2 f_j depends on j. So two products and one gather
    are enough, instead of one product for each edge of the graph.

    ``paper``: the neighbours are other channels, and a 1x1 convolution follows. ``released``: the neighbours are
    positions: nn(p, j) is the position that is j-th nearest to position p, where p itself usually is the first.
    W2 is applied to f_c(nn(., j)) - 2 f_c instead of f_j - f_c, because f_c is subtracted twice. No convolution
    follows.

    Args:
        channels: Channels c.
        size: Height and width of the map.
        neighbors: Number of neighbours k.
        variant: "paper" or "released".
    """

    def __init__(self, channels: int, size: int, *, neighbors: int, variant: str) -> None:
        super().__init__()
        positions = size * size
        self.neighbors = neighbors
        self.among_channels = variant == "paper"
        self.node = nn.Linear(positions, positions)  # W1, b1
        self.edge = nn.Linear(positions, positions)  # W2, b2
        self.mix: nn.Module = nn.Conv2d(channels, channels, 1) if self.among_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to the same shape."""
        rows = rearrange(x, "n c h w -> n c (h w)")
        edge = F.linear(rows, self.edge.weight)
        best, subtracted = self._channels(rows, edge) if self.among_channels else self._positions(rows, edge)
        e = F.relu(self.node(rows) + self.edge.bias - subtracted + best)
        return self.mix(rearrange(e, "n c (h w) -> n c h w", h=x.shape[2]))

    def _channels(self, rows: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
        """max_j W2 f_j and W2 f_c."""
        return take(edge, nearest(rows, self.neighbors, include_self=False)).amax(dim=2), edge

    def _positions(self, rows: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
        """max_j W2 f_c(nn(., j)) and 2 W2 f_c."""
        columns = rearrange(rows, "n c p -> n p c")
        moved = take(columns, nearest(columns, self.neighbors, include_self=True))
        return einsum(moved, self.edge.weight, "n p k c, q p -> n k c q").amax(dim=1), 2 * edge


class F5C(nn.Module):
    """Fully-connected and channel correspondence convolution: u = FCC(x), then u + CCC(u).

    Args:
        channels: Channels c, even.
        size: Height and width of the map.
        neighbors: Number of neighbours k of CCC.
        variant: "paper" or "released".
    """

    def __init__(self, channels: int, size: int, *, neighbors: int, variant: str) -> None:
        super().__init__()
        self.fcc = FCC(channels, size, variant=variant)
        self.ccc = CCC(channels, size, neighbors=neighbors, variant=variant)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, c, h, w]`` to the same shape."""
        u = self.fcc(x)
        return u + self.ccc(u)
