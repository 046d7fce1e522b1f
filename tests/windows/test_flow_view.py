"""What models of flow images see: channels, normalisation, mirrored test windows, augmentation."""

import numpy as np
import pandas as pd
import pytest
import torch

from mefusion.clips.cache import save_arrays
from mefusion.common.errors import MefusionError
from mefusion.evaluation.folds import leave_one_subject_out
from mefusion.windows.augmentation import Augmentation
from mefusion.windows.datamodule import FoldData
from mefusion.windows.flow import FlowSettings, Normalisation
from mefusion.windows.settings import WindowSettings
from mefusion.windows.store import ClipStore
from mefusion.windows.views import make_view

SIGN = np.array([-1, 1, 1])[:, None, None]


def seen(image, size=4, **settings):
    """What a network sees of a ready-made flow image [3, S, S] uint8."""
    flow = FlowSettings(**settings)
    return make_view("flow_image", image_size=size, flow=flow).take({"flow_image": image})["flow_image"]


def image_of(*values):
    """An image of 2 x 2 px, with the same values in each channel."""
    return np.broadcast_to(np.array(values, np.uint8).reshape(2, 2), (3, 2, 2))


def test_each_image_is_stretched_to_its_own_range():
    # 50 to 250: 100 is a quarter of the way up. The middle of the flow's range is 0, strain begins at 0.
    found = seen(image_of(50, 100, 150, 250), size=2, normalisation=Normalisation.stretched)
    np.testing.assert_allclose(found[0], [[-0.5, -0.25], [0, 0.5]], atol=1e-6)
    np.testing.assert_allclose(found[2], [[0, 0.25], [0.5, 1]], atol=1e-6)


def test_each_image_is_standardised_by_itself():
    # Median 70; mean 80, and 60, 20, 0 and 80 from it, the mean square of which is 2600.
    found = seen(image_of(20, 60, 80, 160), size=2, normalisation=Normalisation.standardised)
    std = 2600**0.5
    np.testing.assert_allclose(found[0], np.array([[-50, -10], [10, 90]]) / std, rtol=1e-5)
    np.testing.assert_allclose(found[2], np.array([[20, 60], [80, 160]]) / std, rtol=1e-5)


@pytest.mark.parametrize("normalisation", Normalisation)
def test_without_strain_its_channel_is_zero(normalisation):
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    with_strain, without = (seen(image, strain=strain, normalisation=normalisation) for strain in (True, False))
    np.testing.assert_array_equal(without, with_strain * [[[1]], [[1]], [[0]]])
    assert with_strain[2].any()


@pytest.mark.parametrize("normalisation", ["stretched", "standardised"])
def test_no_motion_is_zero(normalisation):
    found = seen(np.full((3, 4, 4), 128, np.uint8), normalisation=Normalisation(normalisation))
    np.testing.assert_array_equal(found[:2], 0)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("normalisation", Normalisation)
def test_a_mirrored_image_looks_as_what_is_seen_mirrored(normalisation):
    rng = np.random.default_rng(0)
    view = make_view("flow_image", image_size=8, flow=FlowSettings(normalisation=normalisation))
    flow = rng.normal(size=(2, 8, 8)).astype(np.float32)
    turned = flow[..., ::-1] * SIGN[:2]
    plain, mirrored = (view.take({"onset_apex_flow": each})["flow_image"] for each in (flow, turned))
    np.testing.assert_allclose(mirrored, plain[..., ::-1] * SIGN, atol=1e-5)


def test_options_of_flow_images_are_for_models_of_them():
    with pytest.raises(MefusionError, match=r"model\.flow is for models of flow images"):
        make_view("canvas", image_size=8, flow=FlowSettings(strain=False))


# Windows.


@pytest.fixture
def store_of(tmp_path):
    """Makes a store of two clips of each of three subjects, by the view's settings."""
    rows, rng = [], np.random.default_rng(0)
    for number in range(6):
        save_arrays(tmp_path / f"{number}.safetensors", {"flow_image": rng.integers(0, 256, (3, 8, 8), np.uint8)}, {})
        row = {"subject": f"d/{number // 2}", "clip_id": str(number), "file": f"{number}.safetensors"}
        rows.append(row | {"stride": 1, "apex_place": 0, "label": "ab"[number % 2]})

    def make(**settings):
        view = make_view("flow_image", image_size=8, flow=FlowSettings(**settings))
        return ClipStore(pd.DataFrame(rows), tmp_path, classes=("a", "b"), clip_length=4, view=view)

    return make


def data_of(store, **changes):
    fold = leave_one_subject_out(store.index["subject"])[1]
    return FoldData(store, fold, WindowSettings(batch_size=4, windows="first", **changes), image_size=8, seed=0)


def test_a_test_clip_is_predicted_mirrored_too(store_of):
    data = data_of(store_of(mirror_test=True))
    assert [clip for clip, *_ in data.test_windows.windows] == [2, 2, 3, 3]
    inputs = data.test_windows.__getitems__(range(4)).inputs.numpy()
    np.testing.assert_array_equal(inputs[1::2], inputs[::2, ..., ::-1] * SIGN)
    assert len(data_of(store_of()).test_windows) == 2


@pytest.mark.parametrize("normalisation", ["stretched", "standardised"])
def test_images_that_are_normalised_stay_as_they_are(store_of, normalisation):
    store = store_of(normalisation=Normalisation(normalisation))
    data = data_of(store)
    images = [store.arrays[number]["flow_image"] for number in (0, 1, 4, 5)]
    assert torch.equal(data.whole_training().inputs, torch.tensor(np.stack(images)))


def test_a_network_is_fitted_to_the_training_subjects_alone(store_of):
    data = data_of(store_of(), flip=True)
    batch = data.whole_training()
    assert batch.clip.tolist() == [0, 0, 1, 1, 4, 4, 5, 5]
    assert batch.label.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    # By the training subjects' mean and standard deviation, as a network that is trained sees them.
    plain = batch.inputs[::2]
    torch.testing.assert_close(plain.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.std((0, 2, 3), correction=0), torch.ones(3))


def test_an_epoch_has_several_copies_of_each_window(store_of):
    data = data_of(store_of(), copies=3, amplitude=0.2)
    clips = [batch.clip.tolist() for batch in data.train_dataloader()]
    assert [len(part) for part in clips] == [4, 4, 4]
    assert sorted(clip for part in clips for clip in part) == sorted([0, 1, 4, 5] * 3)
    first = torch.cat([batch.inputs[batch.clip == 0] for batch in data.train_dataloader()])
    assert len(first.flatten(1).unique(dim=0)) == 3  # each augmented anew


def test_fewer_than_one_copy_is_refused():
    with pytest.raises(MefusionError, match=r"model\.training\.copies=0"):
        WindowSettings(copies=0)


# Augmentation.


class Drawn:
    """Random numbers that are always the same: the ends of the ranges."""

    def uniform(self, low, high, size=None):
        return high if size is None else np.full(size, high)

    def standard_normal(self):
        return 1.0


def test_an_image_that_is_not_changed_stays_as_it_is():
    image = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(Augmentation().change_flow(image, np.random.default_rng(0)), image, atol=1e-6)


def test_a_shift_moves_the_motion_and_repeats_the_edge():
    image = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    moved = Augmentation(shift=2).change_flow(image, Drawn())
    np.testing.assert_allclose(moved[:, 2:, 2:], image[:, :-2, :-2], atol=1e-6)
    np.testing.assert_allclose(moved[:, 0, 0], image[:, 0, 0], atol=1e-6)


def test_a_quarter_turn_turns_place_and_direction():
    image = np.zeros((3, 9, 9), np.float32)
    image[:, 4, 7] = 2, 0, 5  # on the right of the centre, to the right
    turned = Augmentation(rotation=90).change_flow(image, Drawn())
    expected = np.zeros((3, 9, 9))
    expected[:, 1, 4] = 0, -2, 5  # above the centre, upwards
    np.testing.assert_allclose(turned, expected, atol=1e-5)


def test_a_larger_face_moves_more_and_amplitude_changes_all():
    image = np.full((3, 8, 8), 2, np.float32)
    np.testing.assert_allclose(Augmentation(scale=0.5).change_flow(image, Drawn())[:, 4, 4], [3, 3, 2], rtol=1e-5)
    found = Augmentation(amplitude=0.2).change_flow(image, Drawn())
    np.testing.assert_allclose(found, 2 * np.exp(0.2), rtol=1e-5)


@pytest.mark.parametrize("change", [{"rotation": 8}, {"scale": 0.1}, {"shift": 2}, {"amplitude": 0.2}])
def test_changes_of_flow_are_for_flow_images(change):
    (name,) = change
    with pytest.raises(MefusionError, match=f"model.training.{name}=.* changes flow images, but this model's input is"):
        Augmentation(**change).check_view(make_view("canvas", image_size=8))
    Augmentation(**change).check_view(make_view("flow_image", image_size=8))


@pytest.mark.parametrize("change", [{"rotation": -1}, {"scale": 1}, {"shift": -1}, {"amplitude": -0.1}])
def test_an_impossible_change_of_flow_is_one_sentence(change):
    (name,) = change
    with pytest.raises(MefusionError, match=f"model.training.{name}="):
        Augmentation(**change)
