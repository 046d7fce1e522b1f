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
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from mefusion.common.errors import MefusionError

IMBALANCE = ("none", "class_weights", "sampler", "logit_adjustment", "focal")
FOCUS = 2.0  # gamma of the focal loss, as its authors recommend


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
    """Cross-entropy of the emotion's class, the mean over clips.

    Attributes:
        class_weights: [K], of each clip's term by its class; the mean is then a weighted one.
        adjustment: [K], added to the logits in the loss alone.
        focus: gamma of the focal loss (Lin et al. 2017): terms are multiplied by (1 - p)^gamma; 0 is cross-entropy.
    """

    weight: float = 1.0
    class_weights: Tensor | None = None
    adjustment: Tensor | None = None
    focus: float = 0.0

    def loss(self, output: Any, batch: Any) -> Tensor:
        """See `Task.loss`."""
        logits = output.logits if self.adjustment is None else output.logits + self.adjustment.to(output.logits)
        if self.focus:
            entropy = F.cross_entropy(logits, batch.label, reduction="none")
            return ((1 - (-entropy).exp()) ** self.focus * entropy).mean()
        weights = None if self.class_weights is None else self.class_weights.to(logits)
        return F.cross_entropy(logits, batch.label, weight=weights)

    def errors(self, output: Any, batch: Any) -> dict[str, Tensor]:
        """None: the table holds probabilities."""
        return {}


def make_recognition(weight: float, *, imbalance: str, class_counts: Tensor) -> Recognition:
    """Recognition that makes up for classes of different size.

    Args:
        weight: of the task.
        imbalance: `none`; `class_weights`, inverse to a class's clips; `logit_adjustment`, the logarithm of a
            class's share is added to its logit in training (Menon et al. 2021); `focal`; or `sampler`, which the
            data does: the loss stays.
        class_counts: [K] clips of each class among the training subjects.

    Raises:
        MefusionError: `imbalance` is none of them.
    """
    if imbalance not in IMBALANCE:
        raise MefusionError(f"imbalance={imbalance}: choose from {', '.join(IMBALANCE)}")
    # A class that the training subjects lack counts as half a clip: finite, and rare.
    counts = class_counts.float().clamp(min=0.5)
    if imbalance == "class_weights":
        return Recognition(weight, class_weights=counts.sum() / (len(counts) * counts))
    if imbalance == "logit_adjustment":
        return Recognition(weight, adjustment=(counts / counts.sum()).log())
    return Recognition(weight, focus=FOCUS if imbalance == "focal" else 0.0)


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
        return {"landmarks_nme": 100 * relative.mean(1)}


@dataclass(frozen=True)
class DynamicImage:
    """Dynamic image of the clip: mean squared error over all pixels.

    Errors: `dynamic_image_psnr`, dB, beside `dynamic_image_psnr_flat`, that of the best picture of one grey level;
    `dynamic_image_ssim`, structural similarity, -1..1; and `dynamic_image_cosine`, 0..1.
    """

    weight: float = 100.0

    def loss(self, output: Any, batch: Any) -> Tensor:
        """See `Task.loss`."""
        return F.mse_loss(output.dynamic_image, batch.dynamic_image)

    def errors(self, output: Any, batch: Any) -> dict[str, Tensor]:
        """Peak signal-to-noise ratio, structural similarity and cosine similarity."""
        predicted, target = output.dynamic_image.float(), batch.dynamic_image
        flat = target.mean((1, 2), keepdim=True).expand_as(target)
        similarity = structural_similarity_index_measure(
            predicted[:, None], target[:, None], data_range=1.0, reduction="none"
        )
        return {
            "dynamic_image_psnr": _psnr(predicted, target),
            "dynamic_image_psnr_flat": _psnr(flat, target),
            "dynamic_image_ssim": similarity,  # type: ignore[dict-item]
            "dynamic_image_cosine": F.cosine_similarity(predicted.flatten(1), target.flatten(1)),
        }


@dataclass(frozen=True)
class Rank:
    """Order of frames: of each pair of frames the later one scores higher by a margin.

    The loss is 2 / (T (T - 1)) sum_{i < j} max(0, m - (s_j - s_i)), the mean over clips. Error: `rank_accuracy`,
    the share of pairs in the right order; 0.5 is chance.
    """

    weight: float = 0.1
    margin: float = 1.0

    def loss(self, output: Any, batch: Any) -> Tensor:
        """See `Task.loss`."""
        return (self.margin - _later_less_earlier(output.rank_scores)).relu().mean()

    def errors(self, output: Any, batch: Any) -> dict[str, Tensor]:
        """Share of pairs in the right order."""
        return {"rank_accuracy": (_later_less_earlier(output.rank_scores) > 0).float().mean(1)}


def _later_less_earlier(scores: Tensor) -> Tensor:
    """Differences s_j - s_i of all pairs i < j: scores [B, T] -> [B, T (T - 1) / 2]."""
    i, j = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1, device=scores.device)
    return scores[:, j] - scores[:, i]


def _psnr(predicted: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image [B, S, S] of the range 0..1, dB; 100 where they are the same."""
    ratio = peak_signal_noise_ratio(predicted, target, data_range=1.0, dim=(1, 2), reduction="none")
    return ratio.clamp(max=100.0)


def interocular(landmarks: Tensor) -> Tensor:
    """Distance of the two eye centres, [..., 68, 2] -> [...] px."""
    left, right = landmarks[..., 36:42, :].mean(-2), landmarks[..., 42:48, :].mean(-2)
    return torch.linalg.vector_norm(right - left, dim=-1)


def _mean_length(flow: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(rearrange(flow, "b t uv h w -> b (t h w) uv"), dim=-1)
    return lengths.mean(1)


TASKS: dict[str, Callable[..., Task]] = {
    "recognition": Recognition,
    "flow": Flow,
    "landmarks": Landmarks,
    "dynamic_image": DynamicImage,
    "rank": Rank,
}
