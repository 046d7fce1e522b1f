"""Tasks: each has a loss, errors for the prediction table, and a weight.

A task that is off is not built: neither its loss nor its part of the network exists.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F

PERCENT = 100


class Task(Protocol):
    """What a Lightning module asks of a task; `output` is the network's, `batch` the data's."""

    @property
    def weight(self) -> float:
        """Factor of the loss in the total."""
        ...

    def loss(self, output: Any, batch: Any) -> Tensor:
        """Loss of a batch, a scalar, not yet weighted."""
        ...

    def errors(self, output: Any, batch: Any) -> dict[str, Tensor]:
        """Columns of the prediction table, [B] each."""
        ...


@dataclass(frozen=True)
class Recognition:
    """Cross-entropy of the emotion's class."""

    weight: float = 1.0

    def loss(self, output: Any, batch: Any) -> Tensor:
        """See `Task.loss`."""
        return F.cross_entropy(output.logits, batch.label)

    def errors(self, output: Any, batch: Any) -> dict[str, Tensor]:
        """None: the table holds probabilities."""
        return {}


@dataclass(frozen=True)
class Flow:
    """Optical flow between neighbouring frames.

    The loss is the mean squared error over all values, divided once more by T - 1 as in MOL's code.
    Errors: `flow_epe`, the mean end-point error in px, and `flow_epe_zero`, that of predicting no motion.
    """

    weight: float = 10.0

    def loss(self, output: Any, batch: Any) -> Tensor:
        """See `Task.loss`."""
        return F.mse_loss(output.flow, batch.flow) / batch.flow.shape[1]

    def errors(self, output: Any, batch: Any) -> dict[str, Tensor]:
        """End-point errors, px."""
        return {
            "flow_epe": _mean_length(output.flow - batch.flow),
            "flow_epe_zero": _mean_length(batch.flow),
        }


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of the frames 2..T, normalised by the inter-ocular distance.

    The loss sums over the T - 1 frames the mean over clips of (sum of the 136 absolute errors) / (68 x
    inter-ocular distance). Error: `landmarks_nme`, the mean distance in % of the inter-ocular distance.
    """

    weight: float = 0.1

    def loss(self, output: Any, batch: Any) -> Tensor:
        """See `Task.loss`."""
        absolute = reduce((output.landmarks - batch.landmarks).abs(), "b t n xy -> b t", "sum")
        return (absolute / (68 * interocular(batch.landmarks))).mean(0).sum()

    def errors(self, output: Any, batch: Any) -> dict[str, Tensor]:
        """Normalised mean error, %."""
        distance = torch.linalg.vector_norm(output.landmarks - batch.landmarks, dim=-1)
        relative = reduce(distance, "b t n -> b t", "mean") / interocular(batch.landmarks)
        return {"landmarks_nme": PERCENT * relative.mean(1)}


def interocular(landmarks: Tensor) -> Tensor:
    """Distance of the two eye centres, [..., 68, 2] -> [...] px."""
    left, right = landmarks[..., 36:42, :].mean(-2), landmarks[..., 42:48, :].mean(-2)
    return torch.linalg.vector_norm(right - left, dim=-1)


def _mean_length(flow: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(rearrange(flow, "b t uv h w -> b (t h w) uv"), dim=-1)
    return lengths.mean(1)


TASKS: dict[str, Callable[..., Task]] = {"recognition": Recognition, "flow": Flow, "landmarks": Landmarks}
