"""Softmax regression on blurred flow, fitted to its optimum."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mefusion.models.baselines.network import FLOW, TASKS, BaselineOutput, check_arguments, check_images

SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # px, down and to the right
MOST_STEPS = 500


class LinearFlow(nn.Module):
    """Softmax regression on the flow, blurred and seen at five places; the strain is not used.

    It minimises the weighted sum of the cross-entropy of all clips plus `penalty` times the sum of squares of its
    weights. That has one minimum, which L-BFGS finds from zero. Each image stands for five, shifted by a pixel to each
    side with repeated edges, with a fifth of its weight each; an answer is the mean of their probabilities.

    Args:
        num_classes: Classes of the recognition task.
        tasks: "recognition" only.
        clip_length: Not used.
        image_size: Height and width of an image; at least 5.
        blur: Standard deviation of the Gaussian blur, px; 0 is no blur.
        scale: Factor of the blurred flow; with a larger one the penalty counts less.
        penalty: Factor of the sum of squares of the weights; the biases are free.

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
        blur: float = 1.0,
        scale: float = 1 / 3,
        penalty: float = 10.0,
    ) -> None:
        super().__init__()
        check_arguments(tasks, image_size, smallest=5)
        self.image_size, self.blur, self.scale, self.penalty = image_size, blur, scale, penalty
        self.register_buffer("weight", torch.zeros(num_classes, 2 * image_size**2))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.weight: Tensor
        self.bias: Tensor

    def features(self, images: Tensor) -> Tensor:
        """Blurred flow of the shifted images: `[5, b, 2 h w]` of `[b, 3, h, w]`."""
        check_images(images, self.image_size)
        flow = self.scale * _blurred(images[:, FLOW], self.blur)
        size, padded = self.image_size, F.pad(flow, (1, 1, 1, 1), mode="replicate")
        shifted = [padded[..., 1 - y : 1 - y + size, 1 - x : 1 - x + size] for y, x in SHIFTS]
        return torch.stack(shifted).flatten(start_dim=2)

    def forward(self, images: Tensor) -> BaselineOutput:
        """Recognise b clips; the logits are logarithms of probabilities.

        Args:
            images: ``[b, 3, h, w]``: horizontal flow, vertical flow, and optical strain, which is ignored.

        Raises:
            ValueError: The images are not of the size the network was built for.
        """
        probabilities = F.linear(self.features(images), self.weight, self.bias).softmax(dim=-1).mean(dim=0)
        return BaselineOutput(logits=probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log())

    def objective(self, features: Tensor, labels: Tensor, weights: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """What `fit` minimises, for `[views, n, f]` features, `[n]` labels and weights, and the fitted tensors."""
        views = features.shape[0]
        logits = F.linear(features, weight, bias).flatten(end_dim=1)
        losses = F.cross_entropy(logits, labels.repeat(views), reduction="none")
        return (losses * weights.repeat(views)).sum() / views + self.penalty * weight.square().sum()

    @torch.enable_grad()
    def fit(self, inputs: Tensor, labels: Tensor, weights: Tensor) -> None:
        """Find the weights that minimise the objective, in double precision.

        Args:
            inputs: ``[n, 3, h, w]`` images of the training subjects.
            labels: ``[n]`` class numbers.
            weights: ``[n]`` of the images.
        """
        features, weights = self.features(inputs).double(), weights.double()
        weight, bias = (
            torch.zeros_like(fitted, dtype=torch.double).requires_grad_() for fitted in (self.weight, self.bias)
        )
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=MOST_STEPS,
            history_size=8,
            tolerance_grad=1e-6,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.objective(features, labels, weights, weight, bias)
            loss.backward()
            return loss

        optimizer.step(closure)
        self.weight.copy_(weight.detach())
        self.bias.copy_(bias.detach())


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of `[b, c, h, w]` with repeated edges, cut off at four standard deviations."""
    if not sigma:
        return images
    radius = round(4 * sigma)
    places = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = (-0.5 * (places / sigma) ** 2).exp()
    kernel, channels = kernel / kernel.sum(), images.shape[1]
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    across = F.conv2d(padded, kernel.repeat(channels, 1, 1, 1), groups=channels)
    return F.conv2d(across, kernel[:, None].repeat(channels, 1, 1, 1), groups=channels)
