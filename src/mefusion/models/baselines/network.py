"""Baselines: three small published networks on the flow from onset to apex, and the majority class.

These are the networks alone, without Lightning and Hydra. Their images have three channels: horizontal flow u,
vertical flow v, and optical strain sqrt(u_x^2 + v_y^2 + (u_y + v_x)^2 / 4). Their constructors also take
``clip_length``, because every network of the suite is built with it; it has no effect here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mefusion.common.units import UNIT_TASK, UNITS
from mefusion.models.options import check_option

TASKS = ("recognition",)
WITH_UNITS = (*TASKS, UNIT_TASK)
CHANNELS = 3
FLOW = slice(0, 2)  # of the channels
DROPOUT = 0.5


@dataclass
class BaselineOutput:
    """Output of a baseline for b clips."""

    logits: Tensor
    """``[b, classes]``."""

    action_units: Tensor | None = None
    """Logits of the units of `UNITS`, ``[b, units]``; None if the task is off."""


class STSTNet(nn.Module):
    """Shallow triple-stream network: three streams of one convolution each (arXiv 1902.03634).

    "Three-dimensional" in its title means the three channels: the convolutions are over height and width.

    Args:
        num_classes: Classes of the recognition task.
        tasks: "recognition", and "action_units" for a second linear layer beside the last one.
        clip_length: Not used.
        image_size: Height and width of an image; at least 2.

    Raises:
        ValueError: An argument is not among the allowed ones.
    """

    def __init__(
        self, num_classes: int, *, tasks: Sequence[str] = TASKS, clip_length: int = 8, image_size: int = 28
    ) -> None:
        super().__init__()
        check_arguments(tasks, image_size, allowed=WITH_UNITS, smallest=2)
        self.image_size = image_size
        streams = (3, 5, 8)  # maps
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(CHANNELS, maps, 3, padding=2),
                nn.ReLU(),
                nn.BatchNorm2d(maps),
                nn.MaxPool2d(3, padding=1),
                nn.Dropout(DROPOUT),
            )
            for maps in streams
        )
        pooled = ((image_size + 1) // 3 + 1) // 2
        self.classifier = nn.Sequential(
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(sum(streams) * pooled**2, num_classes),
        )
        self.units = unit_layer(self.classifier, tasks)

    def forward(self, images: Tensor) -> BaselineOutput:
        """Recognise b clips.

        Args:
            images: ``[b, 3, h, w]``: horizontal flow, vertical flow, optical strain.

        Raises:
            ValueError: The images are not of the size the network was built for.
        """
        check_images(images, self.image_size)
        maps = torch.cat([stream(images) for stream in self.streams], dim=1)
        return answer(maps, self.classifier, self.units)


class OFFApexNet(nn.Module):
    """OFF-ApexNet: two convolutions on the two flow components, without the strain.

    Liong et al. 2019, DOI 10.1016/j.image.2019.02.005, in the smaller form of a public reimplementation
    (github.com/tvaranka/meb): one stream of 3x3 convolutions for both components, and one hidden layer. The paper
    has a stream for each component.

    Args:
        num_classes: Classes of the recognition task.
        tasks: "recognition", and "action_units" for a second linear layer beside the last one.
        clip_length: Not used.
        image_size: Height and width of an image; at least 4.

    Raises:
        ValueError: An argument is not among the allowed ones.
    """

    def __init__(
        self, num_classes: int, *, tasks: Sequence[str] = TASKS, clip_length: int = 8, image_size: int = 28
    ) -> None:
        super().__init__()
        check_arguments(tasks, image_size, allowed=WITH_UNITS, smallest=4)
        self.image_size = image_size
        self.features = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(DROPOUT),
            nn.Linear(16 * (image_size // 4) ** 2, 1024),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(1024, num_classes),
        )
        self.units = unit_layer(self.classifier, tasks)

    def forward(self, images: Tensor) -> BaselineOutput:
        """Recognise b clips.

        Args:
            images: ``[b, 3, h, w]``: horizontal flow, vertical flow, and optical strain, which is ignored.

        Raises:
            ValueError: The images are not of the size the network was built for.
        """
        check_images(images, self.image_size)
        return answer(self.features(images[:, FLOW]), self.classifier, self.units)


class SSSNet(nn.Module):
    """Shallow single-stream network: two convolutions and two linear layers.

    Varanka, Peng and Zhao 2021, "Micro-expression recognition with noisy labels",
    DOI 10.2352/ISSN.2470-1173.2021.11.HVEI-157.

    Args:
        num_classes: Classes of the recognition task.
        tasks: "recognition", and "action_units" for a second linear layer beside the last one.
        clip_length: Not used.
        image_size: Height and width of an image; at least 16.

    Raises:
        ValueError: An argument is not among the allowed ones.
    """

    def __init__(
        self, num_classes: int, *, tasks: Sequence[str] = TASKS, clip_length: int = 8, image_size: int = 64
    ) -> None:
        super().__init__()
        check_arguments(tasks, image_size, allowed=WITH_UNITS, smallest=16)
        self.image_size = image_size
        self.features = nn.Sequential(
            nn.Conv2d(CHANNELS, 32, 5),
            nn.ReLU(),
            nn.MaxPool2d(3),
            nn.BatchNorm2d(32),
            nn.Dropout2d(DROPOUT),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(64),
            nn.Dropout2d(DROPOUT),
        )
        pooled = ((image_size - 4) // 3 - 2) // 2
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * pooled**2, 256),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(256, num_classes),
        )
        self.units = unit_layer(self.classifier, tasks)

    def forward(self, images: Tensor) -> BaselineOutput:
        """Recognise b clips.

        Args:
            images: ``[b, 3, h, w]``: horizontal flow, vertical flow, optical strain.

        Raises:
            ValueError: The images are not of the size the network was built for.
        """
        check_images(images, self.image_size)
        return answer(self.features(images), self.classifier, self.units)


class Majority(nn.Module):
    """Predicts the majority class of the training subjects for all images.

    Args:
        num_classes: Classes of the recognition task.
        tasks: "recognition" only.
        clip_length: Not used.
        image_size: Height and width of an image.

    Raises:
        ValueError: An argument is not among the allowed ones.
    """

    def __init__(
        self, num_classes: int, *, tasks: Sequence[str] = TASKS, clip_length: int = 8, image_size: int = 28
    ) -> None:
        super().__init__()
        check_arguments(tasks, image_size, smallest=1)
        self.register_buffer("counts", torch.ones(num_classes))
        self.counts: Tensor

    def count(self, class_counts: Tensor) -> None:
        """Set the numbers of training clips of each class, ``[classes]``."""
        self.counts.copy_(class_counts)

    def forward(self, images: Tensor) -> BaselineOutput:
        """Logits that are the same for all b images; their softmax is each class's share of the training clips."""
        return BaselineOutput(logits=self.counts.log().expand(images.shape[0], -1))


def unit_layer(classifier: nn.Sequential, tasks: Sequence[str]) -> nn.Linear | None:
    """A linear layer for action units, which sees what the last layer of a classifier sees; None if the task is off."""
    return nn.Linear(classifier[-1].in_features, len(UNITS)) if UNIT_TASK in tasks else None  # type: ignore[arg-type]


def answer(features: Tensor, classifier: nn.Sequential, units: nn.Linear | None) -> BaselineOutput:
    """Logits of the classes, and of the action units if the task is on."""
    *hidden, last = classifier
    for layer in hidden:
        features = layer(features)
    return BaselineOutput(last(features), None if units is None else units(features))


def check_arguments(tasks: Sequence[str], image_size: int, *, smallest: int, allowed: tuple[str, ...] = TASKS) -> None:
    """Raise a ValueError if the tasks are not recognition, with or without others, or the images are too small."""
    known = "recognition" in tasks and set(tasks) <= set(allowed) and len(tasks) == len(set(tasks))
    check_option(known, "tasks", tasks, allowed)
    check_option(image_size >= smallest, "image_size", image_size, f"{smallest} or more")


def check_images(images: Tensor, size: int) -> None:
    """Raise a ValueError if the images are not `[b, 3, size, size]`."""
    if images.shape[1:] != (CHANNELS, size, size):
        raise ValueError(
            f"images of shape {list(images.shape)} are not allowed; allowed: [b, {CHANNELS}, {size}, {size}]"
        )
