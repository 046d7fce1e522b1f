import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mefusion.common.errors import MefusionError
from mefusion.datasets.synthetic_motion import SyntheticMotionSource
from mefusion.synthetic.expressions import ACTION_UNITS, CONTROL_MIRROR, displacement
from mefusion.synthetic.mixtures import EXTRA_UNITS, MIXTURES, draw_expression
from mefusion.synthetic.motion.faces import FramedFace, Framing, mirrored_face, random_face
from mefusion.synthetic.motion.generate import subject_motion
from mefusion.synthetic.motion.nuisances import as_images, measured, smooth_noise
from mefusion.synthetic.motion.settings import MotionSettings
from mefusion.synthetic.portraits import load_portraits
from mefusion.synthetic.warps import sample

SMALL = MotionSettings(subjects=2, clips_per_class=2)
THREE = MIXTURES["three"]
CENTRED = Framing(eyes=0.35, mouth=0.7, interocular=0.5)


@pytest.fixture(scope="module")
def landmarks():
    return load_portraits(None, 256)[0].landmarks


def framed(landmarks, framing=CENTRED):
    return FramedFace(landmarks, framing, portrait_size=256, size=56)


def at_landmarks(face, flow):
    return sample(flow.transpose(1, 2, 0), face.landmarks)


def test_mixtures_are_of_known_units():
    for mixtures in (mixture for scheme in MIXTURES.values() for mixture in scheme.values()):
        assert min(mixtures.values()) > 0
        assert {unit for units in mixtures for unit in units} <= set(ACTION_UNITS)
    assert set(EXTRA_UNITS) <= set(ACTION_UNITS)


def test_an_expression_moves_as_its_action_units_say():
    rng = np.random.default_rng(0)
    for mixtures in THREE.values():
        for _ in range(100):
            expression = draw_expression(mixtures, rng)
            units = set(expression.action_units)
            assert any(set(known) <= units <= {*known, *EXTRA_UNITS} for known in mixtures)
            moved = np.flatnonzero(np.abs(expression.motion).sum(axis=1))
            points = {point for unit in units for point in ACTION_UNITS[unit]}
            assert set(moved) <= points | {int(CONTROL_MIRROR[point]) for point in points}


def test_shares_of_mixtures_and_of_one_sided_smiles():
    rng = np.random.default_rng(0)
    drawn = [draw_expression(THREE["positive"], rng) for _ in range(1500)]
    smiles = [each for each in drawn if 12 in each.action_units]
    assert len(smiles) / len(drawn) == pytest.approx(0.94, abs=0.02)
    left, right = (np.array([-each.motion[point, 1] for each in smiles]) for point in (48, 54))
    assert (left.mean(), right.mean()) == pytest.approx((0.6, 0.6), abs=0.06)
    weaker = np.minimum(left, right) / np.maximum(left, right)
    assert (weaker < 0.4).mean() == pytest.approx(0.35, abs=0.07)  # 0.3 are one-sided, and some lean as far


@pytest.mark.parametrize(
    ("unit", "points", "expected"),
    [
        (4, [19, 20, 21], (0, 1)),  # the brow goes down
        (1, [20, 21], (0, -1)),
        (12, [48], (-1, -1)),  # the left corner of the mouth goes left and up
        (12, [54], (1, -1)),
        (15, [48, 54], (0, 1)),
        (20, [54], (1, 0)),
        (9, [31, 35], (0, -1)),
        (26, [57, 8], (0, 1)),
    ],
)
def test_an_action_unit_moves_its_landmarks_its_way(landmarks, unit, points, expected):
    face = framed(landmarks)
    moved = at_landmarks(face, face.flow(displacement(ACTION_UNITS[unit])[None])[0])[points].mean(axis=0)
    for way, motion in zip(expected, moved, strict=True):
        assert way * motion > 0.2 if way else True
    assert np.abs(moved).max() <= 1.1


@pytest.mark.parametrize(("unit", "opens"), [(5, True), (7, False)])
def test_lids_open_and_close(landmarks, unit, opens):
    face = framed(landmarks)
    moved = at_landmarks(face, face.flow(displacement(ACTION_UNITS[unit])[None])[0])
    change = moved[[40, 41, 46, 47], 1].mean() - moved[[37, 38, 43, 44], 1].mean()
    assert change > 0.2 if opens else change < -0.2


def test_a_face_is_where_its_framing_says(landmarks):
    face = framed(landmarks)
    left, right, mouth = (
        face.landmarks[part].mean(axis=0) + 0.5 for part in (range(36, 42), range(42, 48), range(48, 68))
    )
    assert (left + right)[1] / 2 == pytest.approx(0.35 * 56)
    assert (left + right)[0] / 2 == pytest.approx(0.5 * 56)
    assert right[0] - left[0] == pytest.approx(0.5 * 56)
    assert right[1] == pytest.approx(left[1], abs=1e-6)
    assert mouth[1] == pytest.approx(0.7 * 56)


def test_the_motion_of_a_mirrored_face_is_the_mirrored_motion(landmarks):
    rng = np.random.default_rng(3)
    motion = np.stack([draw_expression(mixture, rng).motion for mixture in THREE.values()])
    plain = framed(landmarks)
    mirrored = framed(mirrored_face(landmarks, size=256))
    expected = plain.flow(motion)[..., ::-1] * np.array([-1, 1], np.float32)[:, None, None]
    found = mirrored.flow(motion[:, CONTROL_MIRROR] * (-1, 1))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    np.testing.assert_allclose(mirrored.features, plain.features[:, ::-1], atol=1e-4)


def test_the_image_of_a_mirrored_flow_is_mirrored():
    rng = np.random.default_rng(0)
    flow = smooth_noise(rng, (2, 2, 56, 56), 4.0)
    plain = as_images(flow, size=28).astype(int)
    turned = as_images(flow[..., ::-1] * np.array([-1, 1], np.float32)[:, None, None], size=28).astype(int)
    assert np.abs(turned[..., 0] - (255 - plain[:, :, ::-1, 0])).max() <= 1
    np.testing.assert_array_equal(turned[..., 1], plain[:, :, ::-1, 1])
    assert np.abs(turned[..., 2] - plain[:, :, ::-1, 2]).max() <= 2


@pytest.mark.parametrize("amplitude", [0.5, 3.0])
def test_the_landmark_that_moves_most_moves_by_the_amplitude(landmarks, amplitude):
    rng = np.random.default_rng(0)
    face = framed(random_face(landmarks, rng, size=256))
    flow = amplitude * face.flow(np.stack([draw_expression(THREE["positive"], rng).motion for _ in range(4)]))
    reach = [np.linalg.norm(at_landmarks(face, each), axis=1).max() for each in flow]
    np.testing.assert_allclose(reach, amplitude, rtol=0.06)  # between pixels
    one, other = (subject_motion(replace(SMALL, amplitude=each), 0).exact for each in (1.0, amplitude))
    np.testing.assert_allclose(other, amplitude * one, rtol=1e-5, atol=1e-6)


def test_without_noise_a_field_is_the_motion_alone():
    motion = subject_motion(replace(SMALL, noise=0), 0)
    np.testing.assert_array_equal(motion.flow, motion.exact)
    noisy = subject_motion(SMALL, 0)
    np.testing.assert_array_equal(noisy.exact, motion.exact)
    assert np.abs(noisy.flow - noisy.exact).max() > 0.05


def test_noise_has_the_deviation_and_the_length_it_is_asked_for():
    rng = np.random.default_rng(0)
    field = smooth_noise(rng, (40, 56, 56), 3.0)
    assert field.std() == pytest.approx(1, rel=0.05)
    assert field.mean() == pytest.approx(0, abs=0.05)
    neighbours = (field[:, :, :-6] * field[:, :, 6:]).mean()
    assert neighbours == pytest.approx(np.exp(-(6**2) / (4 * 3**2)), abs=0.06)
    still = measured(np.zeros((20, 2, 56, 56), np.float32), rng, level=1)
    assert 0.02 < still.std() < 0.3


def test_the_same_seed_gives_the_same_images_and_another_seed_others():
    one, again, other = (subject_motion(settings, 1) for settings in (SMALL, SMALL, replace(SMALL, seed=1)))
    np.testing.assert_array_equal(one.images, again.images)
    assert one.action_units == again.action_units
    assert (one.images != other.images).mean() > 0.5
    assert (one.images != subject_motion(SMALL, 0).images).mean() > 0.5


@pytest.mark.parametrize("size", [28, 56, 112])
def test_images_have_their_size_and_use_the_whole_range(size):
    images = subject_motion(replace(SMALL, size=size), 0).images
    assert images.shape == (6, size, size, 3)
    assert images.dtype == np.uint8
    assert (images.min(axis=(1, 2)) == 0).all()
    assert (images.max(axis=(1, 2)) == 255).all()


def test_thousands_are_made_in_a_minute():
    subject_motion(SMALL, 0)
    started = time.process_time()
    made = len(subject_motion(MotionSettings(), 0).images)
    assert made == 36
    assert 60 * made / (time.process_time() - started) > 2000


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"size": 30}, r"data.size=30: choose from 28, 56, 112"),
        ({"subjects": 0}, "data.subjects=0: give a whole number from 1 up"),
        ({"amplitude": 0}, "data.amplitude=0: give a number above 0"),
        ({"noise": -1}, "data.noise=-1"),
        ({"eyes": [0.3]}, r"data.eyes=\[0.3\]: give the smallest and the largest"),
        ({"eyes": [0.5, 0.3]}, "between 0 and 1"),
        ({"eyes": [0.2, 0.65]}, "the mouth must be below the eyes"),
        ({"seed": -1}, "data.seed=-1"),
    ],
)
def test_settings_that_make_no_sense_are_named(given, sentence):
    with pytest.raises(MefusionError, match=sentence):
        MotionSettings(**given)


def test_a_set_on_disk_has_its_labels_and_is_made_once(tmp_path):
    source = SyntheticMotionSource(root=str(tmp_path), subjects=2, clips_per_class=2)
    assert source.digest() is None
    table = source.table(workers=1)
    assert len(table) == 12
    assert table["subject"].nunique() == 2
    assert set(table["emotion"]) == {"negative", "positive", "surprise"}
    motion = subject_motion(source.settings, 1)
    row = table.set_index("clip_id").loc["sub002_positive_02"]
    np.testing.assert_array_equal(np.array(Image.open(row["path"])), motion.images[3])
    manifest = pd.read_csv(source.folder / "manifest.csv", dtype=str).set_index("clip_id")
    assert manifest.loc["sub002_positive_02", "action_units"] == "+".join(map(str, motion.action_units[3]))
    written = (source.folder / "manifest.csv").stat().st_mtime_ns
    source.table(workers=1)
    assert (source.folder / "manifest.csv").stat().st_mtime_ns == written
    assert SyntheticMotionSource(root=str(tmp_path), subjects=2, noise=0.5).folder != source.folder
