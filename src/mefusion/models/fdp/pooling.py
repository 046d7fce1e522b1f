"""FDP's rank scorer and the pooling of frame features into one dynamic representation (arXiv 2509.06015).

The features of a frame are as many numbers as it has pixels, and are laid out as a map.
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

    Scores in order of time make them rise through zero, as those of approximate rank pooling do.
    """
    return (scores[:, :, None] - scores[:, None, :]).tanh().sum(dim=2)


class RankScorer(nn.Module):
    """Scores s_t = MLP(V_t) of the clip up to each frame, V_t the mean of its first t features.

    Args:
        features: Features of a frame.
        hidden: Units of the hidden layer.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Scores ``[b, t]`` of features ``[b, t, p]``."""
        count = torch.arange(1, features.shape[1] + 1, device=features.device)
        means = features.cumsum(dim=1) / count[:, None]
        return rearrange(self.fc2(F.relu(self.fc1(means))), "b t 1 -> b t")


class Pooling(nn.Module):
    """One dynamic representation from the features f_t of all frames.

    D = sum_t a_t f_t as a map, and Y = conv3x3(D), where the weights a_t are

    - ``rank``: a_t = sum_q tanh(s_t - s_q) of the scores s;
    - ``approximate``: those of approximate rank pooling, as of the dynamic image;
    - ``mean``: 1 / T;
    - ``residual``, an extension of ours: approximate ones divided by T, plus the scores less their mean, made
      as long as a unit vector.

    ``conv`` has no D: Y is a 3x3 convolution over the T features as T maps. ``released`` has this one only, and
    over other maps: map i of its T holds features i, T + i, 2 T + i, ... of the first frame, then of the second
    and so on, since the authors reshape where they would have to permute.

    Args:
        kind: "rank", "approximate", "mean", "conv" or "residual".
        clip_length: Frames T of a clip.
        image_size: Height and width of the maps.
        maps: Maps of Y.
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
        """Y ``[b, maps, h, w]`` of features ``[b, t, h w]`` and, if scored, scores ``[b, t]``."""
        length, side = features.shape[1], self.image_size
        if self.reshapes:
            x = rearrange(features.flatten(1), "b (h w t) -> b t h w", t=length, h=side)
        elif self.kind == "conv":
            x = rearrange(features, "b t (h w) -> b t h w", h=side)
        else:
            dynamic = einsum(self.weights(scores).expand(features.shape[:2]), features, "b t, b t p -> b p")
            x = rearrange(dynamic, "b (h w) -> b 1 h w", h=side)
        return self.conv(x)

    def weights(self, scores: Tensor | None) -> Tensor:
        """The weights a_t, ``[b, t]`` from scores of that shape, or ``[t]`` where they are fixed."""
        length = len(self.approximate)
        if self.kind == "approximate":
            return self.approximate
        if self.kind == "mean":
            return torch.full_like(self.approximate, 1 / length)
        assert scores is not None
        if self.kind == "rank":
            return rank_weights(scores)
        # Layer norm divides by the standard deviation, safely where all scores are equal.
        return self.approximate / length + F.layer_norm(scores, (length,)) / math.sqrt(length)
