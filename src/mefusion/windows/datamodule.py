"""One fold's data."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from mefusion.common.distributed import own_share
from mefusion.evaluation.folds import Fold
from mefusion.windows.settings import Windows, WindowSettings
from mefusion.windows.store import Batch, ClipStore, EpochSampler, TestWindows, TrainingWindows
from mefusion.windows.views import Arrays


@dataclass(frozen=True)
class Statistics:
    """What is fitted on the training subjects.

    Attributes:
        mean, std: of the centre crops' values, one a channel, [C, 1, 1]; of frames in 0..1.
        class_counts: [K] clips of each class.
        mean_shape: mean landmarks [68, 2] px of the centre crop, None where the view has no landmarks.
    """

    mean: Tensor
    std: Tensor
    class_counts: Tensor
    mean_shape: Tensor | None = None


class FoldData(L.LightningDataModule):
    """Windows of a fold's subjects, normalised by the training subjects' values.

    Where several processes train together, each has its part of every training batch and of the other windows.

    Args:
        store: all clips.
        fold: the subjects.
        settings: windows, batches and augmentation.
        image_size: side of the crops S, px.
        seed: of the order and of the augmentation.
        balanced: see `EpochSampler`.

    Raises:
        MefusionError: the store's view or size does not allow the augmentation.
    """

    def __init__(
        self,
        store: ClipStore,
        fold: Fold,
        settings: WindowSettings,
        *,
        image_size: int,
        seed: int,
        balanced: bool = False,
    ):
        super().__init__()
        self.store, self.fold, self.settings, self.image_size = store, fold, settings, image_size
        self.train_clips, self.test_clips = store.rows(fold.train), store.rows(fold.test)
        self._training = TrainingWindows(store, size=image_size, augmentation=settings, seed=seed)
        self._sampler = EpochSampler(store, self.train_clips, windows=settings.windows, seed=seed, balanced=balanced)
        self.validation_windows = self._windows(store.rows(fold.validation))
        self.predicted = self.test_windows = self._windows(self.test_clips)
        self.statistics = self._fit()

    def _fit(self) -> Statistics:
        crop, arrays = self.store.centre(self.image_size), [self.store.arrays[clip] for clip in self.train_clips]
        sums: Any = 0
        for clip in arrays:  # a clip at a time: all of them as floats would not fit
            values = crop(self.store.view.pictures(clip)) * np.float32(self.store.view.scale)
            count = np.full(values.shape[1], values[:, 0].size)
            moments = [np.power(values, n).sum(axis=(0, 2, 3), dtype=np.float64) for n in (1, 2)]
            sums = sums + np.stack([count, *moments])
        mean = sums[1] / sums[0]
        std = np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0))
        return Statistics(
            mean=_channels(mean),
            std=_channels(np.where(std > 0, std, 1)),
            class_counts=torch.from_numpy(
                np.bincount(self.store.labels[self.train_clips], minlength=len(self.store.classes))
            ),
            mean_shape=_mean_shape(arrays, crop.left) if "landmarks" in arrays[0] else None,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented windows of the training subjects."""
        batches = SharedBatchSampler(self._sampler, self.settings.batch_size, drop_last=False)  # type: ignore[arg-type]
        return DataLoader(self._training, batch_sampler=batches, collate_fn=_keep_batch)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Windows of the validation subjects, in order."""
        return self._in_order(self.validation_windows)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Windows of the test subjects, or those that `predicted` was set to, in order."""
        return self._in_order(self.predicted)

    def _windows(self, clips: np.ndarray) -> TestWindows:
        return TestWindows(self.store, clips, size=self.image_size, windows=self.settings.windows)

    def _in_order(self, windows: TestWindows) -> DataLoader[Batch]:
        return DataLoader(
            windows, sampler=own_share(range(len(windows))), batch_size=self.settings.batch_size, collate_fn=_keep_batch
        )

    def examples(self) -> Batch:
        """First window of the first test clip of each class, for pictures."""
        labels = self.store.labels[self.test_clips]
        clips = np.array([self.test_clips[np.flatnonzero(labels == label)[0]] for label in np.unique(labels)])
        windows = TestWindows(self.store, clips, size=self.image_size, windows=Windows.first)
        return windows.__getitems__(range(len(clips)))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device."""
        return self.normalise(batch)

    def normalise(self, batch: Batch) -> Batch:
        """Inputs less the training subjects' mean, over their standard deviation; targets as float."""
        mean, std = (value.to(batch.inputs.device) for value in (self.statistics.mean, self.statistics.std))
        floats = batch.map(lambda tensor: tensor if tensor.dtype == torch.int64 else tensor.float())
        return dataclasses.replace(floats, inputs=(floats.inputs * self.store.view.scale - mean) / std)


class SharedBatchSampler(BatchSampler):
    """This process's part of each batch, so that a step sees the same windows however many processes share it."""

    def __iter__(self) -> Iterator[list[Any]]:
        return map(own_share, super().__iter__())


def _channels(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


def _mean_shape(clips: list[Arrays], margin: int) -> Tensor:
    return torch.tensor(np.mean([clip["landmarks"].mean(0) for clip in clips], axis=0) - margin)


def _keep_batch(batch: Any) -> Any:
    """The dataset gives whole batches already."""
    return batch
