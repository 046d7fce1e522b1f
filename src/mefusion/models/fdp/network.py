"""FDP: micro-expression recognition from learned frame features, rank pooling and the dynamic image.

arXiv 2509.06015, TOMM 2025. This is the network alone, without Lightning and Hydra. Its parts are in ``encoder.py``,
which is built from ``blocks.py``, in ``pooling.py`` and in ``heads.py``.
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
    """Outputs of FDP for b clips of t frames; None for a task that is off."""

    logits: Tensor | None = None
    """``[b, classes]``."""

    dynamic_image: Tensor | None = None
    """``[b, h, w]``, in 0..1."""

    rank_scores: Tensor | None = None
    """``[b, t]``, trained to be larger for later frames; ``paper`` only."""


class FDP(nn.Module):
    """Micro-expression recognition with frame ranking and the dynamic image as auxiliary tasks.

    A transformer computes a map of each frame. Rank pooling turns the maps of a clip into one dynamic representation.
    From this, recognition and the dynamic image are predicted. The defaults are the published sizes. A task that is
    off has no parameters. Options marked as extension are ours and off by default.

    Args:
        num_classes: Number of classes of the recognition task.
        variant: "paper": as described in arXiv 2509.06015; "released": as computed by the authors' code, which has
            no GRA blocks and no rank scorer.
        tasks: Which of "recognition", "dynamic_image" and "rank" to build; None means all that the variant has.
            ``released`` has no "rank".
        clip_length: Frames t of a clip; at least 2, and 8 in ``released``.
        image_size: Height and width of a frame; a multiple of 32.
        width: Factor of the channels of encoder and SegNet.
        stem_channels: Channels of the encoder's first four convolutions.
        lra_channels: Channels of the LRA blocks of each stage; multiplied by ``width`` and rounded to multiples of
            ``head_size``.
        gra_channels: Channels of the GRA blocks of each stage; the same, but at least ``2 * head_size``.
        lra_blocks: LRA blocks of each stage.
        gra_blocks: GRA blocks of every stage, in ``paper``.
        head_size: Channels of an attention head and of a convolution's group.
        drop_path: Probability that a residual branch is dropped, in the last block; it rises linearly from 0.
        segnet_width: Factor of the channels of the dynamic image's SegNet; ``width`` if None.
        maps: Maps of the dynamic representation.
        scorer_hidden: Hidden units of the rank scorer.
        recognition_hidden: Hidden units of the classifier.
        dropout: Probability of dropout in the classifier.
        pooling: How frames are weighted: "rank", by the learned scores; "approximate", as in the dynamic
            image; "mean"; "conv", a convolution over frames instead of weights; extension: "residual", the
            fixed weights of "approximate" plus the scores. None means "rank" in ``paper`` and "conv" in
            ``released``, which has no other.
        reference: Extension: "first" subtracts the first frame's stem maps from those of every frame. Without this,
            recognition was not better than chance on small data.
        flatten: Extension: the last maps are flattened instead of averaged.
        image_detail: Extension: the dynamic image gets details from the maps of the encoder's first convolution, added
            up over time like frames in a dynamic image, and is stretched to 0..1 like its target. Without this, it was
            not better than flat grey on small data.

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
        image_detail: bool = False,
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
        self.detailed = image_detail and "dynamic_image" in tasks
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
            fine_maps = rounded(stem_channels[0] * width)
            self.dynamic_image = SegNet(maps, width=segnet_width, detail=fine_maps if image_detail else 0)

    def forward(self, frames: Tensor) -> FDPOutput:
        """Predict the classes, the order of the frames and the dynamic images of b clips.

        Args:
            frames: ``[b, t, 1, h, w]`` grey frames, normalised.

        Raises:
            ValueError: The clips do not have the length and size that the network was built for.
        """
        if frames.shape[1:] != self.frame_shape:
            wanted = ", ".join(map(str, self.frame_shape))
            raise ValueError(f"frames of shape {list(frames.shape)} are not allowed; allowed: [b, {wanted}]")
        features, fine = self.encoder(frames)
        # Pooling depends on the differences between frames, which are small and would be lost in half precision.
        with torch.autocast(features.device.type, enabled=False):
            scores = None if self.scorer is None else self.scorer(features)
            y = changes = None
            if self.pooling is not None:
                y = self.pooling(features, scores)
                changes = self.pooling.changes(fine.to(features.dtype)) if self.detailed else None
        output = FDPOutput()
        if self.ranks:
            output.rank_scores = scores
        if self.recognition is not None:
            output.logits = self.recognition(y)
        if self.dynamic_image is not None:
            output.dynamic_image = self.dynamic_image(y, changes)
        return output

    @classmethod
    def load_released(cls, state_dict_or_path: Mapping[str, Tensor] | str | Path) -> Self:
        """Build the ``released`` variant with the authors' weights; in eval mode its outputs equal those of their code.

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
