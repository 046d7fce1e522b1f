"""Prepared clips in the memory of a GPU, and windows that are cut from them there, all of a batch at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import einsum, rearrange
from torch import Tensor
from torch.utils.data import Dataset

from mefusion.clips.motion import ROUNDING, rank_pooling_weights
from mefusion.faces.alignment import LANDMARK_MIRROR
from mefusion.windows.store import Batch, ClipStore, Cut, TestWindows, TrainingWindows

PICTURES = {"frames": 1, "frames_small": 1, "flow_image": 3, "flow": 2}
"""Arrays of pictures that views keep, with their channels."""

SHARE = 0.25
"""Clips that take less than this share of a GPU's free memory are kept there; the network needs the rest."""


@dataclass
class Cuts:
    """Windows that are still to be cut.

    Attributes:
        table: [B, 5 + T] int64: row number of the clip, label, top, left, whether to mirror, and the T frames. One
            tensor, so that one copy takes it to the device.
    """

    table: Tensor

    @classmethod
    def of(cls, cuts: Sequence[Cut], store: ClipStore) -> "Cuts":
        """What is to be cut from the clips of a store."""
        frames = [cut.span.times(store.clip_length) for cut in cuts]
        rows = [
            [cut.clip, store.labels[cut.clip], cut.crop.top, cut.crop.left, cut.crop.flip, *_numbers(times)]
            for cut, times in zip(cuts, frames, strict=True)
        ]
        return cls(torch.tensor(np.array(rows, np.int64)))

    def to(self, device: torch.device) -> "Cuts":
        """The same on another device."""
        return Cuts(self.table.to(device, non_blocking=True))

    def __len__(self) -> int:
        return len(self.table)


class UncutWindows(Dataset[Cuts]):
    """Which windows training or a prediction uses, without their pixels."""

    def __init__(self, windows: TrainingWindows | TestWindows):
        self.windows, self.store = windows, windows.store

    def __len__(self) -> int:
        return len(self.windows)  # type: ignore[arg-type]  # asked of test windows only

    def __getitems__(self, items: Sequence) -> Cuts:
        """What is to be cut for these items."""
        return Cuts.of(self.windows.cuts(items), self.store)


def fit_on_gpu(store: ClipStore) -> bool:
    """Whether the clips take less than `SHARE` of what is free of the GPU's memory, which processes may share."""
    free, _ = torch.cuda.mem_get_info()
    return store.nbytes < SHARE * free


class ResidentClips:
    """All clips of a store in the memory of a device.

    Args:
        store: the clips.
        size: side S of the crops, px.
        device: where they are kept, and cut.
    """

    def __init__(self, store: ClipStore, size: int, device: torch.device):
        self.size = size
        self.arrays: dict[str, Tensor] = {}
        self.first: dict[str, Tensor] = {}  # of each clip, its place in the joined array
        for name in store.arrays[0]:
            parts = [_as_pictures(name, clip[name]) for clip in store.arrays]
            first = np.cumsum([0, *(len(part) for part in parts[:-1])])
            self.arrays[name] = torch.from_numpy(np.concatenate(parts)).to(device)
            self.first[name] = torch.from_numpy(first).to(device)
        self.clip_targets = {name: torch.from_numpy(values).to(device) for name, values in store.clip_targets.items()}
        self.weights = torch.from_numpy(rank_pooling_weights(store.clip_length)).to(device)
        self.mirror = torch.from_numpy(LANDMARK_MIRROR).to(device)
        self.signs = {
            name: torch.tensor([-1.0, *[1.0] * (channels - 1)], device=device)[:, None, None]
            for name, channels in PICTURES.items()
            if channels > 1
        }

    def cut(self, cuts: Cuts) -> Batch:
        """Cut a batch of windows, as the view of the store does, but for rounding."""
        clip, label, top, left, flip = cuts.table[:, :5].unbind(1)
        times, flip = cuts.table[:, 5:], flip.bool()
        place = torch.arange(self.size, device=clip.device)
        rows = top[:, None] + place
        columns = left[:, None] + torch.where(flip[:, None], self.size - 1 - place, place)

        def pictures(name: str, number: Tensor) -> Tensor:
            """Those of these numbers [B, n] of each clip, [B, n, C, S, S]."""
            array = self.arrays[name]
            index = (number + self.first[name][clip][:, None])[:, :, None, None, None]
            channel = torch.arange(array.shape[1], device=clip.device)[:, None, None]
            found = array[index, channel, rows[:, None, None, :, None], columns[:, None, None, None, :]]
            if name not in self.signs:
                return found
            mirrored = found * self.signs[name].to(found.dtype)  # the horizontal flow
            return torch.where(flip[:, None, None, None, None], mirrored, found)

        targets = {}
        if "flow_image" in self.arrays:
            inputs = pictures("flow_image", torch.zeros_like(clip)[:, None])[:, 0]
        elif "frames_small" in self.arrays:
            inputs = pictures("frames_small", times)
            targets["dynamic_image"] = dynamic_images(inputs[:, :, 0], self.weights)
        else:
            inputs = pictures("frames", times)
            if "flow" in self.arrays:  # none starts at the last frame
                targets["flow"] = pictures("flow", times[:, :-1])
            if "landmarks" in self.arrays:
                corner = torch.stack([left, top], dim=1)[:, None, None]
                number = times[:, 1:] + self.first["landmarks"][clip][:, None]
                targets["landmarks"] = self._landmarks(self.arrays["landmarks"][number] - corner, flip)
        targets |= {name: values[clip] for name, values in self.clip_targets.items()}
        return Batch(inputs, label, clip, targets)

    def _landmarks(self, points: Tensor, flip: Tensor) -> Tensor:
        """Landmarks [B, T-1, 68, 2] of a crop, mirrored where it is."""
        mirrored = torch.stack([self.size - 1 - points[..., 0], points[..., 1]], dim=-1).index_select(2, self.mirror)
        return torch.where(flip[:, None, None, None], mirrored, points)


def dynamic_images(frames: Tensor, weights: Tensor) -> Tensor:
    """`mefusion.clips.motion.dynamic_image` on a device.

    Args:
        frames: [B, T, H, W] grey.
        weights: [T], those of `mefusion.clips.motion.rank_pooling_weights`.

    Returns:
        [B, H, W] float32, 0..1.
    """
    changes = frames.double() - frames[:, :1].double()
    image = einsum(weights, changes, "t, b t h w -> b h w")
    image = image - image.amin((1, 2), keepdim=True)
    span = image.amax((1, 2), keepdim=True)
    visible = span > ROUNDING * changes.abs().amax((1, 2, 3))[:, None, None]
    return torch.where(visible, image / torch.where(visible, span, 1), 0).float()


def _as_pictures(name: str, array: np.ndarray) -> np.ndarray:
    """Pictures as [n, C, H, W]; landmarks stay [n, 68, 2]."""
    if name not in PICTURES:
        return array
    height, width = array.shape[-2:]
    return rearrange(array.reshape(-1, height, width), "(n c) h w -> n c h w", c=PICTURES[name])


def _numbers(times: slice | np.ndarray) -> np.ndarray | range:
    return range(times.start, times.stop, times.step) if isinstance(times, slice) else times
