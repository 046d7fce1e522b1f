"""3x3 convolutions with fewer multiplications, by Winograd's algorithm (arXiv 1509.09308)."""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor

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

# Limits from measurements on a CPU: outside them, the transforms cost as much time as they save.
LEAST_CHANNELS = 128
LEAST_POSITIONS = 1024
LARGEST_SIZE = 16


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.conv2d(x, weight, bias, padding=1)`` with a 3x3 weight, by Winograd's algorithm if that is faster.

    The results differ by about 1e-5 of the largest value, within single precision. Under autocast they do not differ.
    A training step of deep layers on small maps takes half the time; on 2x2 maps it takes an eighth.
    """
    if not _is_faster(x, weight):
        return F.conv2d(x, weight, bias, padding=1)
    y = WinogradConv3x3.apply(x, weight)
    return y if bias is None else y + bias[:, None, None]


def _is_faster(x: Tensor, weight: Tensor) -> bool:
    n, _, height, width = x.shape
    return (
        not torch.is_autocast_enabled("cpu")
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and height == width <= LARGEST_SIZE
        and (height == 2 or (height % 4 == 0 and n * height * width >= LEAST_POSITIONS))
    )


class WinogradConv3x3(torch.autograd.Function):
    """``F.conv2d(x, weight, padding=1)`` for square maps of size 2 or a multiple of 4.

    Takes x ``[n, c, h, h]``, best in channels-last memory, and weight ``[o, c, 3, 3]``; returns ``[n, o, h, h]`` in
    channels-last memory. The steps are linear, so the gradients are their transposes. The backward pass transforms
    input and weight again, because the transformed ones are larger and would need more memory.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(x, weight)
        rows, taps, columns = _matrices(x)
        return _join(_spread(x, rows) @ _filters(weight, taps).mT, columns, len(x))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: D102
        x, weight = ctx.saved_tensors
        rows, taps, columns = _matrices(x)
        products = _spread(gradient, columns.T)
        x_gradient = weight_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = _join(products @ _filters(weight, taps), rows.T, len(x))
        if ctx.needs_input_grad[1]:
            filters = rearrange(products.mT @ _spread(x, rows), "ij o c -> ij (o c)")
            weight_gradient = rearrange(taps.T @ filters, "(k l) (o c) -> o c k l", k=3, o=len(weight))
        return x_gradient, weight_gradient


def _filters(weight: Tensor, taps: Tensor) -> Tensor:
    """Transform the weight: a matrix over the channels for each pair of points of the two axes, ``[i j, o, c]``."""
    filters = taps @ rearrange(weight, "o c k l -> (k l) (o c)")
    return rearrange(filters, "ij (o c) -> ij o c", o=len(weight))


def _spread(x: Tensor, matrix: Tensor) -> Tensor:
    """Transform maps ``[n, c, h, h]`` to the points of all tiles, ``[i j, n t u, c]``, by a matrix ``[i t, h]``."""
    n, channels, size, _ = x.shape
    x = matrix @ rearrange(x, "n c h w -> (n h) w c")
    x = matrix @ rearrange(x, "(n h) ju c -> n h (ju c)", n=n)
    points = len(TAPS_2 if size == 2 else TAPS_4)
    return rearrange(x, "n (i t) (j u c) -> (i j) (n t u) c", i=points, j=points, c=channels)


def _join(products: Tensor, matrix: Tensor, n: int) -> Tensor:
    """Transform the points of all tiles to maps by a matrix ``[h, i t]``: the transpose of ``_spread``."""
    size, channels = len(matrix), products.shape[2]
    points = len(TAPS_2 if size == 2 else TAPS_4)
    tiles = matrix.shape[1] // points
    y = rearrange(products, "(i j) (n t u) o -> n (i t) (j u o)", i=points, n=n, t=tiles)
    y = rearrange(matrix @ y, "n h (ju o) -> (n h) ju o", o=channels)
    return rearrange(matrix @ y, "(n h) w o -> n o h w", n=n)


def _matrices(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of Winograd's algorithm for maps x with t tiles along an axis.

    Returns:
        Rows ``[i t, h]`` and columns ``[h, i t]`` of one axis; taps ``[i j, k l]`` of both axes.
    """
    size = x.shape[2]
    given = (ROWS_2, TAPS_2, COLUMNS_2) if size == 2 else (ROWS_4, TAPS_4, COLUMNS_4)
    rows, taps, columns = (x.new_tensor(matrix) for matrix in given)
    taps = torch.kron(taps, taps)
    if size == 2:
        return rows, taps, columns
    # Entry h, t, k: 1 if place h is the k-th input of tile t, else 0.
    window = F.pad(torch.eye(size).to(x), (1, 1)).unfold(1, 6, 4)
    tiles = torch.eye(size // 4).to(x)
    rows = rearrange(einsum(rows, window, "i k, h t k -> i t h"), "i t h -> (i t) h")
    columns = rearrange(einsum(columns, tiles, "r i, u t -> u r i t"), "u r i t -> (u r) (i t)")
    return rows, taps, columns
