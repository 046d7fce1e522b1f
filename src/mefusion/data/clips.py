"""Prepared clips in memory, and the windows that are cut from them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mefusion.data.cache import load_arrays
from mefusion.data.faces import LANDMARK_MIRROR
from mefusion.errors import MefusionError


@dataclass
class Batch:
    """Windows of one size.

    Attributes:
        frames: [B, T, 1, S, S] uint8 as cut, or float as normalised.
        flow: [B, T-1, 2, S, S] px.
        landmarks: [B, T-1, 68, 2] px of frames 2..T.
        label: [B] class numbers.
        clip: [B] row numbers of the clip table.
    """

    frames: Tensor
    flow: Tensor
    landmarks: Tensor
    label: Tensor
    clip: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})

    def __len__(self) -> int:
        return len(self.label)


class ClipStore:
    """All prepared clips of a table, read once and shared by the folds of a process.

    Args:
        index: rows of the cache's index with the column `label`.
        folder: the cache's folder.
        classes: class names in order.
        clip_length: frames T of a window.

    Raises:
        MefusionError: a cache file is broken.
    """

    def __init__(self, index: pd.DataFrame, folder: Path, *, classes: Sequence[str], clip_length: int):
        self.index = index.reset_index(drop=True)
        self.clip_length = clip_length
        self.classes = tuple(classes)
        self.labels = np.array([self.classes.index(label) for label in self.index["label"]])
        self.arrays = [load_arrays(folder / file) for file in self.index["file"]]
        self.strides = np.array([len(arrays["frames"]) // clip_length for arrays in self.arrays])
        self.canvas = self.arrays[0]["frames"].shape[-1]

    def rows(self, subjects: Sequence[str]) -> np.ndarray:
        """Row numbers of these subjects' clips."""
        return np.flatnonzero(self.index["subject"].isin(subjects))

    def window(
        self, clip: int, phase: int, *, top: int, left: int, size: int, flip: bool = False
    ) -> tuple[np.ndarray, ...]:
        """Window of a clip: frames phase + i stride, cut at (top, left), mirrored if asked.

        Returns:
            frames [T, size, size] uint8, flow [T-1, 2, size, size] float16 px and landmarks [T-1, 68, 2]
            float32 px of frames 2..T in the cut. Mirroring negates the horizontal flow and swaps the
            landmarks' sides.
        """
        arrays, stride = self.arrays[clip], self.strides[clip]
        times = phase + stride * np.arange(self.clip_length)
        cut = (..., slice(top, top + size), slice(left, left + size))
        frames, flow = arrays["frames"][times][cut], arrays["flow"][times[:-1]][cut]
        landmarks = arrays["landmarks"][times[1:]] - np.array([left, top], np.float32)
        if flip:
            frames = frames[..., ::-1]
            flow = flow[..., ::-1] * np.array([-1, 1], np.float16)[:, None, None]
            landmarks = (landmarks * (-1, 1) + (size - 1, 0))[:, LANDMARK_MIRROR].astype(np.float32)
        return frames, flow, landmarks

    def batch(self, clips: Sequence[int], windows: Sequence[tuple[np.ndarray, ...]]) -> Batch:
        """Batch of windows; `clips` names the clip of each."""
        frames, flow, landmarks = (torch.from_numpy(np.stack(part)) for part in zip(*windows, strict=True))
        return Batch(
            frames=frames[:, :, None],
            flow=flow,
            landmarks=landmarks,
            label=torch.from_numpy(self.labels[list(clips)]),
            clip=torch.tensor(list(clips)),
        )


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training windows.

    Attributes:
        crop_jitter: largest distance of the crop from the centre, px; 8 on a 144 canvas reaches its borders.
        flip: mirror half of the windows.
    """

    crop_jitter: int = 8
    flip: bool = False


class TrainingWindows(Dataset[Batch]):
    """Random windows; item (epoch, clip, phase) is the same whenever it is asked for.

    Every draw depends on seed, epoch and clip alone, so a resumed run sees what an uninterrupted one sees.
    """

    def __init__(self, store: ClipStore, *, size: int, augmentation: Augmentation, seed: int):
        self.store, self.size, self.augmentation, self.seed = store, size, augmentation, seed
        margin = (store.canvas - size) // 2
        if margin < 0:
            raise MefusionError(f"model.network.image_size={size}: the prepared frames are {store.canvas} px")
        if not 0 <= augmentation.crop_jitter <= margin:
            raise MefusionError(f"model.training.crop_jitter={augmentation.crop_jitter}: choose 0 to {margin} px")

    def __getitems__(self, items: Sequence[tuple[int, int, int]]) -> Batch:
        """Batch of the windows (epoch, clip, phase); phase -1 is a random one."""
        return self.store.batch([clip for _, clip, _ in items], [self._window(*item) for item in items])

    def _window(self, epoch: int, clip: int, phase: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng((self.seed, epoch, clip, phase + 1))
        jitter = self.augmentation.crop_jitter
        top, left = (self.store.canvas - self.size) // 2 + rng.integers(-jitter, jitter + 1, size=2)
        if phase < 0:
            phase = int(rng.integers(self.store.strides[clip]))
        flip = self.augmentation.flip and rng.random() < 0.5
        return self.store.window(clip, phase, top=top, left=left, size=self.size, flip=flip)


class TestWindows(Dataset[Batch]):
    """Every window of the given clips, cut from the centre."""

    __test__ = False  # no test of pytest's

    def __init__(self, store: ClipStore, clips: np.ndarray, *, size: int):
        self.store, self.size = store, size
        self.windows = [(int(clip), phase) for clip in clips for phase in range(store.strides[clip])]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitems__(self, items: Sequence[int]) -> Batch:
        """Batch of windows by their numbers."""
        chosen = [self.windows[item] for item in items]
        return self.store.batch([clip for clip, _ in chosen], [self.centre(*window) for window in chosen])

    def centre(self, clip: int, phase: int) -> tuple[np.ndarray, ...]:
        """One window, cut from the centre."""
        start = (self.store.canvas - self.size) // 2
        return self.store.window(clip, phase, top=start, left=start, size=self.size)


class EpochSampler(Sampler[tuple[int, int, int]]):
    """Items (epoch, clip, phase) of `TrainingWindows`, shuffled the same for the same seed and epoch.

    Args:
        store: the clips.
        clips: row numbers of the training clips.
        windows: `random`, one random window a clip and epoch, or `all`, every window of every clip.
        seed: of the order.

    Raises:
        MefusionError: `windows` is neither.
    """

    def __init__(self, store: ClipStore, clips: np.ndarray, *, windows: str, seed: int):
        if windows not in ("random", "all"):
            raise MefusionError(f"model.training.windows={windows}: choose from random, all")
        self.items = [
            (int(clip), phase) for clip in clips for phase in (range(store.strides[clip]) if windows == "all" else [-1])
        ]
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        for number in np.random.default_rng((self.seed, self.epoch)).permutation(len(self.items)):
            yield (self.epoch, *self.items[number])
