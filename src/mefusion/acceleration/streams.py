"""STSTNet with its three streams computed at once, for a CPU."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mefusion.models.baselines import BaselineOutput, STSTNet
from mefusion.models.baselines.network import answer, check_images


class JoinedSTSTNet(STSTNet):
    """STSTNet whose streams are one convolution, one batch norm and one pooling of all maps, in channels-last memory.

    The modules, their names and their parameters stay those of the streams; the weights are joined in each step. The
    outputs are the same but for rounding. Dropout has the same probability for each value, but other random numbers.
    """

    def forward(self, images: Tensor) -> BaselineOutput:
        """See `STSTNet.forward`."""
        if images.device.type != "cpu" or torch.compiler.is_exporting() or torch.is_autocast_enabled("cpu"):
            return super().forward(images)
        if any(part.training != self.training for part in self.streams.modules()):  # some are frozen
            return super().forward(images)
        check_images(images, self.image_size)
        convs, _, norms, _, dropouts = zip(*self.streams, strict=True)
        weight, bias = (torch.cat([getattr(conv, name) for conv in convs]) for name in ("weight", "bias"))
        # PyTorch pools 3 maps in channels-first memory one value at a time; with channels last, all maps of a place.
        images = images.contiguous(memory_format=torch.channels_last)
        maps = F.relu(F.conv2d(images, weight, bias, padding=convs[0].padding), inplace=True)
        maps = F.max_pool2d(joined_norm(maps, norms), 3, padding=1)
        if self.training:
            maps = drop(maps, dropouts[0].p)
        return answer(maps, self.classifier, self.units)


def joined_norm(maps: Tensor, norms: Sequence[nn.BatchNorm2d]) -> Tensor:
    """Batch norm of channels-last maps ``[b, c, h, w]`` by several layers, each of a part of them, in their order."""
    names = ("weight", "bias", "running_mean", "running_var")
    weight, bias, mean, variance = (torch.cat([getattr(norm, name) for norm in norms]) for name in names)
    eps, momentum = norms[0].eps, norms[0].momentum
    if not norms[0].training:
        return F.batch_norm(maps, mean, variance, weight, bias, eps=eps)
    assert momentum is not None
    y, batch_mean, batch_variance = TrainingNorm.apply(maps, weight, bias, eps)
    count = maps[:, 0].numel()
    sizes = [norm.num_features for norm in norms]
    for norm, one, other in zip(
        norms, batch_mean.split(sizes), (batch_variance * count / (count - 1)).split(sizes), strict=True
    ):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.running_mean.lerp_(one, momentum)
        norm.running_var.lerp_(other, momentum)
        norm.num_batches_tracked += 1
    return y


class TrainingNorm(torch.autograd.Function):
    """Batch norm of channels-last maps by their own mean and variance.

    Takes maps ``[b, c, h, w]``, weight and bias ``[c]`` and eps; returns the normed maps, mean and variance ``[c]``.
    PyTorch's own adds up the squares of channels-last maps one after the other, in single precision: with 200,000
    positions, its outputs were off by 5e-4 of the largest value, these by 1e-7.
    """

    @staticmethod
    def forward(ctx, maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        mean = maps.mean((0, 2, 3))
        variance = (maps - mean[:, None, None]).square_().mean((0, 2, 3))
        ctx.save_for_backward(maps, weight, mean, (variance + eps).rsqrt())
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(maps, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    def backward(ctx, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        maps, weight, mean, scale = ctx.saved_tensors
        needed = (True, True, True)
        backward = torch.ops.aten.native_batch_norm_backward
        return *backward(gradient, maps, weight, None, None, mean, scale, True, ctx.eps, needed), None


def drop(x: Tensor, probability: float) -> Tensor:
    """Dropout; PyTorch's own draws its Bernoulli numbers four times as slowly as these uniform ones."""
    return x * ((torch.rand_like(x) >= probability) / (1 - probability))
