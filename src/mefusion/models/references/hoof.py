"""Histograms of oriented flow with a support vector machine."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mefusion.models.baselines.network import TASKS, BaselineOutput, check_arguments, check_images
from mefusion.models.options import check_option

TINY = 1e-12  # keeps roots and angles of no motion differentiable


class HOOFSVM(nn.Module):
    """Histograms of oriented flow in cells, and a support vector machine with a radial kernel for each class.

    A pixel's motion is shared between the two nearest of the `bins` directions. A cell has the mean of each direction
    and of the strain; roots of these, standardised over the training clips, are the features. The machine of a class
    decides between it and the others, with gamma 1 / features. The logits are its decisions: their softmax orders the
    classes, but is no calibrated probability.

    Args:
        num_classes: Classes of the recognition task.
        tasks: "recognition" only.
        clip_length: Not used.
        image_size: Height and width of an image; a multiple of `cells`.
        cells: Cells on each side.
        bins: Directions.
        cost: C of the support vector machines.

    Raises:
        ValueError: An argument is not among the allowed ones.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        tasks: Sequence[str] = TASKS,
        clip_length: int = 8,
        image_size: int = 28,
        cells: int = 7,
        bins: int = 8,
        cost: float = 0.5,
    ) -> None:
        super().__init__()
        check_arguments(tasks, image_size, smallest=1)
        check_option(image_size % cells == 0, "image_size", image_size, f"multiples of cells={cells}")
        self.image_size, self.cells, self.bins, self.cost = image_size, cells, bins, cost
        count = (bins + 1) * cells**2
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))
        self.register_buffer("vectors", torch.zeros(0, count))
        self.register_buffer("coefficients", torch.zeros(num_classes, 0))
        self.register_buffer("intercepts", torch.zeros(num_classes))
        self.mean: Tensor
        self.std: Tensor
        self.vectors: Tensor
        self.coefficients: Tensor
        self.intercepts: Tensor

    def histograms(self, images: Tensor) -> Tensor:
        """Roots of each cell's motion in each direction, and of its strain: `[b, bins + 1, cells, cells]`."""
        check_images(images, self.image_size)
        u, v, strain = images.unbind(dim=1)
        length = (u.square() + v.square() + TINY).sqrt()
        turn = torch.atan2(v, u + TINY) * (self.bins / (2 * torch.pi))  # 0 is to the right, a quarter of bins downwards
        direction = torch.arange(self.bins, device=images.device)[:, None, None]
        apart = torch.remainder(turn[:, None] - direction + self.bins / 2, self.bins) - self.bins / 2
        shares = (1 - apart.abs()).clamp_min(0) * length[:, None]
        maps = torch.cat([shares, strain[:, None].clamp_min(0)], dim=1)
        return (F.avg_pool2d(maps, self.image_size // self.cells) + TINY).sqrt()

    def forward(self, images: Tensor) -> BaselineOutput:
        """Recognise b clips.

        Args:
            images: ``[b, 3, h, w]``: horizontal flow, vertical flow, optical strain.

        Raises:
            ValueError: The images are not of the size the network was built for.
        """
        features = (self.histograms(images).flatten(start_dim=1) - self.mean) / self.std
        kernel = _radial_kernel(features, self.vectors)
        return BaselineOutput(logits=F.linear(kernel, self.coefficients, self.intercepts))

    @torch.no_grad()
    def fit(self, inputs: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Fit the machines.

        Args:
            inputs: ``[n, 3, h, w]`` images of the training subjects.
            labels: ``[n]`` class numbers.
            weights: ``[n]`` of the images: factors of C.
        """
        from sklearn.svm import SVC  # imported here, since it takes a while

        features = self.histograms(inputs).flatten(start_dim=1)
        self.mean, self.std = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-6)
        features = (features - self.mean) / self.std
        kernel = _radial_kernel(features, features).double().numpy()
        coefficients, intercepts = torch.zeros(len(self.intercepts), len(features)), torch.zeros(len(self.intercepts))
        for number in range(len(self.intercepts)):
            of_class = (labels == number).numpy()
            if of_class.all() or not of_class.any():  # then there is nothing to decide
                intercepts[number] = 1 if of_class.all() else -1
                continue
            machine = SVC(C=self.cost, kernel="precomputed").fit(kernel, of_class, sample_weight=weights.numpy())
            coefficients[number, machine.support_] = torch.from_numpy(machine.dual_coef_[0]).float()
            intercepts[number] = float(machine.intercept_[0])
        used = coefficients.abs().sum(dim=0) > 0
        self.vectors, self.coefficients, self.intercepts = features[used], coefficients[:, used], intercepts

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        """Called by PyTorch; the number of vectors depends on the clips that the machines were fitted to."""
        for name in ("vectors", "coefficients"):
            saved, own = state_dict.get(prefix + name), getattr(self, name)
            if saved is not None and saved.dim() == 2:
                count = len(saved) if name == "vectors" else saved.shape[1]
                setattr(self, name, own.new_zeros((count, own.shape[1]) if name == "vectors" else (len(own), count)))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _radial_kernel(first: Tensor, second: Tensor) -> Tensor:
    """exp(-|a - b|^2 / f) for all pairs of `[n, f]` and `[m, f]`: `[n, m]`."""
    squares = first.square().sum(dim=1)[:, None] + second.square().sum(dim=1) - 2 * first @ second.T
    return (-squares.clamp_min(0) / first.shape[1]).exp()
