"""A small convolutional network on the flow."""

from collections.abc import Sequence

from torch import Tensor, nn

from mefusion.models.baselines.network import (
    CHANNELS,
    DROPOUT,
    TASKS,
    WITH_UNITS,
    BaselineOutput,
    answer,
    check_arguments,
    check_images,
    unit_layer,
)


class FlowCNN(nn.Module):
    """Two convolutions with batch norm on images of half the size; 6,723 parameters with three classes.

    Args:
        num_classes: Classes of the recognition task.
        tasks: "recognition", and "action_units" for a second linear layer beside the last one.
        clip_length: Not used.
        image_size: Height and width of an image; at least 4.
        channels: Maps of the two convolutions.

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
        channels: tuple[int, int] = (16, 32),
    ) -> None:
        super().__init__()
        check_arguments(tasks, image_size, allowed=WITH_UNITS, smallest=4)
        self.image_size = image_size
        first, second = channels
        self.features = nn.Sequential(
            nn.AvgPool2d(2),
            nn.Conv2d(CHANNELS, first, 3, padding=1),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, padding=1),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.AvgPool2d(2, ceil_mode=True),
        )
        pooled = (image_size // 4 + 1) // 2
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(second * pooled**2, num_classes))
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
