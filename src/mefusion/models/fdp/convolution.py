"""3x3 convolutions, which bound FDP's training step, with fewer multiplications on a CPU."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

# Minimal filtering of one axis: columns @ ((rows @ x) * (taps @ w)) is y[i] = sum_k w[k] x[i + k - 1].
# Four outputs of six inputs by six products: F(4, 3) of Lavin and Gray, arXiv 1509.09308.
ROWS_4 = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
TAPS_4 = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
COLUMNS_4 = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
# A whole axis of two, zero outside, by three products (Karatsuba).
ROWS_2 = ((1, 1), (0, 1), (1, 0))
TAPS_2 = ((0, 1, 0), (0, -1, 1), (1, -1, 0))
COLUMNS_2 = ((1, 1, 0), (1, 0, 1))

# Outside these the transforms were measured to cost as much as they save.
LEAST_CHANNELS = 128
LEAST_POSITIONS = 1024
LARGEST_SIZE = 16


def rounded(channels: float, multiple: int = 1) -> int:
    """The nearest multiple, at least one; the larger of two as near."""
    return max(multiple, int(channels / multiple + 0.5) * multiple)


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution, padded by 1; on a CPU, where it pays, by Winograd's algorithm.

    The result is that of ``nn.Conv2d`` to within about 1e-5 of its largest value: single precision is kept, and
    under autocast and on other devices nothing changes. A training step of deep layers on small maps takes half
    the time; on 2x2 maps, an eighth.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 3, stride, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, outputs, h / stride, w / stride]``."""
        if not self._pays(x):
            return super().forward(x)
        y = winograd_conv3x3(x, self.weight)
        return y if self.bias is None else y + self.bias[:, None, None]

    def _pays(self, x: Tensor) -> bool:
        n, _, height, width = x.shape
        return (
            x.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
            and self.stride == (1, 1)
            and min(self.in_channels, self.out_channels) >= LEAST_CHANNELS
            and height == width <= LARGEST_SIZE
            and (height == 2 or (height % 4 == 0 and n * height * width >= LEAST_POSITIONS))
        )


class ConvBNReLU(nn.Module):
    """3x3 convolution, padded, then batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, bias: bool = False) -> None:
        super().__init__()
        self.conv = Conv3x3(inputs, outputs, stride=stride, bias=bias)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs, h, w]`` to ``[n, outputs, h / stride, w / stride]``."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


def winograd_conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """``F.conv2d(x, weight, padding=1)`` for square maps of size 2 or a multiple of 4.

    Args:
        x: ``[n, c, h, h]``, best in channels-last memory.
        weight: ``[o, c, 3, 3]``.

    Returns:
        ``[n, o, h, h]``, in channels-last memory.
    """
    n, _, size, _ = x.shape
    rows, taps, columns = (matrix.to(x) for matrix in _transforms(size))
    points = len(taps)
    # Of every pair of points i, j there is one matrix product over the channels; t and u count tiles.
    filters = rearrange(einsum(taps, taps, weight, "i k, j l, o c k l -> i j c o"), "i j c o -> (i j) c o")
    x = rows @ rearrange(x, "n c h w -> (n h) w c")
    x = rows @ rearrange(x, "(n h) ju c -> n h (ju c)", n=n)
    x = rearrange(x, "n (i t) (j u c) -> (i j) (n t u) c", i=points, j=points, c=weight.shape[1])
    y = rearrange(x @ filters, "(i j) (n t u) o -> n (i t) (j u o)", i=points, n=n, t=rows.shape[0] // points)
    y = rearrange(columns @ y, "n h (ju o) -> (n h) ju o", o=weight.shape[0])
    return rearrange(columns @ y, "(n h) w o -> n o h w", n=n)


def _transforms(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of an axis: rows ``[i t, size]``, taps ``[i, 3]``, columns ``[size, i t]``, with t tiles."""
    if size == 2:
        rows, taps, columns = (torch.tensor(matrix, dtype=torch.float64) for matrix in (ROWS_2, TAPS_2, COLUMNS_2))
        return rows, taps, columns
    rows, taps, columns = (torch.tensor(matrix, dtype=torch.float64) for matrix in (ROWS_4, TAPS_4, COLUMNS_4))
    # Entry h, t, k: whether place h is the k-th that tile t looks at.
    window = F.pad(torch.eye(size, dtype=torch.float64), (1, 1)).unfold(1, 6, 4)
    tiles = torch.eye(size // 4, dtype=torch.float64)
    rows = rearrange(einsum(rows, window, "i k, h t k -> i t h"), "i t h -> (i t) h")
    columns = rearrange(einsum(columns, tiles, "r i, u t -> u r i t"), "u r i t -> (u r) (i t)")
    return rows, taps, columns
