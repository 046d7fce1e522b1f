"""TV-L1 optical flow of many pairs of pictures at once, in torch, for a GPU.

The scheme is that of Zach, Pock and Bischof 2007 ("A duality based approach for realtime TV-L1 optical flow"), in the
form of Sánchez Pérez, Meinhardt-Llopis and Facciolo 2013 ("TV-L1 optical flow estimation", IPOL), with the parameters,
the order of steps and the interpolation of OpenCV's `DualTVL1OpticalFlow`. Names are those of the papers: u flow, p
dual variables, rho residual.
"""

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

TAU, LAMBDA, THETA, EPSILON = 0.25, 0.15, 0.3, 0.01
SCALES, SCALE_STEP, SMALLEST = 5, 0.8, 16  # no scale has a side below the smallest, px
WARPS, OUTER, INNER = 5, 10, 30
MEDIAN = 5  # side of the median filter, px
PAIRS = 128  # at once, which bounds the memory


@torch.inference_mode()
def tvl1_flows(first: np.ndarray, second: np.ndarray, *, device: str) -> np.ndarray:
    """TV-L1 flow of each pair, as `mefusion.tvl1_flow` computes it, but for rounding.

    Args:
        first, second: [n, H, W] uint8 grey.
        device: where torch computes it, such as `cuda`.

    Returns:
        [n, 2, H, W] float32 px: for each pixel of `first`, how far it moves to the right and down until `second`.
    """
    pictures = zip(torch.from_numpy(first).split(PAIRS), torch.from_numpy(second).split(PAIRS), strict=True)
    return torch.cat([_flows(a.to(device).float(), b.to(device).float()).cpu() for a, b in pictures]).numpy()


def _flows(first: Tensor, second: Tensor) -> Tensor:
    """Flow [n, 2, h, w] of pictures [n, h, w], from the coarsest scale to the finest."""
    pyramid = [torch.stack([first, second])]
    while len(pyramid) < SCALES:
        sides = [round(side * SCALE_STEP) for side in pyramid[-1].shape[-2:]]
        if min(sides) < SMALLEST:
            break
        pyramid.append(_resize(pyramid[-1], sides, steps=[1 / SCALE_STEP] * 2))
    u = torch.zeros_like(pyramid[-1]).transpose(0, 1)
    for level, (coarse_first, coarse_second) in reversed([*enumerate(pyramid)]):
        u = _one_scale(coarse_first, coarse_second, u)
        if level:
            sides = pyramid[level - 1].shape[-2:]
            steps = [old / new for old, new in zip(u.shape[-2:], sides, strict=True)]
            u = _resize(u, sides, steps=steps) / SCALE_STEP
    return u


def _resize(x: Tensor, sides: "torch.Size | list[int]", *, steps: list[float]) -> Tensor:
    """Interpolate [..., h, w] linearly to other sides; a step from pixel to pixel is so many old pixels."""
    for dim, side, step in zip((-2, -1), sides, steps, strict=True):
        last = x.shape[dim] - 1
        place = ((torch.arange(side, dtype=torch.float64) + 0.5) * step - 0.5).clamp(0, last)
        lower = place.long()
        weight = (place - lower).to(x).reshape(-1, *[1] * (-1 - dim))
        lower, upper = lower.to(x.device), (lower + 1).clamp(max=last).to(x.device)
        x = torch.lerp(x.index_select(dim, lower), x.index_select(dim, upper), weight)
    return x


def _one_scale(first: Tensor, second: Tensor, u: Tensor) -> Tensor:
    """Refine flow [n, 2, h, w] of pictures [n, h, w]; a pair whose flow hardly changes any more is finished."""
    p = torch.zeros_like(u)[:, :, None].repeat(1, 1, 2, 1, 1)  # [n, flow, direction, h, w]
    target = torch.stack([second, *_centred_gradient(second)], dim=1)
    enough = EPSILON**2 * first[0].numel()
    for _ in range(WARPS):
        warped = _warp(target, u)
        gradient = warped[:, 1:]
        squared = gradient.square().sum(1)
        constant = warped[:, 0] - (gradient * u).sum(1) - first
        running = torch.ones(len(u), dtype=torch.bool, device=u.device)
        for _ in range(OUTER):
            u = _where(running, _median(u), u)
            for _ in range(INNER):
                rho = constant + (gradient * u).sum(1)
                step = (-rho / squared.clamp_min(torch.finfo(u.dtype).eps)).clamp(-LAMBDA * THETA, LAMBDA * THETA)
                new = u + step[:, None] * gradient + THETA * _divergence(p)
                slope = _forward_gradient(new)
                size = torch.linalg.vector_norm(slope, dim=2, keepdim=True)
                p = _where(running, (p + TAU / THETA * slope) / (1 + TAU / THETA * size), p)
                change = (new - u).square().sum((1, 2, 3))
                u = _where(running, new, u)
                running = running & (change > enough)
                if not running.any():
                    break
            if not running.any():
                break
    return u


def _where(running: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(running.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _centred_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Half the difference of the neighbours to the right and left, and below and above; [n, h, w] each."""
    padded = functional.pad(x[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    right = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    return right, (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2


def _forward_gradient(u: Tensor) -> Tensor:
    """Differences to the right and lower neighbours of [n, 2, h, w], 0 at the far edges: [n, 2, 2, h, w]."""
    right = functional.pad(u.diff(dim=-1), (0, 1))
    return torch.stack([right, functional.pad(u.diff(dim=-2), (0, 0, 0, 1))], dim=2)


def _divergence(p: Tensor) -> Tensor:
    """Divergence of [n, 2, 2, h, w], the negative adjoint of the forward gradient: [n, 2, h, w]."""
    x, y = p.unbind(2)
    return functional.pad(x, (1, 0)).diff(dim=-1) + functional.pad(y, (0, 0, 1, 0)).diff(dim=-2)


def _warp(x: Tensor, u: Tensor) -> Tensor:
    """Values of [n, c, h, w] where the flow leads, by cubic interpolation; 0 outside."""
    height, width = x.shape[-2:]
    down, right = torch.meshgrid(*(torch.arange(side).to(u) for side in (height, width)), indexing="ij")
    place = u + torch.stack([right, down])
    grid = rearrange(place, "n c h w -> n h w c") * (2 / torch.tensor([width - 1, height - 1]).to(u)) - 1
    return functional.grid_sample(x, grid, mode="bicubic", padding_mode="zeros", align_corners=True)


def _median(u: Tensor) -> Tensor:
    """Median of the pixels around each of [n, 2, h, w]; those at the edge are repeated beyond it."""
    padded = functional.pad(u, [MEDIAN // 2] * 4, mode="replicate")
    return padded.unfold(2, MEDIAN, 1).unfold(3, MEDIAN, 1).flatten(-2).median(-1).values
