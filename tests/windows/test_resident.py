import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from mefusion.clips.cache import save_arrays
from mefusion.clips.motion import dynamic_image, rank_pooling_weights
from mefusion.evaluation.folds import leave_one_subject_out
from mefusion.windows.datamodule import FoldData
from mefusion.windows.flow import FlowSettings
from mefusion.windows.resident import Cuts, dynamic_images, fit_on_gpu
from mefusion.windows.settings import Windows, WindowSettings
from mefusion.windows.store import ClipStore
from mefusion.windows.views import make_view

CLASSES = ("negative", "surprise")
VIEWS = {
    "canvas": make_view("canvas", image_size=32),
    "small": make_view("small", image_size=32),
    "dual_phase": make_view("small", image_size=32, dual_phase=True),
    "flow_image": make_view("flow_image", image_size=32, flow=FlowSettings(mirror_test=True)),
}
every_view = pytest.mark.parametrize("view", VIEWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips of each of three subjects, 40 px wide and 32 px small, strides 1 and 2, windows of three frames."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for number in range(6):
        stride = 1 + number % 2
        arrays = {
            "frames": rng.integers(0, 256, (3 * stride, 40, 40), dtype=np.uint8),
            "frames_small": rng.integers(0, 256, (3 * stride, 32, 32), dtype=np.uint8),
            "flow": rng.normal(size=(2 * stride, 2, 40, 40)).astype(np.float16),
            "landmarks": rng.uniform(0, 40, (3 * stride, 68, 2)).astype(np.float32),
            "onset_apex_flow": rng.normal(size=(2, 40, 40)).astype(np.float16),
        }
        save_arrays(folder / f"{number}.safetensors", arrays, {})
    return folder


def both(folder, view, **changes) -> tuple[FoldData, FoldData]:
    """The same fold with windows that are cut by numpy, and in the memory of a device."""
    rows = [
        {
            "subject": f"d/{number // 2}",
            "clip_id": str(number),
            "file": f"{number}.safetensors",
            "stride": 1 + number % 2,
            "apex_place": 1,
            "label": CLASSES[number % 2],
        }
        for number in range(6)
    ]
    marks = {"marks": np.arange(12).reshape(6, 2)}  # targets of whole clips
    store = ClipStore(pd.DataFrame(rows), folder, classes=CLASSES, clip_length=3, view=VIEWS[view], clip_targets=marks)
    size = {"canvas": 32, "flow_image": 32}.get(view, 32)
    moves = view != "flow_image"
    options = {"batch_size": 3, "windows": Windows.random, "crop_jitter": 3 if moves else 0, "flip": True}
    settings = WindowSettings(**options | changes)
    fold = leave_one_subject_out(store.index["subject"])[1]
    return tuple(FoldData(store, fold, settings, image_size=size, seed=5, resident=given) for given in (False, True))


def batches(data: FoldData, loader) -> list:
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def assert_same(given, expected):
    assert len(given) == len(expected) > 0
    for one, other in zip(given, expected, strict=True):
        assert [*one.tensors] == [*other.tensors]
        for name, tensor in one.tensors.items():
            torch.testing.assert_close(tensor, other.tensors[name], atol=1e-5, rtol=0, msg=name)


@every_view
def test_windows_that_a_device_cuts_are_those_of_the_view(folder, view):
    host, device = both(folder, view)
    for epoch in range(3):
        for data in (host, device):
            data._sampler.set_epoch(epoch)
        assert_same(batches(device, device.train_dataloader()), batches(host, host.train_dataloader()))
    assert_same(batches(device, device.predict_dataloader()), batches(host, host.predict_dataloader()))


def test_frames_that_are_moved_in_time_too(folder):
    host, device = both(folder, "small", temporal_jitter=2)
    assert_same(batches(device, device.train_dataloader()), batches(host, host.train_dataloader()))


def test_the_loader_moves_one_small_tensor_and_the_clips_go_to_the_device_once(folder, monkeypatch):
    _, device = both(folder, "canvas")
    loaded = list(device.train_dataloader())
    assert all(isinstance(cuts, Cuts) and cuts.table.shape[1] == 5 + 3 for cuts in loaded)
    batches(device, loaded)
    kept = device._clips
    batches(device, device.predict_dataloader())
    assert device._clips is kept is not None


def test_augmented_pixels_are_cut_on_the_host(folder):
    host, device = both(folder, "canvas", noise=3.0)
    assert not device.resident
    assert_same(batches(device, device.train_dataloader()), batches(host, host.train_dataloader()))


def test_a_clip_without_landmarks(folder):
    host, device = both(folder, "canvas")
    for clip in host.store.arrays:
        clip.pop("landmarks")
    for clip in device.store.arrays:
        clip.pop("landmarks", None)
    (given, *_), (expected, *_) = (batches(data, data.train_dataloader()) for data in (device, host))
    assert [*given.targets] == ["flow", "marks"]
    assert_same([dataclasses.replace(given)], [expected])


def test_dynamic_images_are_those_of_numpy_and_zero_where_nothing_moves():
    frames = torch.randint(0, 256, (4, 5, 9, 9), dtype=torch.uint8)
    frames[1] = frames[1, :1]
    frames[2] = frames[2, :1].clamp(max=100) + torch.arange(5, dtype=torch.uint8)[:, None, None]  # all pixels alike
    given = dynamic_images(frames, torch.from_numpy(rank_pooling_weights(5)))
    np.testing.assert_allclose(given, dynamic_image(frames.numpy()), atol=1e-7)
    assert not given[1].any()
    assert not given[2].any()


def test_weights_of_three_frames_are_the_published_ones():
    # By hand: a_1 = -2/1 + 0/2 + 2/3, a_2 = 0/2 + 2/3, a_3 = 2/3.
    np.testing.assert_allclose(rank_pooling_weights(3), [-4 / 3, 2 / 3, 2 / 3])


def test_clips_that_take_too_much_of_a_gpu_are_cut_on_the_host(folder, monkeypatch):
    store = both(folder, "flow_image")[0].store
    assert store.nbytes == 6 * 3 * 32 * 32 * 4
    for free, fits in ((4 * store.nbytes, False), (4 * store.nbytes + 4, True)):  # bytes that no process uses
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda free=free: (free, 100 * free))
        assert fit_on_gpu(store) == fits
