import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch

from mefusion.clips.cache import save_arrays
from mefusion.evaluation.folds import leave_one_subject_out
from mefusion.windows.datamodule import FoldData
from mefusion.windows.settings import Windows, WindowSettings
from mefusion.windows.store import ClipStore
from mefusion.windows.views import make_view

CLASSES = ("negative", "surprise")


@pytest.fixture
def store(tmp_path):
    """Two clips of each of three subjects, 36 px wide, strides 1 and 2, windows of two frames."""
    rows, rng = [], np.random.default_rng(0)
    for number in range(6):
        stride = 1 + number % 2
        arrays = {
            "frames": rng.integers(0, 60 + 30 * number, (2 * stride, 36, 36), dtype=np.uint8),
            "flow": rng.normal(size=(stride, 2, 36, 36)).astype(np.float16),
            "landmarks": rng.uniform(0, 36, (2 * stride, 68, 2)).astype(np.float32),
        }
        save_arrays(tmp_path / f"{number}.safetensors", arrays, {})
        row = {"subject": f"d/{number // 2}", "clip_id": str(number), "file": f"{number}.safetensors"}
        rows.append(row | {"stride": stride, "apex_place": 0, "label": CLASSES[number % 2]})
    return ClipStore(
        pd.DataFrame(rows), tmp_path, classes=CLASSES, clip_length=2, view=make_view("canvas", image_size=32)
    )


def fold_data(store, *, number=1, size=32, seed=0, balanced=False, **changes):
    fold = leave_one_subject_out(store.index["subject"])[number]
    options = {"batch_size": 4, "windows": Windows.random, "crop_jitter": 2} | changes
    return FoldData(store, fold, WindowSettings(**options), image_size=size, seed=seed, balanced=balanced)


def test_statistics_are_those_of_the_training_subjects_centre_crops(store):
    data = fold_data(store)
    clips = [store.arrays[number] for number in (0, 1, 4, 5)]
    values = np.concatenate([clip["frames"][:, 2:34, 2:34].ravel() for clip in clips]) / 255
    assert data.statistics.mean.item() == pytest.approx(values.mean(), rel=1e-5)
    assert data.statistics.std.item() == pytest.approx(values.std(), rel=1e-5)
    assert data.statistics.class_counts.tolist() == [2, 2]
    shape = np.mean([clip["landmarks"].mean(0) for clip in clips], axis=0) - 2
    np.testing.assert_allclose(data.statistics.mean_shape, shape, rtol=1e-5)


def test_statistics_know_nothing_of_the_test_subject(store):
    before = fold_data(store).statistics
    for number in (2, 3):
        store.arrays[number]["frames"] = 255 - store.arrays[number]["frames"]
        store.arrays[number]["landmarks"] = store.arrays[number]["landmarks"] + 100
    after = fold_data(store).statistics
    assert (before.mean, before.std) == (after.mean, after.std)
    np.testing.assert_array_equal(before.mean_shape, after.mean_shape)
    assert fold_data(store, number=0).statistics.mean != before.mean


def test_training_shows_training_subjects_alone_and_prediction_the_test_subject(store):
    data = fold_data(store, windows=Windows.all)
    trained = [clip for batch in data.train_dataloader() for clip in batch.clip.tolist()]
    assert sorted(trained) == [0, 1, 1, 4, 5, 5]
    batches = list(data.predict_dataloader())
    assert [clip for batch in batches for clip in batch.clip.tolist()] == [2, 3, 3]  # every window, in order
    again = list(data.predict_dataloader())
    assert all((one.inputs == other.inputs).all() for one, other in zip(batches, again, strict=True))


def test_batches_have_the_shapes_of_the_model(store):
    data = fold_data(store, size=16)
    (batch,) = data.train_dataloader()
    assert batch.inputs.shape == (4, 2, 1, 16, 16)
    assert batch.targets["flow"].shape == (4, 1, 2, 16, 16)
    assert batch.targets["landmarks"].shape == (4, 1, 68, 2)
    assert batch.label.shape == batch.clip.shape == (4,)


def test_training_values_are_normalised_to_mean_0_and_deviation_1(store):
    data = fold_data(store, windows=Windows.all, batch_size=100, crop_jitter=0)
    (raw,) = data.train_dataloader()
    batch = data.on_after_batch_transfer(raw, 0)
    # All phases of a clip together are all its frames.
    assert batch.inputs.mean().item() == pytest.approx(0, abs=1e-4)
    assert batch.inputs.std(correction=0).item() == pytest.approx(1, abs=1e-4)
    frame = store.arrays[0]["frames"][0, 2:34, 2:34]
    row = raw.clip.tolist().index(0)
    expected = (frame / 255 - data.statistics.mean[0].numpy()) / data.statistics.std[0].numpy()
    np.testing.assert_allclose(batch.inputs[row, 0, 0], expected, atol=1e-5)
    assert str(batch.targets["flow"].dtype) == str(batch.targets["landmarks"].dtype) == "torch.float32"
    np.testing.assert_array_equal(batch.targets["flow"], raw.targets["flow"].float())


def test_prediction_is_normalised_by_the_training_subjects_too(store):
    data = fold_data(store)
    raw = next(iter(data.predict_dataloader()))
    back = data.normalise(raw).inputs * data.statistics.std + data.statistics.mean
    np.testing.assert_allclose(255 * back, raw.inputs, atol=1e-3)


def test_the_same_seed_gives_the_same_epoch(store):
    def epoch(seed):
        (batch,) = fold_data(store, seed=seed, windows="random").train_dataloader()
        return batch

    assert (epoch(0).inputs == epoch(0).inputs).all()
    assert (epoch(0).clip.tolist(), epoch(0).inputs.sum()) != (epoch(1).clip.tolist(), epoch(1).inputs.sum())


def test_examples_are_one_window_a_class_of_the_test_subject(store):
    batch = fold_data(store).examples()
    assert batch.clip.tolist() == [2, 3]
    assert batch.label.tolist() == [0, 1]
    np.testing.assert_array_equal(batch.inputs[1, :, 0], store.arrays[3]["frames"][[0, 2], 2:34, 2:34])


class Watch(L.LightningModule):
    """Trains nothing and keeps what it is shown, a list of (clip, sum of its frames) an epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.shown, self.sizes = [], []

    def on_train_epoch_start(self):
        self.shown.append([])

    def training_step(self, batch, batch_idx):
        self.shown[-1] += list(zip(batch.clip.tolist(), batch.inputs.sum((1, 2, 3, 4)).tolist(), strict=True))
        self.sizes.append(len(batch))
        return self.weight * 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def watch(folder, data, epochs, checkpoint=None):
    module = Watch()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        enable_checkpointing=False,
    )
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return module


def test_each_epoch_shows_every_training_clip_once_and_cut_anew(store, tmp_path):
    module = watch(tmp_path, fold_data(store, batch_size=3, flip=True), 4)
    assert [sorted(clip for clip, _ in epoch) for epoch in module.shown] == [[0, 1, 4, 5]] * 4
    assert module.sizes == [3, 1] * 4
    assert len({tuple(clip for clip, _ in epoch) for epoch in module.shown}) > 1
    for clip in (0, 1, 4, 5):
        assert len({dict(epoch)[clip] for epoch in module.shown}) > 1


def test_a_resumed_training_is_shown_what_an_uninterrupted_one_is(store, tmp_path):
    whole = watch(tmp_path, fold_data(store, flip=True), 4)
    watch(tmp_path, fold_data(store, flip=True), 2)
    rest = watch(tmp_path, fold_data(store, flip=True), 4, str(tmp_path / "2.ckpt"))
    assert rest.shown == whole.shown[2:]
