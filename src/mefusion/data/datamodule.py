"""One fold's data."""

from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mefusion.data.clips import Augmentation, Batch, ClipStore, EpochSampler, TestWindows, TrainingWindows
from mefusion.data.folds import Fold
from mefusion.errors import MefusionError


@dataclass(frozen=True)
class Statistics:
    """What is fitted on the training subjects.

    Attributes:
        mean, std: of the centre crops' values, 0..1.
        mean_shape: mean landmarks [68, 2] px of the centre crop.
    """

    mean: float
    std: float
    mean_shape: Tensor


class FoldData(L.LightningDataModule):
    """Windows of a fold's training and test subjects, normalised by the training subjects' values.

    Args:
        store: all clips.
        fold: the subjects.
        image_size: side of the crops S, px.
        batch_size: windows a batch.
        windows: see `EpochSampler`.
        augmentation: of training windows.
        seed: of the order and of the augmentation.
    """

    def __init__(
        self,
        store: ClipStore,
        fold: Fold,
        *,
        image_size: int,
        batch_size: int,
        windows: str,
        augmentation: Augmentation,
        seed: int,
    ):
        super().__init__()
        self.store, self.image_size, self.batch_size = store, image_size, batch_size
        self.train_clips, self.test_clips = store.rows(fold.train), store.rows(fold.test)
        if batch_size < 1:
            raise MefusionError(f"model.training.batch_size={batch_size}: give a number above 0")
        self._training = TrainingWindows(store, size=image_size, augmentation=augmentation, seed=seed)
        self._sampler = EpochSampler(store, self.train_clips, windows=windows, seed=seed)
        self.statistics = self._fit()

    def _fit(self) -> Statistics:
        start = (self.store.canvas - self.image_size) // 2
        cut = slice(start, start + self.image_size)
        sums, shapes = np.zeros(3), []
        for clip in self.train_clips:
            values = self.store.arrays[clip]["frames"][:, cut, cut] / np.float32(255)
            sums += values.size, values.sum(dtype=np.float64), np.square(values).sum(dtype=np.float64)
            shapes.append(self.store.arrays[clip]["landmarks"].mean(0) - start)
        mean = sums[1] / sums[0]
        std = np.sqrt(sums[2] / sums[0] - mean**2)
        return Statistics(mean=float(mean), std=float(std), mean_shape=torch.tensor(np.mean(shapes, 0)))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented windows of the training subjects."""
        return DataLoader(self._training, sampler=self._sampler, batch_size=self.batch_size, collate_fn=_whole)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Every window of the test subjects, in order."""
        windows = TestWindows(self.store, self.test_clips, size=self.image_size)
        return DataLoader(windows, batch_size=self.batch_size, collate_fn=_whole)

    def examples(self) -> Batch:
        """First window of the first test clip of each class, for pictures."""
        labels = self.store.labels[self.test_clips]
        clips = [int(self.test_clips[np.flatnonzero(labels == label)[0]]) for label in np.unique(labels)]
        windows = TestWindows(self.store, np.array(clips), size=self.image_size)
        return self.store.batch(clips, [windows.centre(clip, 0) for clip in clips])

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device."""
        return self.normalise(batch)

    def normalise(self, batch: Batch) -> Batch:
        """Frames as x / 255, less the training subjects' mean, over their standard deviation; the rest as float."""
        frames = (batch.frames.float() / 255 - self.statistics.mean) / self.statistics.std
        return Batch(frames, batch.flow.float(), batch.landmarks.float(), batch.label, batch.clip)


def _whole(batch: Any) -> Any:
    """The dataset gives whole batches already."""
    return batch
