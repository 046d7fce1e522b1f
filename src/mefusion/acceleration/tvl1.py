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

from mefusion.common.errors import MefusionError, first_line

TAU, LAMBDA, THETA, EPSILON = 0.25, 0.15, 0.3, 0.01
SCALES, SCALE_STEP, SMALLEST = 5, 0.8, 16  # no scale has a side below the smallest, px
WARPS, OUTER, INNER = 5, 10, 30
MEDIAN = 5  # side of the median filter, px
PAIRS = 128  # at once, which bounds the memory
PAIRS_OF_A_CPU = 4  # at once: more of them do not fit into the memory next to a core


def require_device(device: str) -> None:
    """Check that torch can compute on a device.

    Raises:
        MefusionError: it cannot.
    """
    try:
        torch.zeros(1, device=device, dtype=torch.float64)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise MefusionError(
            f"flow_device={device} cannot be used ({first_line(error)}): give cuda where torch sees a GPU, or cpu, or "
            "leave it out"
        ) from error


@torch.inference_mode()
def tvl1_flows(first: np.ndarray, second: np.ndarray, *, device: str) -> np.ndarray:
    """TV-L1 flow of each pair, as `mefusion.tvl1_flow` computes it, but for rounding.

    Args:
        first, second: [n, H, W] uint8 grey.
        device: where torch computes it, such as `cuda`.

    Returns:
        [n, 2, H, W] float32 px: for each pixel of `first`, how far it moves to the right and down until `second`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # preparation has a process for each core
    try:
        pictures = torch.from_numpy(np.stack([first, second]))
        parts = pictures.split(PAIRS_OF_A_CPU if device == "cpu" else PAIRS, dim=1)
        return torch.cat([_flows(*part.to(device).float()).cpu() for part in parts]).numpy()
    finally:
        torch.set_num_threads(threads)


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
            sides = [*pyramid[level - 1].shape[-2:]]
            steps = [old / new for old, new in zip(u.shape[-2:], sides, strict=True)]
            u = _resize(u, sides, steps=steps) / SCALE_STEP
    return u


def _resize(x: Tensor, sides: list[int], *, steps: list[float]) -> Tensor:
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
    """Refine flow [n, 2, h, w] of pictures [n, h, w]."""
    target = torch.stack([second, *_centred_gradient(second)], dim=1)
    p = torch.zeros_like(u)[:, :, None].repeat(1, 1, 2, 1, 1)  # [n, component of u, direction, h, w]
    for _ in range(WARPS):
        warped = _warp(target, u)
        gradient = warped[:, 1:]
        u, p = _solve(u, p, gradient, warped[:, 0] - (gradient * u).sum(1) - first)
    return u


def _solve(u: Tensor, p: Tensor, gradient: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
    """Solve for flow and dual variables of the residual rho = constant + gradient u, each pair until it stops."""
    enough = EPSILON**2 * constant[0].numel()
    squared = gradient.square().sum(1).clamp_min(torch.finfo(u.dtype).eps)
    solved_u, solved_p, pairs = u.clone(), p.clone(), torch.arange(len(u), device=u.device)
    for _ in range(OUTER):
        u = _median(u)
        for _ in range(INNER):
            rho = constant + (gradient * u).sum(1)
            step = (-rho / squared).clamp(-LAMBDA * THETA, LAMBDA * THETA)
            before, u = u, u + step[:, None] * gradient + THETA * _divergence(p)
            slope = _forward_gradient(u)
            p = (p + TAU / THETA * slope) / (1 + TAU / THETA * torch.hypot(slope[:, :, :1], slope[:, :, 1:]))
            changing = (u - before).square().sum((1, 2, 3)) > enough
            if not changing.all():
                solved_u[pairs], solved_p[pairs] = u, p
                u, p, gradient, constant, squared, pairs = (
                    x[changing] for x in (u, p, gradient, constant, squared, pairs)
                )
                if not len(pairs):
                    return solved_u, solved_p
    solved_u[pairs], solved_p[pairs] = u, p
    return solved_u, solved_p


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
    # In double precision: grid_sample scales places to -1..1, and flat skin is moved by what is rounded there.
    exact = u.double()
    down, right = torch.meshgrid(*(torch.arange(side).to(exact) for side in (height, width)), indexing="ij")
    place = rearrange(exact + torch.stack([right, down]), "n c h w -> n h w c")
    grid = 2 * place / torch.tensor([width - 1, height - 1]).to(exact) - 1
    found = functional.grid_sample(x.double(), grid, mode="bicubic", padding_mode="zeros", align_corners=True)
    return found.to(x)


def _median(u: Tensor) -> Tensor:
    """Median of the pixels around each of [n, 2, h, w]; those at the edge are repeated beyond it."""
    height, width = u.shape[-2:]
    padded = functional.pad(u, [MEDIAN // 2] * 4, mode="replicate")
    rest = [padded[..., i : i + height, j : j + width] for i in range(MEDIAN) for j in range(MEDIAN)]
    # More than half of the values: the median of all is neither their smallest nor their largest, which are dropped,
    # until the last value leaves one. Torch's own median of small sets takes five times as long.
    kept = [rest.pop() for _ in range(MEDIAN**2 // 2 + 1)]
    while rest:
        kept.append(rest.pop())
        for i in range(1, len(kept)):
            kept[0], kept[i] = torch.minimum(kept[0], kept[i]), torch.maximum(kept[0], kept[i])
        for i in range(1, len(kept) - 1):
            kept[i], kept[-1] = torch.minimum(kept[i], kept[-1]), torch.maximum(kept[i], kept[-1])
        kept = kept[1:-1]
    return kept[0]
