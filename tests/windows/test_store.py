import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mefusion.clips.cache import load_arrays, save_arrays
from mefusion.clips.motion import dynamic_image, optical_strain
from mefusion.common.errors import MefusionError
from mefusion.faces.alignment import LANDMARK_MIRROR
from mefusion.windows.augmentation import Augmentation
from mefusion.windows.cutting import Crop
from mefusion.windows.settings import Windows
from mefusion.windows.store import ClipStore, EpochSampler, TestWindows, TrainingWindows
from mefusion.windows.views import Small, make_view

CANVAS, RIGHT, DOWN = 40, 2, -1  # the texture goes 2 px right and 1 px up a frame
CLASSES = ("negative", "surprise")


def moving_clip(n_frames, stride, seed):
    """Prepared arrays of a texture that moves by whole pixels; landmark k is painted as the value 255 - k."""
    rng = np.random.default_rng(seed)
    world = rng.integers(0, 100, (CANVAS + 80, CANVAS + 80), dtype=np.uint8)
    start = rng.choice(20 * 20, 68, replace=False)
    first = np.stack([start % 20 + 6, start // 20 + 16], axis=1)
    world[first[:, 1] + 40, first[:, 0] + 40] = 255 - np.arange(68)
    frames, landmarks = [], []
    for t in range(n_frames):
        top, left = 40 - DOWN * t, 40 - RIGHT * t
        frames.append(world[top : top + CANVAS, left : left + CANVAS])
        landmarks.append(first + t * np.array([RIGHT, DOWN]))
    flow = np.zeros((n_frames - stride, 2, CANVAS, CANVAS), np.float16)
    flow[:, 0], flow[:, 1] = RIGHT * stride, DOWN * stride
    return {
        "frames": np.stack(frames),
        "frames_small": np.stack(frames)[:, ::2, ::2],
        "landmarks": np.stack(landmarks).astype(np.float32),
        "flow": flow,
        "onset_apex_flow": rng.normal(size=(2, CANVAS, CANVAS)).astype(np.float16),
    }


@pytest.fixture
def store(tmp_path):
    """The clips of `write_clips` as MOL sees them."""
    return ClipStore(write_clips(tmp_path), tmp_path, **SEEN)


SEEN = {"classes": CLASSES, "clip_length": 3, "view": make_view("canvas", image_size=24)}


def write_clips(tmp_path):
    """Six clips of three subjects with strides 1, 2 and 1; windows of three frames."""
    rows = []
    for number in range(6):
        stride = (1, 2, 1)[number % 3]
        n_frames = 3 * stride + number % 2
        arrays = moving_clip(3 * stride, stride, seed=number)
        save_arrays(tmp_path / f"{number}.safetensors", arrays, {})
        rows.append(
            {
                "subject": f"d/{number // 2}",
                "clip_id": str(number),
                "file": f"{number}.safetensors",
                "n_frames": n_frames,
                "stride": stride,
                "apex_place": 1,
                "label": CLASSES[number % 2],
            }
        )
    return pd.DataFrame(rows)


def cut(store, clip, phase, *, top, left, size, flip=False):
    """Inputs, flow and landmarks of a window."""
    return tuple(store.window(clip, phase, Crop(top, left, size, flip)).values())


def test_a_window_is_cut_at_its_corner_and_steps_by_the_stride(store):
    frames, flow, landmarks = cut(store, 1, 1, top=4, left=7, size=24)
    arrays = store.arrays[1]
    assert (frames.shape, flow.shape, landmarks.shape) == ((3, 24, 24), (2, 2, 24, 24), (2, 68, 2))
    assert frames.dtype == np.uint8
    for i, f in enumerate((1, 3, 5)):  # phase 1, stride 2
        np.testing.assert_array_equal(frames[i], arrays["frames"][f, 4:28, 7:31])
    np.testing.assert_array_equal(landmarks, arrays["landmarks"][[3, 5]] - (7, 4))


def test_targets_of_whole_clips_come_with_each_of_their_windows(tmp_path):
    units = np.arange(12, dtype=np.float32).reshape(6, 2)
    store = ClipStore(write_clips(tmp_path), tmp_path, **SEEN, clip_targets={"action_units": units})
    window = store.window(4, 0, store.centre(24))
    batch = store.batch([4, 1, 4], [window] * 3)
    assert batch.targets["action_units"].tolist() == [[8, 9], [2, 3], [8, 9]]
    assert {*batch.targets} == {"flow", "landmarks", "action_units"}


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    """The same for all tests; to be read only."""
    folder = tmp_path_factory.mktemp("clips")
    return ClipStore(write_clips(folder), folder, **SEEN)


@given(data=st.data(), flip=st.booleans(), size=st.integers(16, CANVAS))
def test_frames_flow_and_landmarks_move_together(shared_store, data, flip, size):
    store = shared_store
    clip = data.draw(st.integers(0, len(store.arrays) - 1), "clip")
    phase = data.draw(st.integers(0, store.phases(clip) - 1), "phase")
    top, left = (data.draw(st.integers(0, CANVAS - size), side) for side in ("top", "left"))
    frames, flow, landmarks = cut(store, clip, phase, top=top, left=left, size=size, flip=flip)
    ys, xs = np.mgrid[:size, :size]
    for t in range(2):
        u, v = flow[t].astype(int)
        inside = (xs + u >= 0) & (xs + u < size) & (ys + v >= 0) & (ys + v < size)
        assert inside.mean() > 0.5
        # Frame t, warped by its flow, is frame t + 1.
        np.testing.assert_array_equal(frames[t + 1][(ys + v)[inside], (xs + u)[inside]], frames[t][inside])
        # Landmark k is where its mark is; mirrored, where that of its counterpart is.
        seen = 0
        for k, (x, y) in enumerate(landmarks[t].astype(int)):
            if 0 <= x < size and 0 <= y < size:
                seen += 1
                assert frames[t + 1][y, x] == 255 - (LANDMARK_MIRROR[k] if flip else k)
        marks = store.arrays[clip]["landmarks"][(t + 1) * store.index.loc[clip, "stride"] + phase] - (left, top)
        assert seen == ((marks >= 0) & (marks < size)).all(axis=1).sum()


def test_mirroring_by_hand(store):
    plain, mirrored = (cut(store, 0, 0, top=0, left=0, size=40, flip=flip) for flip in (False, True))
    np.testing.assert_array_equal(mirrored[0], plain[0][..., ::-1])
    assert (mirrored[1][:, 0] == -RIGHT).all()
    assert (mirrored[1][:, 1] == DOWN).all()
    # The outer corner of one eye (36) becomes that of the other (45), x becomes 39 - x.
    x, y = plain[2][0, 36]
    np.testing.assert_allclose(mirrored[2][0, 45], (39 - x, y))
    assert mirrored[2].dtype == plain[2].dtype == np.float32
    assert mirrored[1].dtype == plain[1].dtype == np.float16


def test_a_batch_carries_its_clips_and_labels(store):
    windows = [store.window(clip, 0, Crop(0, 0, 16)) for clip in (3, 0)]
    batch = store.batch([3, 0], windows)
    assert batch.inputs.shape == (2, 3, 1, 16, 16)
    assert batch.targets["flow"].shape == (2, 2, 2, 16, 16)
    assert batch.targets["landmarks"].shape == (2, 2, 68, 2)
    assert batch.label.tolist() == [1, 0]
    assert batch.clip.tolist() == [3, 0]
    assert len(batch) == 2
    moved = batch.to(torch.device("meta"))
    assert moved.targets["flow"].device.type == moved.label.device.type == "meta"


def test_rows_are_those_of_the_subjects(store):
    assert store.rows(["d/2", "d/0"]).tolist() == [0, 1, 4, 5]
    assert store.rows([]).tolist() == []


def test_a_broken_cache_file_is_named(store, tmp_path):
    (tmp_path / "2.safetensors").write_bytes(b"half")
    with pytest.raises(MefusionError, match=r"2\.safetensors cannot be read .*mefusion-prepare"):
        ClipStore(store.index, tmp_path, **SEEN)


# Test windows.


def test_test_windows_cover_every_phase_from_the_centre(store):
    windows = TestWindows(store, np.array([1, 3]), size=24)
    assert len(windows) == 3  # strides 2 and 1
    batch = windows.__getitems__([0, 1, 2])
    assert batch.clip.tolist() == [1, 1, 3]
    for row, (clip, start) in enumerate([(1, 0), (1, 1), (3, 0)]):
        stride = store.index["stride"][clip]
        expected = store.arrays[clip]["frames"][start::stride, 8:32, 8:32][:3]
        np.testing.assert_array_equal(batch.inputs[row, :, 0], expected)
        np.testing.assert_array_equal(
            batch.targets["landmarks"][row], store.arrays[clip]["landmarks"][start::stride][1:3] - (8, 8)
        )


# Training windows.


def corner(store, batch, row):
    """(top, left, mirrored) of a training window."""
    frames = store.arrays[int(batch.clip[row])]["frames"]
    size = batch.inputs.shape[-1]
    mirrored = bool((batch.targets["flow"][row, :, 0] < 0).all())
    for t in range(len(frames)):
        for top in range(CANVAS - size + 1):
            for left in range(CANVAS - size + 1):
                cut = frames[t, top : top + size, left : left + size]
                if np.array_equal(cut[:, ::-1] if mirrored else cut, batch.inputs[row, 0, 0]):
                    return top, left, mirrored
    raise AssertionError("no such window")


def test_augmentation_reaches_what_it_says_and_no_more(store):
    training = TrainingWindows(store, size=30, augmentation=Augmentation(crop_jitter=2, flip=True), seed=0)
    batch = training.__getitems__([(epoch, 0, 0, -1) for epoch in range(60)])
    corners = [corner(store, batch, row) for row in range(60)]
    tops, lefts, mirrored = zip(*corners, strict=True)
    assert set(tops) == set(lefts) == {3, 4, 5, 6, 7}
    assert 15 < sum(mirrored) < 45
    plain = TrainingWindows(store, size=30, augmentation=Augmentation(crop_jitter=0), seed=0)
    assert {corner(store, plain.__getitems__([(epoch, 0, 0, -1)]), 0) for epoch in range(5)} == {(5, 5, False)}


def test_jitter_of_half_the_margin_reaches_the_border(store):
    training = TrainingWindows(store, size=32, augmentation=Augmentation(crop_jitter=4), seed=0)
    batch = training.__getitems__([(epoch, 0, 0, 0) for epoch in range(80)])
    corners = {corner(store, batch, row)[:2] for row in range(80)}
    assert {top for top, _ in corners} == {left for _, left in corners} == set(range(9))


def test_jitter_beyond_the_canvas_is_refused(store):
    with pytest.raises(MefusionError, match="crop_jitter"):
        TrainingWindows(store, size=32, augmentation=Augmentation(crop_jitter=5), seed=0)


def same(one, other):
    return all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())


def test_a_training_window_depends_on_seed_epoch_number_and_clip_alone(store):
    def batch(seed=0, epoch=1, number=3, clip=1):
        windows = TrainingWindows(store, size=24, augmentation=Augmentation(crop_jitter=4, flip=True), seed=seed)
        windows.__getitems__([(0, 0, 2, -1)])  # what was asked before has no influence
        return windows.__getitems__([(epoch, number, clip, -1)])

    assert same(batch(), batch())
    for changed in ({"seed": 1}, {"epoch": 2}, {"number": 4}, {"clip": 4}):
        assert not same(batch(), batch(**changed))


def test_random_phases_take_turns(store):
    windows = TrainingWindows(store, size=24, augmentation=Augmentation(crop_jitter=0), seed=0)
    first = {windows.__getitems__([(epoch, 0, 1, -1)]).inputs[0, 0, 0].numpy().tobytes() for epoch in range(20)}
    assert len(first) == 2
    chosen = windows.__getitems__([(0, 0, 1, 1)])
    np.testing.assert_array_equal(chosen.inputs[0, 0, 0], store.arrays[1]["frames"][1, 8:32, 8:32])


# The sampler.


def epoch_of(store, clips, epoch, *, windows="random", seed=0, balanced=False):
    sampler = EpochSampler(store, np.array(clips), windows=windows, seed=seed, balanced=balanced)
    sampler.set_epoch(epoch)
    items = list(sampler)
    assert len(items) == len(sampler)
    assert [(item[0], item[1]) for item in items] == [(epoch, number) for number in range(len(items))]
    return [item[2:] for item in items]


def test_each_epoch_shows_every_training_clip_once(store):
    assert sorted(epoch_of(store, [0, 1, 2, 4, 5], 3)) == [(clip, -1) for clip in (0, 1, 2, 4, 5)]


def test_all_windows_are_every_phase_of_every_clip_and_first_ones_phase_0(store):
    assert sorted(epoch_of(store, [0, 1, 4], 0, windows="all")) == [(0, 0), (1, 0), (1, 1), (4, 0), (4, 1)]
    assert sorted(epoch_of(store, [0, 1, 4], 0, windows=Windows.first)) == [(0, 0), (1, 0), (4, 0)]
    test = TestWindows(store, np.array([0, 1]), size=24, windows=Windows.first)
    assert [(clip, phase) for clip, phase, _ in test.windows] == [(0, 0), (1, 0)]


def test_the_order_depends_on_seed_and_epoch_alone(store):
    clips = list(range(6))
    assert epoch_of(store, clips, 2) == epoch_of(store, clips, 2)
    orders = {tuple(epoch_of(store, clips, epoch, seed=seed)) for epoch in range(4) for seed in range(4)}
    assert len(orders) > 10


def test_a_balanced_epoch_shows_classes_alike_and_never_the_same_window_for_sure(store):
    clips = [0, 2, 4, 1]  # three of one class and one of the other
    counts, seen = dict.fromkeys(clips, 0), set()
    windows = TrainingWindows(store, size=24, augmentation=Augmentation(crop_jitter=4), seed=0)
    for epoch in range(300):
        items = epoch_of(store, clips, epoch, balanced=True)
        assert len(items) == len(clips)
        for number, (clip, phase) in enumerate(items):
            counts[clip] += 1
            if clip == 1 and epoch < 5:
                seen.add(windows.__getitems__([(epoch, number, clip, phase)]).inputs.numpy().tobytes())
    assert counts[1] / 1200 == pytest.approx(1 / 2, abs=0.05)
    for clip in (0, 2, 4):
        assert counts[clip] / 1200 == pytest.approx(1 / 6, abs=0.04)
    assert len(seen) > 5


# Views.


def view_of(tmp_path, name, image_size):
    return ClipStore(write_clips(tmp_path), tmp_path, **SEEN | {"view": make_view(name, image_size=image_size)})


@pytest.mark.parametrize("flip", [False, True])
def test_small_frames_come_with_the_dynamic_image_of_what_is_cut(tmp_path, flip):
    store = view_of(tmp_path, "small", 16)
    assert (store.canvas, store.phases(1)) == (20 + 2 * Small.margin, 2)
    assert store.centre(20).top == Small.margin  # nothing but what is prepared
    crop = Crop(2 + Small.margin, 3 + Small.margin, 16, flip)
    windows = [store.window(clip, store.phases(clip) - 1, crop) for clip in (1, 3)]
    batch = store.batch([1, 3], windows)
    frames = load_arrays(tmp_path / "1.safetensors")["frames_small"][1::2, 2:18, 3:19]
    np.testing.assert_array_equal(batch.inputs[0, :, 0], frames[..., ::-1] if flip else frames)
    assert batch.targets["dynamic_image"].shape == (2, 16, 16)
    for row in range(2):
        np.testing.assert_allclose(batch.targets["dynamic_image"][row], dynamic_image(batch.inputs[row, :, 0].numpy()))
    assert list(batch.targets) == ["dynamic_image"]


def test_a_flow_image_is_flow_and_strain_of_the_whole_canvas(tmp_path):
    store = view_of(tmp_path, "flow_image", 8)
    assert (store.canvas, store.phases(1)) == (8, 1)
    plain, mirrored = (store.window(1, 0, Crop(0, 0, 8, flip))["inputs"] for flip in (False, True))
    flow = load_arrays(tmp_path / "1.safetensors")["onset_apex_flow"].astype(np.float32)
    full = np.stack([*flow, optical_strain(flow)])
    np.testing.assert_allclose(plain, full.reshape(3, 8, 5, 8, 5).mean(axis=(2, 4)), atol=1e-5)
    np.testing.assert_allclose(mirrored, plain[..., ::-1] * np.array([-1, 1, 1])[:, None, None])
    # Of a mirrored flow the strain is that of the flow, mirrored: so the image is that of the mirrored flow.
    turned = flow[..., ::-1] * np.array([-1, 1])[:, None, None]
    np.testing.assert_allclose(optical_strain(turned), optical_strain(flow)[..., ::-1], atol=1e-5)


def test_an_unknown_view_is_named():
    with pytest.raises(MefusionError, match="view some is not known: choose from canvas, small, flow_image"):
        make_view("some", image_size=8)
