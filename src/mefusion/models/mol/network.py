"""MOL: micro-expression recognition, optical flow and landmarks together (arXiv 2506.14511, TPAMI 2025).

This is the network alone, without Lightning and Hydra. Its parts are in ``blocks.py``, ``flow_net.py``, ``heads.py``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from einops import rearrange
from torch import Tensor, nn

from mefusion.models.mol.blocks import F5C, RELEASED_KERNEL_LENGTH, scaled
from mefusion.models.mol.flow_net import FlowNet
from mefusion.models.mol.heads import LANDMARKS, LandmarkHead, RecognitionHead
from mefusion.models.mol.released import CHECKPOINT
from mefusion.models.options import VARIANTS, check_option

TASKS = ("recognition", "flow", "landmarks")
FLOW_SCALES = (1, 2, 4, 8)
STRIDE = 8  # of the stem


@dataclass
class MOLOutput:
    """Outputs of MOL for b clips of t frames; None for a task that is off."""

    logits: Tensor | None = None
    """``[b, classes]``."""

    flow: Tensor | None = None
    """``[b, t - 1, 2, h, w]``: pixels, horizontal then vertical; entry i belongs to frames i and i + 1."""

    landmarks: Tensor | None = None
    """``[b, t - 1, 68, 2]``: (x, y) in pixels of the crop; entry i belongs to frame i + 1."""


def make_stem(width: float, *, normed: bool) -> nn.Sequential:
    """Four convolutions from frames to maps of 1/8 of their height and width; if normed, BN and ReLU after each."""
    channels = [1, *(scaled(n, width) for n in (8, 32, 64)), map_channels(width)]
    # kernel, stride, padding
    sizes = [(4, 2, 0), (3, 2, 0), (2, 2, 1), (1, 1, 0)]
    layers: list[nn.Module] = []
    for inputs, outputs, size in zip(channels[:-1], channels[1:], sizes, strict=True):
        layers.append(nn.Conv2d(inputs, outputs, *size))
        if normed:
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def map_channels(width: float) -> int:
    """Number of channels of the F5C maps: 128 at width 1; always even, because FCC splits them into halves."""
    return 2 * scaled(64, width)


class MOL(nn.Module):
    """Micro-expression recognition with optical flow and landmarks as auxiliary tasks; all share the F5C backbone.

    The defaults are the published sizes. A task that is off has no parameters. Options marked as extension are ours
    and off by default.

    Args:
        num_classes: Number of classes of the recognition task.
        variant: "paper": as described in arXiv 2506.14511; "released": as computed by the authors' code.
        tasks: Which of "recognition", "flow" and "landmarks" to build.
        clip_length: Frames t of a clip; at least 4 with recognition, else at least 2.
        image_size: Height and width of a frame; a multiple of 64 with flow, else of 32. At most 256 in ``released``,
            whose kernels have the length 32.
        width: Factor of the channels of stem, F5C and the heads' convolutions.
        flow_width: Factor of the channels of the flow net; ``width`` if None.
        recognition_hidden: Hidden units of the classifier.
        landmark_hidden: Hidden units of the landmark head.
        neighbors: Neighbours k of CCC.
        share_f5c: Whether a pair's first and second frames share the F5C weights. None means True in ``paper`` and
            False in ``released``.
        correlation_radius: Number of displacements in each direction in the flow net's correlation, in steps of 2.
        dropout: Probability of dropout in the classifier.
        reference: Extension: "first" subtracts the first frame's F5C maps from those of every frame, for
            recognition only. Micro-expressions are small changes of a face. Without this, recognition was not
            better than chance on small data.
        flow_differences: Extension: the flow net also gets the difference of a pair's frames, multiplied by this
            (about 5); 0 means off. From the frames alone, motions of a fraction of a pixel were not learned.
        flow_scale: Extension: 1, 2, 4 or 8; decodes flow to 1 / flow_scale of the frame's size and upsamples it.
        flow_closed_form: Extension: the flow net's finest level also gets the flow that the least squares of Lucas and
            Kanade give. It consists of products of gradients and differences, which narrow convolutions do not learn.

    Raises:
        ValueError: An argument is not among the allowed ones.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        variant: str = "paper",
        tasks: Sequence[str] = TASKS,
        clip_length: int = 8,
        image_size: int = 128,
        width: float = 1.0,
        flow_width: float | None = None,
        recognition_hidden: int = 256,
        landmark_hidden: int = 512,
        neighbors: int = 4,
        share_f5c: bool | None = None,
        correlation_radius: int = 10,
        dropout: float = 0.5,
        reference: str | None = None,
        flow_differences: float = 0.0,
        flow_scale: int = 1,
        flow_closed_form: bool = False,
    ) -> None:
        super().__init__()
        _check_choices(variant, tasks, reference, flow_scale)
        _check_sizes(variant, tasks, clip_length, image_size)
        for name, value in (("width", width), ("flow_width", width if flow_width is None else flow_width)):
            check_option(isinstance(value, int | float) and value > 0, name, value, "a number above 0")
        channels, size = map_channels(width), image_size // STRIDE
        most = channels - 1 if variant == "paper" else size**2
        check_option(isinstance(flow_differences, int | float), "flow_differences", flow_differences, "a number")
        check_option(
            isinstance(correlation_radius, int) and correlation_radius >= 0,
            "correlation_radius",
            correlation_radius,
            "a whole number from 0 up",
        )
        check_option(1 <= neighbors <= most, "neighbors", neighbors, f"1 to {most}")
        self.frame_shape = (clip_length, 1, image_size, image_size)
        self.reference = reference
        self.stem = make_stem(width, normed=variant == "paper")
        shared = variant == "paper" if share_f5c is None else share_f5c
        # If only the landmark task is on, first frames are not used, and a block for them would never be trained.
        roles = 1 if shared or set(tasks) == {"landmarks"} else 2
        self.f5c = nn.ModuleList(F5C(channels, size, neighbors=neighbors, variant=variant) for _ in range(roles))
        self.recognition = self.flow_net = self.landmarks = None
        if "recognition" in tasks:
            self.recognition = RecognitionHead(
                channels,
                size,
                num_classes=num_classes,
                clip_length=clip_length,
                width=width,
                hidden=recognition_hidden,
                dropout=dropout,
                variant=variant,
            )
        if "flow" in tasks:
            self.flow_net = FlowNet(
                channels,
                image_size=image_size,
                width=width if flow_width is None else flow_width,
                correlation_radius=correlation_radius,
                differences=flow_differences,
                scale=flow_scale,
                closed_form=flow_closed_form,
            )
        if "landmarks" in tasks:
            self.landmarks = LandmarkHead(channels, size, width=width, hidden=landmark_hidden)

    def forward(self, frames: Tensor) -> MOLOutput:
        """Predict the classes, the flow and the landmarks of b clips.

        Args:
            frames: ``[b, t, 1, h, w]`` grey frames, normalised.

        Raises:
            ValueError: The clips are not of the length and size the network was built for.
        """
        if frames.shape[1:] != self.frame_shape:
            wanted = ", ".join(map(str, self.frame_shape))
            raise ValueError(f"frames of shape {list(frames.shape)} are not allowed; allowed: [b, {wanted}]")
        x = self.stem(rearrange(frames, "b t c h w -> (b t) c h w"))
        # Each block gets all frames, even if blocks are not shared: `reference` needs the first frame's maps of each.
        maps = [rearrange(f5c(x), "(b t) c h w -> b t c h w", b=frames.shape[0]) for f5c in self.f5c]
        as_first, as_second = maps[0], maps[-1]
        first, second = as_first[:, :-1], as_second[:, 1:]
        output = MOLOutput()
        if self.flow_net is not None:
            output.flow = self.flow_net(frames, first, second)
        if self.landmarks is not None:
            output.landmarks = self.landmarks(second)
        if self.recognition is not None:
            if self.reference == "first":
                first, second = first - as_first[:, :1], second - as_second[:, :1]
            output.logits = self.recognition(first, second)
        return output

    @torch.no_grad()
    def initialise_landmarks(self, mean_shape: Tensor) -> None:
        """Extension: let the landmark task start at a mean shape, not at the corner of the frame.

        The last layer's bias is set to the mean shape and its weights to zero, so that it first predicts this shape.

        Args:
            mean_shape: ``[68, 2]`` (x, y) in pixels of the crop, such as the mean over the training subjects.

        Raises:
            ValueError: The landmark task is off, or `mean_shape` is not ``[68, 2]``.
        """
        if self.landmarks is None:
            raise ValueError("the landmark task is off: build MOL with tasks that name 'landmarks'")
        check_option(mean_shape.shape == (LANDMARKS, 2), "mean_shape's shape", tuple(mean_shape.shape), "(68, 2)")
        self.landmarks.fc2.weight.zero_()
        self.landmarks.fc2.bias.copy_(rearrange(mean_shape, "point xy -> (point xy)"))

    @classmethod
    def load_released(cls, state_dict_or_path: Mapping[str, Tensor] | str | Path) -> Self:
        """Build the ``released`` variant with the authors' weights; in eval mode its outputs equal those of their code.

        Args:
            state_dict_or_path: A state dict with the authors' names and shapes, or a file with one:
                ``.safetensors`` or a file of ``torch.save``, which is read without running code. The number of
                classes is read from it.

        Raises:
            ValueError: Tensors are missing, not expected or of a wrong shape; the message names them.
        """
        return CHECKPOINT.load(state_dict_or_path, lambda classes: cls(classes, variant="released"))


def _check_choices(variant: str, tasks: Sequence[str], reference: str | None, flow_scale: int) -> None:
    check_option(variant in VARIANTS, "variant", variant, VARIANTS)
    check_option(len(tasks) > 0 and set(tasks) <= set(TASKS), "tasks", tasks, f"one or more of {TASKS}")
    check_option(reference in (None, "first"), "reference", reference, (None, "first"))
    check_option(flow_scale in FLOW_SCALES, "flow_scale", flow_scale, FLOW_SCALES)


def _check_sizes(variant: str, tasks: Sequence[str], clip_length: int, image_size: int) -> None:
    # Recognition's convolution and pooling shorten a clip by three frames and divide the maps' size by 4; the flow
    # net halves the frame's size six times.
    shortest = 4 if "recognition" in tasks else 2
    check_option(clip_length >= shortest, "clip_length", clip_length, f"{shortest} or more with these tasks")
    step = 64 if "flow" in tasks else 32
    largest = STRIDE * RELEASED_KERNEL_LENGTH if variant == "released" else math.inf
    choices = f"multiples of {step}" + (f" to {largest}" if variant == "released" else "")
    check_option(0 < image_size <= largest and image_size % step == 0, "image_size", image_size, choices)
