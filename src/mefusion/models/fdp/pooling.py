"""FDP's rank scorer, and the pooling of frame features into one dynamic representation (arXiv 2509.06015).

A frame has as many features as pixels, so its features are also a map.
"""

import math

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

POOLINGS = ("rank", "approximate", "mean", "conv", "residual")
SCORED_POOLINGS = ("rank", "residual")  # those that need the scorer


def approximate_weights(length: int) -> Tensor:
    """Weights of approximate rank pooling: a_t = sum_{k = t..T} (2 k - T - 1) / k, ``[t]``.

    Bilen et al. 2016, arXiv 1512.01848.
    """
    k = torch.arange(1, length + 1, dtype=torch.float64)
    return ((2 * k - length - 1) / k).flip(0).cumsum(0).flip(0).to(torch.get_default_dtype())


def rank_weights(scores: Tensor) -> Tensor:
    """Weights of rank pooling: a_t = sum_q tanh(s_t - s_q), ``[b, t]`` from scores ``[b, t]``.

    If the scores rise with time, the weights rise from below zero to above zero, as in approximate rank pooling.
    """
    return (scores[:, :, None] - scores[:, None, :]).tanh().sum(dim=2)


class RankScorer(nn.Module):
    """Scores s_t = MLP(V_t) of the clip up to each frame, where V_t is the mean of the first t frames' features.

    Args:
        features: Number of features of a frame.
        hidden: Units of the hidden layer.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Compute scores ``[b, t]`` of features ``[b, t, p]``."""
        count = torch.arange(1, features.shape[1] + 1, device=features.device)
        means = features.cumsum(dim=1) / count[:, None]
        return rearrange(self.fc2(F.relu(self.fc1(means))), "b t 1 -> b t")


class Pooling(nn.Module):
    """One dynamic representation from the features f_t of all frames.

    D = sum_t a_t f_t as a map, and Y = conv3x3(D), where the weights a_t are

    - ``rank``: a_t = sum_q tanh(s_t - s_q) of the scores s;
    - ``approximate``: those of approximate rank pooling, as in the dynamic image;
    - ``mean``: 1 / T;
    - ``residual``, our extension: those of approximate rank pooling divided by T, plus the scores minus their
      mean, scaled to a unit vector.

    ``conv`` has no D: Y is a 3x3 convolution over the T maps of the frames. ``released`` has only this kind, and
    its T maps differ: map i has the features i, T + i, 2 T + i, ... of the first frame, then those of the second
    frame and so on, because the authors reshape the tensor instead of permuting its axes.

    Args:
        kind: "rank", "approximate", "mean", "conv" or "residual".
        clip_length: Frames T of a clip.
        image_size: Height and width of the maps.
        maps: Number of maps of Y.
        variant: "paper" or "released".
    """

    def __init__(self, kind: str, *, clip_length: int, image_size: int, maps: int, variant: str) -> None:
        super().__init__()
        self.kind = kind
        self.reshapes = variant == "released"
        self.image_size = image_size
        self.conv = nn.Conv2d(clip_length if kind == "conv" else 1, maps, 3, padding=1)
        self.register_buffer("approximate", approximate_weights(clip_length), persistent=False)
        self.approximate: Tensor

    def forward(self, features: Tensor, scores: Tensor | None) -> Tensor:
        """Compute Y ``[b, maps, h, w]`` from features ``[b, t, h w]`` and, if the kind uses them, scores ``[b, t]``."""
        length, side = features.shape[1], self.image_size
        if self.reshapes:
            x = rearrange(features.flatten(1), "b (h w t) -> b t h w", t=length, h=side)
        elif self.kind == "conv":
            x = rearrange(features, "b t (h w) -> b t h w", h=side)
        else:
            dynamic = einsum(self.weights(scores).expand(features.shape[:2]), features, "b t, b t p -> b p")
            x = rearrange(dynamic, "b (h w) -> b 1 h w", h=side)
        return self.conv(x)

    def changes(self, maps: Tensor) -> Tensor:
        """How maps ``[b, t, c, h, w]`` change, as the dynamic image shows frames: sum_t a_t M_t, ``[b, c, h, w]``."""
        return einsum(self.approximate, maps, "t, b t c h w -> b c h w")

    def weights(self, scores: Tensor | None) -> Tensor:
        """The weights a_t: ``[b, t]`` if they depend on scores ``[b, t]``; ``[t]`` if they are fixed."""
        length = len(self.approximate)
        if self.kind == "approximate":
            return self.approximate
        if self.kind == "mean":
            return torch.full_like(self.approximate, 1 / length)
        assert scores is not None
        if self.kind == "rank":
            return rank_weights(scores)
        # Layer norm divides by the standard deviation, and is safe if all scores are equal.
        return self.approximate / length + F.layer_norm(scores, (length,)) / math.sqrt(length)
