"""Tasks: each has a loss, columns of the prediction table, a weight, and a text for reports.

For a task that is off, neither the loss nor its part of the network is built.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from mefusion.evaluation.measures import Measure, TaskReport
from mefusion.processes.distributed import mean_over_processes
from mefusion.training.settings import Imbalance
from mefusion.windows.store import Batch

FOCUS = 2.0  # gamma of the focal loss, as its authors recommend
LANDMARK_FAILURE_NME = 8.0
"""A clip counts as failed if its landmark error is above this, in per cent of the inter-ocular distance."""


@dataclass(frozen=True)
class Task(ABC):
    """One head of a network with its loss.

    Attributes:
        weight: factor of the loss in the total.
        report: its columns of the prediction table, and how a study reports them.
        pictures: fields of the network's output and of the batch's targets that are saved for figures, for a few clips.
    """

    report: ClassVar[TaskReport] = TaskReport()
    pictures: ClassVar[tuple[str, ...]] = ()

    weight: float = 1.0

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """Loss of a batch, a scalar, not yet weighted; `output` is the network's."""

    def errors(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Columns of the prediction table, [B] each: those of `report`."""
        return {}


@dataclass(frozen=True)
class Recognition(Task):
    """Cross-entropy of the emotion's class, averaged over clips.

    Attributes:
        class_weights: [K], weight of a clip by its class; the average is then a weighted one, over all processes.
        adjustment: [K], added to the logits in the loss only.
        focus: gamma of the focal loss (Lin et al. 2017): terms are multiplied by (1 - p)^gamma; 0 is cross-entropy.
        smoothing: share of a label that is given to all classes alike; the focal loss takes none.
    """

    class_weights: Tensor | None = None
    adjustment: Tensor | None = None
    focus: float = 0.0
    smoothing: float = 0.0

    @classmethod
    def balanced(
        cls, weight: float, *, imbalance: Imbalance, class_counts: Tensor, tau: float = 1.0, smoothing: float = 0.0
    ) -> "Recognition":
        """Recognition with a loss that balances classes of different size.

        Args:
            weight: of the task.
            imbalance: `class_weights`: (mean number of clips of a class / that of the class)^tau; `logit_adjustment`:
                tau times the logarithm of a class's share is added to its logit in training (Menon et al. 2021);
                `focal`: the focal loss; `none` and `sampler` do not change the loss.
            class_counts: [K] clips of each class among the training subjects.
            tau: power of the class weights, or factor of the adjustment; 0 balances nothing.
            smoothing: of the labels.
        """
        # A class without training clips counts as half a clip, so that its weight is finite.
        counts = class_counts.float().clamp(min=0.5)
        if imbalance == Imbalance.class_weights:
            return cls(weight, class_weights=(counts.sum() / (len(counts) * counts)) ** tau, smoothing=smoothing)
        if imbalance == Imbalance.logit_adjustment:
            return cls(weight, adjustment=tau * (counts / counts.sum()).log(), smoothing=smoothing)
        return cls(weight, focus=FOCUS if imbalance == Imbalance.focal else 0.0, smoothing=smoothing)

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        logits = (
            output.logits
            if self.adjustment is None
            else output.logits + self.adjustment.to(output.logits, non_blocking=True)
        )
        if self.focus:
            entropy = F.cross_entropy(logits, batch.label, reduction="none")
            return ((1 - (-entropy).exp()) ** self.focus * entropy).mean()
        if self.class_weights is None:
            return F.cross_entropy(logits, batch.label, label_smoothing=self.smoothing)
        weights = self.class_weights.to(logits, non_blocking=True)
        loss = F.cross_entropy(logits, batch.label, weight=weights, label_smoothing=self.smoothing)
        total = weights[batch.label].float().sum()
        return loss * (total / mean_over_processes(total))


@dataclass(frozen=True)
class Flow(Task):
    """Optical flow between neighbouring frames.

    The loss is the mean squared error over all values, divided again by T - 1 as in MOL's code.
    """

    report = TaskReport(
        measures=(
            Measure("flow_epe", "flow EPE px"),
            Measure("flow_epe_relative", "EPE / zero flow", ".2f", column="flow_epe", over="flow_epe_zero"),
        ),
        headline="flow {flow_epe} px ({flow_epe_relative} of zero flow)",
        note="Flow EPE (end-point error): mean distance of the predicted motion from the target, in pixels. EPE / zero "
        "flow: below 1 is better than predicting no motion.",
    )
    pictures = ("flow",)

    weight: float = 10.0

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        flow = batch.targets["flow"]
        return F.mse_loss(output.flow, flow) / flow.shape[1]

    def errors(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Mean end-point error, and the error of predicting no motion, px."""
        flow = batch.targets["flow"]
        return {"flow_epe": _mean_length(output.flow - flow), "flow_epe_zero": _mean_length(flow)}


@dataclass(frozen=True)
class Landmarks(Task):
    """Landmarks of the frames 2..T, normalised by the inter-ocular distance.

    The loss of a frame is (sum of the 136 absolute errors) / (68 x inter-ocular distance). It is averaged over clips
    and summed over the T - 1 frames.
    """

    report = TaskReport(
        measures=(
            Measure("landmarks_nme", "landmark NME %", ".2f"),
            Measure(
                "landmarks_failure_rate",
                "landmarks failed %",
                ".1%",
                column="landmarks_nme",
                above=LANDMARK_FAILURE_NME,
            ),
        ),
        headline="landmarks {landmarks_nme} % of the inter-ocular distance",
        note="Landmark NME (normalised mean error): mean distance of the landmarks from their targets, in per cent of "
        "the inter-ocular distance. Landmarks failed: per cent of the clips whose NME is above "
        f"{LANDMARK_FAILURE_NME:g} %.",
    )
    pictures = ("landmarks",)

    weight: float = 0.1

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        landmarks = batch.targets["landmarks"]
        absolute = reduce((output.landmarks - landmarks).abs(), "b t n xy -> b t", "sum")
        return (absolute / (68 * interocular(landmarks))).mean(0).sum()

    def errors(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Normalised mean error, %."""
        landmarks = batch.targets["landmarks"]
        distance = torch.linalg.vector_norm(output.landmarks - landmarks, dim=-1)
        relative = reduce(distance, "b t n -> b t", "mean") / interocular(landmarks)
        return {"landmarks_nme": 100 * relative.mean(1)}


@dataclass(frozen=True)
class DynamicImage(Task):
    """Dynamic image of the clip: mean squared error over all pixels."""

    report = TaskReport(
        measures=(
            Measure("dynamic_image_psnr", "dynamic image PSNR dB", ".1f", lower_is_better=False),
            Measure("dynamic_image_psnr_flat", "PSNR of flat grey", ".1f", lower_is_better=None),
            Measure("dynamic_image_ssim", "SSIM", ".2f", lower_is_better=False, lowest=-1.0),
            Measure("dynamic_image_cosine", "cosine", lower_is_better=False, lowest=-1.0),
        ),
        headline="dynamic image {dynamic_image_psnr} dB (flat grey {dynamic_image_psnr_flat})",
        note="PSNR, SSIM and cosine: how like its target the dynamic image is, higher is better. PSNR of flat grey: "
        "the best value that a picture of a single grey level reaches.",
    )
    pictures = ("dynamic_image",)

    weight: float = 100.0

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        return F.mse_loss(output.dynamic_image, batch.targets["dynamic_image"])

    def errors(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Peak signal-to-noise ratio of prediction and flat grey, dB; structural and cosine similarity, -1..1."""
        predicted, target = output.dynamic_image.float(), batch.targets["dynamic_image"]
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
class Rank(Task):
    """Order of frames: the later frame of each pair should have a higher score, by a margin m.

    The loss is 2 / (T (T - 1)) sum_{i < j} max(0, m - (s_j - s_i)), averaged over clips.
    """

    report = TaskReport(
        measures=(Measure("rank_accuracy", "rank accuracy", ".2f", lower_is_better=False),),
        headline="frame pairs in order {rank_accuracy} (chance 0.50)",
        note="Rank accuracy: share of frame pairs in the right order; 0.50 is chance.",
    )
    pictures = ("rank_scores",)

    weight: float = 0.1
    margin: float = 1.0

    def loss(self, output: Any, batch: Batch) -> Tensor:
        """See `Task.loss`."""
        return (self.margin - _pair_differences(output.rank_scores)).relu().mean()

    def errors(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Share of frame pairs in the right order."""
        return {"rank_accuracy": (_pair_differences(output.rank_scores) > 0).float().mean(1)}


def _pair_differences(scores: Tensor) -> Tensor:
    """Differences s_j - s_i of all pairs i < j: scores [B, T] -> [B, T (T - 1) / 2]."""
    i, j = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1, device=scores.device)
    return scores[:, j] - scores[:, i]


def _psnr(predicted: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image [B, S, S] with values in 0..1, dB; at most 100, for equal images."""
    ratio = peak_signal_noise_ratio(predicted, target, data_range=1.0, dim=(1, 2), reduction="none")
    return ratio.clamp(max=100.0)


def interocular(landmarks: Tensor) -> Tensor:
    """Distance between the two eye centres, [..., 68, 2] -> [...] px."""
    left, right = landmarks[..., 36:42, :].mean(-2), landmarks[..., 42:48, :].mean(-2)
    return torch.linalg.vector_norm(right - left, dim=-1)


def _mean_length(flow: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(rearrange(flow, "b t uv h w -> b (t h w) uv"), dim=-1)
    return lengths.mean(1)
