"""FDP: micro-expression recognition from learned frame features, rank pooling and the dynamic image.

arXiv 2509.06015, TOMM 2025. The network alone, without Lightning and Hydra. Its parts are in ``encoder.py`` (of
``blocks.py``), ``pooling.py`` and ``heads.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from mefusion.models.fdp.blocks import rounded
from mefusion.models.fdp.encoder import STAGES, FrameEncoder
from mefusion.models.fdp.heads import RecognitionHead, SegNet
from mefusion.models.fdp.pooling import POOLINGS, SCORED_POOLINGS, Pooling, RankScorer
from mefusion.models.fdp.released import CHECKPOINT
from mefusion.models.options import VARIANTS, check_option

TASKS = {"paper": ("recognition", "dynamic_image", "rank"), "released": ("recognition", "dynamic_image")}
STRIDE = 32  # of encoder and SegNet
RELEASED_LENGTH = 8


@dataclass
class FDPOutput:
    """What FDP says about b clips of t frames; None where a task is off."""

    logits: Tensor | None = None
    """``[b, classes]``."""

    dynamic_image: Tensor | None = None
    """``[b, h, w]``, in 0..1."""

    rank_scores: Tensor | None = None
    """``[b, t]``, the larger the later; ``paper`` only."""


class FDP(nn.Module):
    """Micro-expression recognition with frame ranking and the dynamic image as auxiliary tasks.

    A transformer makes a map of each frame, rank pooling makes one dynamic representation of a clip's maps, and
    recognition and dynamic image are read from it. Published sizes are the defaults. A task that is off has no
    parameters. Extensions, marked so, are ours and off by default.

    Args:
        num_classes: Classes of the recognition task.
        variant: "paper": as arXiv 2509.06015 describes; "released": as the authors' code computes, which has
            no GRA blocks and no rank scorer.
        tasks: Which of "recognition", "dynamic_image" and "rank" to build; all the variant has if None.
            ``released`` has no "rank".
        clip_length: Frames t of a clip; at least 2, and 8 in ``released``.
        image_size: Height and width of a frame; a multiple of 32.
        width: Multiplies the channels of encoder and SegNet.
        stem_channels: Channels of the encoder's first four convolutions.
        lra_channels: Channels of the LRA blocks of each stage; with ``width``, the nearest multiples of
            ``head_size``.
        gra_channels: Channels of the GRA blocks of each stage; likewise, and at least two of it.
        lra_blocks: LRA blocks of each stage.
        gra_blocks: GRA blocks of every stage, in ``paper``.
        head_size: Channels of an attention head and of a convolution's group.
        drop_path: Probability of a residual branch to be dropped in the last block; rises to it from 0.
        segnet_width: Multiplies the channels of the dynamic image's SegNet; ``width`` if None.
        maps: Maps of the dynamic representation.
        scorer_hidden: Hidden units of the rank scorer.
        recognition_hidden: Hidden units of the classifier.
        dropout: Probability in the classifier.
        pooling: How frames are weighted: "rank", by the learned scores; "approximate", as in the dynamic
            image; "mean"; "conv", a convolution over frames in place of weights; extension: "residual", the
            fixed weights of "approximate" plus the scores. If None, the variant's own: "rank" in ``paper``;
            ``released`` has only "conv".
        reference: Extension: "first" subtracts the first frame's stem maps from every frame's. Without this,
            recognition stayed at chance on small data.
        flatten: Extension: the last maps are flattened rather than averaged.

    Raises:
        ValueError: An argument is not among the allowed ones.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        variant: str = "paper",
        tasks: Sequence[str] | None = None,
        clip_length: int = 8,
        image_size: int = 64,
        width: float = 1.0,
        stem_channels: Sequence[int] = (64, 32, 64, 64),
        lra_channels: Sequence[int] = (96, 192, 384, 768),
        gra_channels: Sequence[int] = (128, 256, 512, 1024),
        lra_blocks: Sequence[int] = (3, 4, 10, 3),
        gra_blocks: int = 1,
        head_size: int = 32,
        drop_path: float = 0.1,
        segnet_width: float | None = None,
        maps: int = 8,
        scorer_hidden: int = 256,
        recognition_hidden: int = 256,
        dropout: float = 0.0,
        pooling: str | None = None,
        reference: str | None = None,
        flatten: bool = False,
    ) -> None:
        super().__init__()
        check_option(variant in VARIANTS, "variant", variant, VARIANTS)
        tasks = TASKS[variant] if tasks is None else tasks
        pooling = pooling or ("rank" if variant == "paper" else "conv")
        _check_choices(variant, tasks, pooling, reference)
        segnet_width = width if segnet_width is None else segnet_width
        _check_sizes(variant, clip_length, image_size)
        for name, value in (("width", width), ("segnet_width", segnet_width)):
            check_option(isinstance(value, int | float) and value > 0, name, value, "a number above 0")
        _check_stages(stem_channels, lra_channels, gra_channels, lra_blocks)
        self.frame_shape = (clip_length, 1, image_size, image_size)
        self.encoder = FrameEncoder(
            image_size=image_size,
            stem_channels=[rounded(n * width) for n in stem_channels],
            lra_channels=[rounded(n * width, head_size) for n in lra_channels],
            gra_channels=[max(rounded(n * width, head_size), 2 * head_size) for n in gra_channels],
            lra_blocks=lra_blocks,
            gra_blocks=gra_blocks if variant == "paper" else 0,
            head_size=head_size,
            drop_path=drop_path,
            reference=reference,
            flatten=flatten,
            variant=variant,
        )
        self.scorer = self.pooling = self.recognition = self.dynamic_image = None
        self.ranks = "rank" in tasks
        pooled = "recognition" in tasks or "dynamic_image" in tasks
        if self.ranks or (pooled and pooling in SCORED_POOLINGS):
            self.scorer = RankScorer(image_size**2, scorer_hidden)
        if pooled:
            self.pooling = Pooling(pooling, clip_length=clip_length, image_size=image_size, maps=maps, variant=variant)
        if "recognition" in tasks:
            self.recognition = RecognitionHead(
                maps, image_size, num_classes=num_classes, hidden=recognition_hidden, dropout=dropout
            )
        if "dynamic_image" in tasks:
            self.dynamic_image = SegNet(maps, width=segnet_width)

    def forward(self, frames: Tensor) -> FDPOutput:
        """Recognise b clips, rank their frames and estimate their dynamic images.

        Args:
            frames: ``[b, t, 1, h, w]`` grey frames, normalised.

        Raises:
            ValueError: The clips are not of the length and size the network was built for.
        """
        if frames.shape[1:] != self.frame_shape:
            wanted = ", ".join(map(str, self.frame_shape))
            raise ValueError(f"frames of shape {list(frames.shape)} are not allowed; allowed: [b, {wanted}]")
        features = self.encoder(frames)
        # Pooling weighs what differs between frames, which is little and lost in half precision.
        with torch.autocast(features.device.type, enabled=False):
            scores = None if self.scorer is None else self.scorer(features)
            y = None if self.pooling is None else self.pooling(features, scores)
        output = FDPOutput()
        if self.ranks:
            output.rank_scores = scores
        if self.recognition is not None:
            output.logits = self.recognition(y)
        if self.dynamic_image is not None:
            output.dynamic_image = self.dynamic_image(y)
        return output

    @classmethod
    def load_released(cls, state_dict_or_path: Mapping[str, Tensor] | str | Path) -> Self:
        """The ``released`` variant with the authors' weights; its outputs in eval mode are theirs.

        Args:
            state_dict_or_path: A state dict with the authors' names and shapes, or a file of one:
                ``.safetensors``, or what ``torch.save`` writes, read without running code. The number of
                classes is read from it.

        Raises:
            ValueError: Tensors are missing, surplus or misshapen; the message names them.
        """
        return CHECKPOINT.load(state_dict_or_path, lambda classes: cls(classes, variant="released"))


def _check_choices(variant: str, tasks: Sequence[str], pooling: str, reference: str | None) -> None:
    known = TASKS[variant]
    check_option(len(tasks) > 0 and set(tasks) <= set(known), "tasks", tasks, f"one or more of {known}")
    poolings = POOLINGS if variant == "paper" else ("conv",)
    check_option(pooling in poolings, "pooling", pooling, poolings)
    check_option(reference in (None, "first"), "reference", reference, (None, "first"))


def _check_sizes(variant: str, clip_length: int, image_size: int) -> None:
    if variant == "released":
        # Its convolution takes 8 features at a time for 8 frames.
        check_option(clip_length == RELEASED_LENGTH, "clip_length", clip_length, f"{RELEASED_LENGTH} in released")
    check_option(clip_length >= 2, "clip_length", clip_length, "2 or more")
    allowed = image_size > 0 and image_size % STRIDE == 0
    check_option(allowed, "image_size", image_size, f"multiples of {STRIDE}")


def _check_stages(
    stem_channels: Sequence[int], lra_channels: Sequence[int], gra_channels: Sequence[int], lra_blocks: Sequence[int]
) -> None:
    given = {
        "stem_channels": stem_channels,
        "lra_channels": lra_channels,
        "gra_channels": gra_channels,
        "lra_blocks": lra_blocks,
    }
    for name, values in given.items():
        check_option(len(values) == STAGES and min(values) > 0, name, values, f"{STAGES} numbers, each 1 or more")
