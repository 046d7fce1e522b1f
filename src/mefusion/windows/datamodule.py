"""Data of one fold: its windows, normalised, as a LightningDataModule."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset

from mefusion.common.units import ABSENT, PRESENT, UNIT_TASK
from mefusion.evaluation.folds import Fold
from mefusion.processes.distributed import own_share
from mefusion.windows.resident import Cuts, ResidentClips, UncutWindows
from mefusion.windows.settings import Windows, WindowSettings
from mefusion.windows.store import Batch, ClipStore, EpochSampler, TestWindows, TrainingWindows, normalised
from mefusion.windows.views import Arrays


@dataclass(frozen=True)
class Statistics:
    """Statistics of the training subjects.

    Attributes:
        mean, std: mean and standard deviation of the centre crops' values in each channel, [C, 1, 1]; those of frames
            are for values in 0..1.
        class_counts: [K], number of clips of each class.
        mean_shape: mean landmarks [68, 2] px of the centre crop; None if the view has no landmarks.
        unit_counts: [units, 2], number of clips without and with each action unit; None if the store has no labels of
            them.
    """

    mean: Tensor
    std: Tensor
    class_counts: Tensor
    mean_shape: Tensor | None = None
    unit_counts: Tensor | None = None


class FoldData(L.LightningDataModule):
    """Windows of a fold's subjects, normalised by the statistics of the training subjects.

    If several processes train together, each has its share of every training batch, and of the validation and test
    windows.

    Args:
        store: all clips.
        fold: training, validation and test subjects.
        settings: windows, batches and augmentation.
        image_size: side S of the crops, px.
        seed: seed of the order and of the augmentation.
        balanced: see `EpochSampler`.
        resident: keep all clips in the device's memory and cut the windows there, see `ResidentClips`; not if
            augmentation changes the pixels.

    Raises:
        MefusionError: the store's view or picture size does not allow the augmentation.
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
        resident: bool = False,
    ):
        super().__init__()
        self.resident = resident and not settings.changes_pixels
        self._clips: ResidentClips | None = None
        self.store, self.fold, self.settings, self.image_size = store, fold, settings, image_size
        self.train_clips, self.test_clips = store.rows(fold.train), store.rows(fold.test)
        self._training = TrainingWindows(store, size=image_size, augmentation=settings, seed=seed)
        self._sampler = EpochSampler(
            store,
            self.train_clips,
            windows=settings.windows,
            seed=seed,
            copies=settings.copies,
            balanced=balanced,
        )
        self.validation_windows = self._windows(store.rows(fold.validation))
        self.predicted = self.test_windows = self._windows(self.test_clips)
        self.statistics = self._fit()

    def _fit(self) -> Statistics:
        crop, arrays = self.store.centre(self.image_size), [self.store.arrays[clip] for clip in self.train_clips]
        sums: Any = 0
        for clip in arrays:  # one clip at a time, since all clips as floats may need too much memory
            values = crop(self.store.view.pictures(clip)) * np.float32(self.store.view.scale)
            count = np.full(values.shape[1], values[:, 0].size)
            moments = [np.power(values, n).sum(axis=(0, 2, 3), dtype=np.float64) for n in (1, 2)]
            sums = sums + np.stack([count, *moments])
        mean = sums[1] / sums[0]
        std = np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0))
        if self.store.view.is_normalised:
            mean, std = np.zeros_like(mean), np.ones_like(std)
        return Statistics(
            mean=_channels(mean),
            std=_channels(np.where(std > 0, std, 1)),
            class_counts=torch.from_numpy(
                np.bincount(self.store.labels[self.train_clips], minlength=len(self.store.classes))
            ),
            mean_shape=_mean_shape(arrays, crop.left) if "landmarks" in arrays[0] else None,
            unit_counts=self._unit_counts(),
        )

    def _unit_counts(self) -> Tensor | None:
        if UNIT_TASK not in self.store.clip_targets:
            return None
        labels = self.store.clip_targets[UNIT_TASK][self.train_clips]
        return torch.from_numpy(np.stack([(labels == value).sum(axis=0) for value in (ABSENT, PRESENT)], axis=1))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented windows of the training subjects."""
        batches = SharedBatchSampler(self._sampler, self.settings.batch_size, drop_last=False)  # type: ignore[arg-type]
        return DataLoader(self._loaded(self._training), batch_sampler=batches, collate_fn=_keep_batch)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Windows of the validation subjects, in order."""
        return self._in_order(self.validation_windows)

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Windows of `predicted`, in order: those of the test subjects, unless it was set to others."""
        return self._in_order(self.predicted)

    def _windows(self, clips: np.ndarray) -> TestWindows:
        return self._cut(clips, mirrored=self.store.view.mirrors_test)

    def _cut(self, clips: np.ndarray, *, mirrored: bool) -> TestWindows:
        return TestWindows(self.store, clips, size=self.image_size, windows=self.settings.windows, mirrored=mirrored)

    def whole_training(self) -> Batch:
        """All windows of the training subjects at once, normalised, for a network that is fitted to them.

        They are in order, without random augmentation; with the augmentation `flip` each is there mirrored too.
        """
        windows = self._cut(self.train_clips, mirrored=self.settings.flip)
        return self.normalise(windows.__getitems__(range(len(windows))))

    def _in_order(self, windows: TestWindows) -> DataLoader[Batch]:
        return DataLoader(
            self._loaded(windows),
            sampler=own_share(range(len(windows))),
            batch_size=self.settings.batch_size,
            collate_fn=_keep_batch,
        )

    def _loaded(self, windows: TrainingWindows | TestWindows) -> Dataset[Any]:
        """What a loader reads: windows, or where they are to be cut on the device."""
        return UncutWindows(windows) if self.resident else windows

    def examples(self) -> Batch:
        """First window of the first test clip of each class, to draw examples."""
        labels = self.store.labels[self.test_clips]
        clips = np.array([self.test_clips[np.flatnonzero(labels == label)[0]] for label in np.unique(labels)])
        windows = TestWindows(self.store, clips, size=self.image_size, windows=Windows.first)
        return windows.__getitems__(range(len(clips)))

    def on_after_batch_transfer(self, batch: Batch | Cuts, dataloader_idx: int) -> Batch:
        """Normalise on the device, after the windows are cut there if its memory has the clips."""
        if isinstance(batch, Cuts):
            if self._clips is None:
                self._clips = ResidentClips(self.store, self.image_size, batch.table.device)
            batch = self._clips.cut(batch)
        return self.normalise(batch)

    def normalise(self, batch: Batch) -> Batch:
        """Normalise inputs by the training subjects' mean and standard deviation; convert targets to float."""
        # Non-blocking, so that a GPU that is still at the step before is not waited for.
        statistics = (self.statistics.mean, self.statistics.std)
        mean, std = (value.to(batch.inputs.device, non_blocking=True) for value in statistics)
        floats = batch.map(lambda tensor: tensor if tensor.dtype == torch.int64 else tensor.float())
        inputs = normalised(floats.inputs, scale=self.store.view.scale, mean=mean, std=std)
        return dataclasses.replace(floats, inputs=inputs)


class SharedBatchSampler(BatchSampler):
    """Gives this process's share of each batch, so that a step uses the same windows with any number of processes."""

    def __iter__(self) -> Iterator[list[Any]]:
        return map(own_share, super().__iter__())


def _channels(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


def _mean_shape(clips: list[Arrays], margin: int) -> Tensor:
    return torch.tensor(np.mean([clip["landmarks"].mean(0) for clip in clips], axis=0) - margin)


def _keep_batch(batch: Any) -> Any:
    """Return a batch as it is, since the dataset already makes batches."""
    return batch
