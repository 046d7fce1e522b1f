"""Settings of flow images, what models of them see."""

from dataclasses import dataclass
from enum import StrEnum


class Normalisation(StrEnum):
    """How flow images are normalised.

    `pixels`: as they are, then by mean and standard deviation of the training subjects. The others take each image by
    itself, and nothing of the training subjects. `stretched`: each channel to its own range; flow in -.5..0.5, strain
    in 0..1. `standardised`: flow less its median, over its standard deviation; strain over its standard deviation.
    """

    pixels = "pixels"
    stretched = "stretched"
    standardised = "standardised"


@dataclass
class FlowSettings:
    """What models of flow images see.

    Attributes:
        strain: whether they see the optical strain; otherwise that channel is 0.
        normalisation: of the images.
        mirror_test: whether a test clip is predicted from its mirrored image too; its probabilities are the mean.
    """

    strain: bool = True
    normalisation: Normalisation = Normalisation.pixels
    mirror_test: bool = False
