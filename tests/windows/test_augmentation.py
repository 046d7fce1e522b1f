import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mefusion.clips.cache import save_arrays
from mefusion.clips.motion import dynamic_image
from mefusion.common.errors import MefusionError
from mefusion.windows.augmentation import Augmentation
from mefusion.windows.cutting import Crop, Span
from mefusion.windows.store import ClipStore, EpochSampler, TestWindows, TrainingWindows
from mefusion.windows.views import make_view

CLASSES = ("negative", "surprise")
LENGTH = 4  # frames a window


def write(folder, *clips):
    """Index of small clips of (stride, apex_place); frame t has the grey level 60 + 2 t, and a mark that changes."""
    rows = []
    for number, (stride, apex) in enumerate(clips):
        frames = np.full((LENGTH * stride, 10, 10), 60, np.uint8)
        frames += 2 * np.arange(LENGTH * stride, dtype=np.uint8)[:, None, None]
        frames[:, 2, 7] += np.array([t * t % 40 for t in range(len(frames))], np.uint8)
        save_arrays(folder / f"{number}.safetensors", {"frames_small": frames}, {})
        row = {"subject": f"d/{number}", "clip_id": str(number), "file": f"{number}.safetensors", "stride": stride}
        rows.append(row | {"label": CLASSES[number % 2], "apex_place": apex})
    return pd.DataFrame(rows)


def store_of(folder, *clips, dual_phase=False):
    view = make_view("small", image_size=10, dual_phase=dual_phase)
    return ClipStore(write(folder, *clips), folder, classes=CLASSES, clip_length=LENGTH, view=view)


def times(inputs):
    """Frames of a window [..., T, 1, S, S], by their grey level."""
    return ((inputs[..., 0, -1, -1].numpy().astype(int) - 60) // 2).tolist()


def training(store, **changes):
    return TrainingWindows(store, size=10, augmentation=Augmentation(**changes), seed=0)


# Moments.


@given(
    length=st.integers(2, 9),
    stride=st.integers(1, 6),
    jitter=st.integers(0, 9),
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_moved_ends_stay_near_within_the_clip_and_apart(length, stride, jitter, seed, data):
    end = length * stride - 1
    first = data.draw(st.integers(0, end - 1))
    span = Span(first, data.draw(st.integers(first + 1, end)))
    moved = Augmentation(temporal_jitter=jitter).move_ends(span, np.random.default_rng(seed), end=end, length=length)
    assert 0 <= moved.first < moved.last <= end
    assert abs(moved.first - span.first) <= jitter
    assert abs(moved.last - span.last) <= jitter
    assert moved.last - moved.first >= min(length - 1, span.last - span.first)
    if moved.last - moved.first >= length - 1:  # then every frame of the window is another one
        found = np.rint(np.linspace(moved.first, moved.last, length))
        assert (np.diff(found) > 0).all()
    if jitter == 0:
        assert moved == span


def test_temporal_jitter_moves_where_windows_begin_and_end(tmp_path):
    store = store_of(tmp_path, (3, 1))  # windows 0 3 6 9, 1 4 7 10, 2 5 8 11
    batch = training(store, temporal_jitter=2).__getitems__([(epoch, 0, 0, 1) for epoch in range(100)])
    shown = times(batch.inputs)
    assert {window[0] for window in shown} == {0, 1, 2, 3}
    assert {window[-1] for window in shown} == {8, 9, 10, 11}
    for row, window in enumerate(shown):
        spread = np.rint(np.linspace(window[0], window[-1], LENGTH)).astype(int)
        assert window == spread.tolist()
        # The target is that of the frames that are shown.
        np.testing.assert_array_equal(
            batch.targets["dynamic_image"][row], dynamic_image(batch.inputs[row, :, 0].numpy())
        )
    assert times(training(store).__getitems__([(0, 0, 0, 1)]).inputs) == [[1, 4, 7, 10]]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_clip_of_a_window_s_length_leaves_no_moments_to_choose(tmp_path, stride):
    store = store_of(tmp_path, (stride, 1))
    batch = training(store, temporal_jitter=5).__getitems__([(epoch, 0, 0, 0) for epoch in range(30)])
    assert (len({tuple(window) for window in times(batch.inputs)}) == 1) == (stride == 1)


# Grey levels.


@pytest.mark.parametrize("flip", [False, True])
def test_contrast_and_brightness_are_the_same_for_all_frames_of_a_window(tmp_path, flip):
    store = store_of(tmp_path, (1, 1), (2, 1))
    windows = training(store, contrast=0.3, brightness=20, flip=flip)
    clean = training(store, flip=flip)
    items = [(epoch, number, number, 0) for epoch in range(40) for number in (0, 1)]
    changed, plain = windows.__getitems__(items), clean.__getitems__(items)
    lines = []
    for row in range(len(items)):
        x, y = plain.inputs[row].numpy().ravel() - 128.0, changed.inputs[row].numpy().ravel()
        slope, shift = np.polyfit(x, y, 1)
        np.testing.assert_allclose(slope * x + shift, y, atol=1e-3)
        lines.append((slope, shift - 128))
    slopes, shifts = np.transpose(lines)
    assert 0.7 <= slopes.min() < 0.8 < 1.2 < slopes.max() <= 1.3
    assert -20 <= shifts.min() < -13 < 13 < shifts.max() <= 20
    # Targets are those of the clean frames, cut and mirrored alike.
    np.testing.assert_array_equal(changed.targets["dynamic_image"], plain.targets["dynamic_image"])


def test_noise_is_of_each_pixel_alone_and_not_in_the_target(tmp_path):
    store = store_of(tmp_path, (1, 1))
    items = [(epoch, 0, 0, 0) for epoch in range(50)]
    noisy, plain = training(store, noise=3).__getitems__(items), training(store).__getitems__(items)
    noise = noisy.inputs - plain.inputs
    assert noise.std().item() == pytest.approx(3, rel=0.02)
    assert abs(noise.mean().item()) < 0.1
    pixels = noise.reshape(50, -1).numpy()
    assert np.abs(np.corrcoef(pixels)[np.triu_indices(50, 1)]).max() < 0.3
    np.testing.assert_array_equal(noisy.targets["dynamic_image"], plain.targets["dynamic_image"])


def test_values_stay_those_of_a_picture(tmp_path):
    store = store_of(tmp_path, (1, 1))
    inputs = training(store, noise=200).__getitems__([(0, 0, 0, 0)]).inputs
    assert (inputs.min(), inputs.max()) == (0, 255)


def test_what_is_drawn_depends_on_seed_epoch_and_number_alone(tmp_path):
    store = store_of(tmp_path, (3, 1), (3, 1))
    changes = {"temporal_jitter": 2, "contrast": 0.2, "brightness": 5, "noise": 2, "flip": True}

    def inputs(seed, epoch, number, others=()):
        windows = TrainingWindows(store, size=10, augmentation=Augmentation(**changes), seed=seed)
        return windows.__getitems__([*others, (epoch, number, 0, -1)]).inputs[-1].numpy().tobytes()

    assert inputs(0, 1, 2) == inputs(0, 1, 2, others=[(0, 0, 1, -1), (5, 5, 0, 0)])
    assert len({inputs(0, 1, 2), inputs(1, 1, 2), inputs(0, 2, 2), inputs(0, 1, 3)}) == 4


def test_all_is_off_by_default_and_draws_nothing(tmp_path):
    store = store_of(tmp_path, (3, 1))
    batch = training(store).__getitems__([(0, 0, 0, 2)])
    assert str(batch.inputs.dtype) == "torch.uint8"
    np.testing.assert_array_equal(batch.inputs[0, :, 0], store.centre(10)(store.arrays[0]["frames_small"][2::3]))


@pytest.mark.parametrize(
    ("view", "change", "sentence"),
    [
        ("small", {"contrast": 1}, "model.training.contrast=1: choose from 0 to below 1"),
        ("small", {"noise": -1}, "model.training.noise=-1: choose from 0 to 255"),
        ("small", {"brightness": 300}, "model.training.brightness=300"),
        ("small", {"temporal_jitter": -2}, "model.training.temporal_jitter=-2"),
        ("canvas", {"temporal_jitter": 2}, "model.training.temporal_jitter=2: .* windows=random"),
        ("flow_image", {"temporal_jitter": 2}, "model.training.temporal_jitter=2: .* flow"),
        ("flow_image", {"contrast": 0.1}, "model.training.contrast=0.1 changes grey levels, but this model's input"),
        ("flow_image", {"noise": 1}, "model.training.noise=1"),
    ],
)
def test_what_a_model_s_targets_do_not_allow_is_one_sentence(view, change, sentence):
    with pytest.raises(MefusionError, match=sentence):
        Augmentation(**change).check_view(make_view(view, image_size=8))


def test_frames_with_flow_may_change_their_grey_levels():
    Augmentation(contrast=0.1, brightness=3, noise=1).check_view(make_view("canvas", image_size=8))


# Dual phase.


def test_a_clip_has_a_window_before_its_apex_and_one_behind(tmp_path):
    store = store_of(tmp_path, (3, 6), dual_phase=True)
    assert store.spans == [[Span(0, 6), Span(6, 11)]]
    test = TestWindows(store, np.array([0]), size=10, windows="dual_phase")
    batch = test.__getitems__(range(len(test)))
    assert times(batch.inputs) == [[0, 2, 4, 6], [6, 8, 9, 11]]
    assert batch.clip.tolist() == [0, 0]
    assert not np.array_equal(batch.targets["dynamic_image"][0], batch.targets["dynamic_image"][1])
    items = [item[2:] for item in EpochSampler(store, np.array([0]), windows="dual_phase", seed=0)]
    assert sorted(items) == [(0, 0), (0, 1)]


def test_a_phase_shorter_than_a_window_shows_its_frames_more_than_once(tmp_path):
    store = store_of(tmp_path, (1, 1), dual_phase=True)
    assert times(store.batch([0], [store.window(0, 0, Crop(0, 0, 10))]).inputs) == [[0, 0, 1, 1]]


@pytest.mark.parametrize("apex", [7, 9])
def test_nothing_lies_behind_an_apex_at_the_end(tmp_path, apex):
    store = store_of(tmp_path, (2, apex), dual_phase=True)
    assert store.spans == [[Span(0, 7)]]


def test_jitter_moves_onset_and_apex(tmp_path):
    store = store_of(tmp_path, (4, 8), dual_phase=True)
    rising = times(training(store, temporal_jitter=1).__getitems__([(epoch, 0, 0, 0) for epoch in range(60)]).inputs)
    assert {window[0] for window in rising} == {0, 1}
    assert {window[-1] for window in rising} == {7, 8, 9}


def test_dual_phase_needs_a_dynamic_image():
    with pytest.raises(MefusionError, match=r"windows=dual_phase is for models of dynamic images"):
        make_view("canvas", image_size=8, dual_phase=True)
