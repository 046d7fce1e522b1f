"""Keep prepared clips in memory, and cut windows from them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from mefusion.common.errors import MefusionError
from mefusion.windows.augmentation import Augmentation
from mefusion.windows.cutting import Crop, Span, centre_crop, centre_crops
from mefusion.windows.settings import Windows
from mefusion.windows.views import View, Window

RANDOM_PHASE = -1


def normalised(inputs: Tensor, *, scale: float, mean: Tensor, std: Tensor) -> Tensor:
    """Inputs of a network from what a view cuts, as float32.

    Args:
        inputs: [B, ..., C, S, S], of any type.
        scale: the values are multiplied by this first.
        mean, std: of the training subjects, [C, 1, 1], on the device of the inputs.
    """
    return (inputs.float() * scale - mean) / std


@dataclass
class Batch:
    """A batch of windows.

    Attributes:
        inputs: inputs of the network, as the view cuts them, or normalised: frames [B, T, 1, S, S], or flow images
            [B, 3, S, S].
        label: [B], class numbers.
        clip: [B], row numbers of the clips in the store's index.
        targets: targets of the tasks, by name, as the view cuts them: flow [B, T-1, 2, S, S] px; landmarks
            [B, T-1, 68, 2] px of frames 2..T; dynamic_image [B, S, S], 0..1; and those that are known of whole clips.
    """

    inputs: Tensor
    label: Tensor
    clip: Tensor
    targets: dict[str, Tensor] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the batch, by name."""
        return {"inputs": self.inputs, "label": self.label, "clip": self.clip, **self.targets}

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Batch with `change` applied to each tensor."""
        targets = {name: change(target) for name, target in self.targets.items()}
        return Batch(change(self.inputs), change(self.label), change(self.clip), targets)

    def to(self, device: torch.device) -> "Batch":
        """Batch on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def __len__(self) -> int:
        return len(self.label)


class Cut(NamedTuple):
    """Where a window is cut: the row number of its clip, the span that its T frames are spread over, and the crop."""

    clip: int
    span: Span
    crop: Crop


class ClipStore:
    """All prepared clips of a table, read once and shared by the folds of a process.

    Args:
        index: rows of the cache's index with the column `label`.
        folder: the cache's folder.
        classes: names of the classes, in order.
        clip_length: number of frames T of a window.
        view: cuts inputs and targets from a clip.
        clip_targets: targets that are the same for all windows of a clip, by name: [clips, ...], in the index's order.

    Raises:
        MefusionError: a cache file is missing, damaged, or not for this view.
    """

    def __init__(
        self,
        index: pd.DataFrame,
        folder: Path,
        *,
        classes: Sequence[str],
        clip_length: int,
        view: View,
        clip_targets: Mapping[str, np.ndarray] | None = None,
    ):
        self.index, self.clip_targets = index.reset_index(drop=True), dict(clip_targets or {})
        self.clip_length, self.view = clip_length, view
        self.classes = tuple(classes)
        self.labels = np.array([self.classes.index(label) for label in self.index["label"]])
        self.files = [folder / file for file in self.index["file"]]
        self.arrays = [view.read(file) for file in self.files]
        self.spans = [
            view.spans(int(stride), clip_length, int(apex))
            for stride, apex in zip(self.index["stride"], self.index["apex_place"], strict=True)
        ]
        self.canvas = view.pictures(self.arrays[0]).shape[-1]

    @property
    def nbytes(self) -> int:
        """Memory of all clips, bytes."""
        return sum(array.nbytes for clip in self.arrays for array in clip.values())

    def rows(self, subjects: Sequence[str]) -> np.ndarray:
        """Row numbers of the clips of these subjects."""
        return np.flatnonzero(self.index["subject"].isin(subjects))

    def phases(self, clip: int) -> int:
        """Number of windows of a clip."""
        return len(self.spans[clip])

    def centre(self, size: int) -> Crop:
        """Crop of `size` px in the centre of the prepared pictures."""
        return centre_crop(self.canvas, size)

    def window(self, clip: int, phase: int, crop: Crop) -> Window:
        """Cut a window of a clip, by its number."""
        return self.window_of(Cut(clip, self.spans[clip][phase], crop))

    def window_of(self, cut: Cut) -> Window:
        """Cut a window."""
        return self.view.window(self.arrays[cut.clip], cut.span.times(self.clip_length), cut.crop)

    def cut(self, cuts: Sequence[Cut]) -> "Batch":
        """Cut a batch of windows."""
        return self.batch([cut.clip for cut in cuts], [self.window_of(cut) for cut in cuts])

    def batch(self, clips: Sequence[int], windows: Sequence[Window]) -> Batch:
        """Make a batch of windows; `clips` has the row number of each window's clip."""
        tensors = {name: torch.from_numpy(array) for name, array in self.view.collate(windows).items()}
        inputs, rows = tensors.pop("inputs"), list(clips)
        tensors |= {name: torch.from_numpy(values[rows]) for name, values in self.clip_targets.items()}
        return Batch(inputs, torch.from_numpy(self.labels[rows]), torch.tensor(rows), targets=tensors)


class TrainingWindows(Dataset[Batch]):
    """Augmented windows; the same item (epoch, number, clip, phase) always gives the same window.

    The random numbers of a window depend only on the seed, the epoch and the window's number in the epoch. So a
    resumed training uses the same windows as one that was not interrupted.

    Raises:
        MefusionError: the store's view or picture size does not allow the augmentation.
    """

    def __init__(self, store: ClipStore, *, size: int, augmentation: Augmentation, seed: int):
        self.store, self.size, self.augmentation, self.seed = store, size, augmentation, seed
        margin = (store.canvas - size) // 2
        if margin < 0:
            raise MefusionError(
                f"model.network.image_size={size}: choose at most {store.canvas}, the size of the prepared frames in px"
            )
        if not 0 <= augmentation.crop_jitter <= margin:
            raise MefusionError(f"model.training.crop_jitter={augmentation.crop_jitter}: choose 0 to {margin} px")
        augmentation.check_view(store.view)

    def __getitems__(self, items: Sequence[tuple[int, int, int, int]]) -> Batch:
        """Batch of the windows (epoch, number, clip, phase)."""
        rngs = self._rngs(items)
        batch = self.store.cut(self._cuts(items, rngs))
        if self.augmentation.changes_pixels:
            # After the targets, which are computed from the unchanged frames.
            change = self.augmentation.change_grey if self.store.view.grey else self.augmentation.change_flow
            changed = [change(inputs.numpy(), rng) for inputs, rng in zip(batch.inputs, rngs, strict=True)]
            batch.inputs = torch.from_numpy(np.stack(changed))
        return batch

    def cuts(self, items: Sequence[tuple[int, int, int, int]]) -> list[Cut]:
        """Where the windows (epoch, number, clip, phase) are cut."""
        return self._cuts(items, self._rngs(items))

    def _rngs(self, items: Sequence[tuple[int, int, int, int]]) -> list[np.random.Generator]:
        return [np.random.default_rng((self.seed, epoch, number)) for epoch, number, _, _ in items]

    def _cuts(self, items: Sequence[tuple[int, int, int, int]], rngs: Sequence[np.random.Generator]) -> list[Cut]:
        return [self._cut(rng, clip, phase) for rng, (_, _, clip, phase) in zip(rngs, items, strict=True)]

    def _cut(self, rng: np.random.Generator, clip: int, phase: int) -> Cut:
        jitter, centre = self.augmentation.crop_jitter, self.store.centre(self.size)
        down, right = rng.integers(-jitter, jitter + 1, size=2)
        if phase == RANDOM_PHASE:
            phase = int(rng.integers(self.store.phases(clip)))
        flip = self.augmentation.flip and bool(rng.random() < 0.5)
        crop = Crop(centre.top + down, centre.left + right, self.size, flip)
        spans = self.store.spans[clip]
        end = max(span.last for span in spans)
        return Cut(clip, self.augmentation.move_ends(spans[phase], rng, end=end, length=self.store.clip_length), crop)


class TestWindows(Dataset[Batch]):
    """Windows of the given clips, cut from the centre: all; only each clip's first if training uses only that.

    If `mirrored` is set, each is there mirrored too.
    """

    __test__ = False  # it is no test, though its name begins like those that pytest collects

    def __init__(
        self,
        store: ClipStore,
        clips: np.ndarray,
        *,
        size: int,
        windows: Windows = Windows.all,
        mirrored: bool = False,
    ):
        self.store = store
        self.windows = [
            (int(clip), phase, crop)
            for clip in clips
            for phase in range(1 if windows == Windows.first else store.phases(clip))
            for crop in centre_crops(store.canvas, size, mirrored=mirrored)
        ]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitems__(self, items: Sequence[int]) -> Batch:
        """Batch of windows by their numbers."""
        return self.store.cut(self.cuts(items))

    def cuts(self, items: Sequence[int]) -> list[Cut]:
        """Where the windows of these numbers are cut."""
        chosen = [self.windows[item] for item in items]
        return [Cut(clip, self.store.spans[clip][phase], crop) for clip, phase, crop in chosen]


class EpochSampler(Sampler[tuple[int, int, int, int]]):
    """Items (epoch, number, clip, phase) of `TrainingWindows`; the same seed and epoch give the same items.

    Args:
        store: all clips.
        clips: row numbers of the training clips.
        windows: `random`: one random window of each clip; `all` and `dual_phase`: every window of each clip, as the
            view defines them; `first`: the first window of each clip.
        seed: seed of the order.
        copies: how often each window is there.
        balanced: draw windows with replacement, with equal probability for each class; otherwise each window is drawn
            once.
    """

    def __init__(
        self,
        store: ClipStore,
        clips: np.ndarray,
        *,
        windows: Windows,
        seed: int,
        copies: int = 1,
        balanced: bool = False,
    ):
        one = {Windows.random: [RANDOM_PHASE], Windows.first: [0]}.get(windows)
        self.items = [(int(clip), phase) for clip in clips for phase in one or range(store.phases(clip))] * copies
        labels = store.labels[[clip for clip, _ in self.items]]
        share = 1 / np.bincount(labels)[labels] if len(labels) else labels
        self.probabilities = share / share.sum() if balanced else None
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
        rng, count = np.random.default_rng((self.seed, self.epoch)), len(self.items)
        if self.probabilities is None:
            order = rng.permutation(count)
        else:
            order = rng.choice(count, size=count, p=self.probabilities)
        for number, item in enumerate(order):
            yield (self.epoch, number, *self.items[item])
