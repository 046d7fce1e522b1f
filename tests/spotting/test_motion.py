import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from mefusion.faces.alignment import eye_centres, transform
from mefusion.faces.detectors import make_backend
from mefusion.spotting import motion
from mefusion.spotting.motion import HEIGHT, OWNERS, REGIONS, WIDTH, Reference, crop_matrix, head_motion

AFFINE = st.tuples(*[st.floats(-3, 3)] * 2, *[st.floats(-1, 1)] * 4)


@pytest.fixture(scope="module")
def face():
    """A grey portrait whose inter-ocular distance is 100 px or so, and its landmarks."""
    picture = cv2.resize(astronaut()[:240, 120:340], None, fx=2.5, fy=2.5, interpolation=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    finder = make_backend("dlib")
    return grey, finder.predict(grey, finder.detect(grey))


def moved(grey, matrix):
    return cv2.warpAffine(grey, matrix, grey.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def test_the_crop_has_level_eyes_at_their_place_100_px_apart(face):
    _, landmarks = face
    left, right = (transform(eye, crop_matrix(landmarks)) for eye in eye_centres(landmarks))
    assert right - left == pytest.approx((100, 0), abs=1e-9)
    assert (left + right) / 2 == pytest.approx(motion.EYES, abs=1e-9)


def test_a_still_face_does_not_move(face):
    reference = Reference.of(*face)
    assert np.abs(reference.displacement(*face)).max() < 0.05


@pytest.mark.parametrize("angle", [0, 4])
@pytest.mark.parametrize("scale", [1, 1.03])
def test_the_motion_of_the_head_is_no_expression(face, angle, scale):
    grey, landmarks = face
    middle = tuple(landmarks.mean(0))
    reference = Reference.of(grey, landmarks)
    for step in np.linspace(0, 1, 9)[1:]:
        turn = cv2.getRotationMatrix2D(middle, step * angle, 1 + step * (scale - 1)) + step * np.array(
            [[0, 0, 15], [0, 0, -9]]
        )
        found = reference.displacement(moved(grey, turn), transform(landmarks, turn))
    assert np.abs(found).max() < 0.6  # % of the inter-ocular distance; the head moved by 15


def test_a_mouth_corner_that_moves_is_found_where_it_is_and_nowhere_else(face):
    grey, landmarks = face
    unit = np.linalg.norm(np.subtract(*eye_centres(landmarks))) / 100  # px for 1 %
    y, x = np.mgrid[: grey.shape[0], : grey.shape[1]].astype(np.float32)
    near = np.exp(-0.5 * ((x - landmarks[48, 0]) ** 2 + (y - landmarks[48, 1]) ** 2) / (12 * unit) ** 2)
    lifted = cv2.remap(grey, x, (y + 4 * unit * near).astype(np.float32), cv2.INTER_CUBIC)
    found = Reference.of(grey, landmarks).displacement(lifted, landmarks)
    names = [list(REGIONS)[owner] for owner in OWNERS]
    corner = found[names.index("mouth_left")]
    assert -4.2 < corner[1] < -2.5  # up; the flow is smooth, and takes a third off a motion as narrow as this
    assert abs(corner[0]) < 0.6
    assert np.abs(found[[name.startswith("brow") for name in names]]).max() < 0.4
    assert np.abs(found[names.index("mouth_right")]).max() < 0.5


@given(AFFINE)
@settings(max_examples=25, deadline=None)
def test_the_head_motion_is_the_affine_one_although_a_third_of_the_face_moves_otherwise(numbers):
    truth = np.array(numbers).reshape(3, 2)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    flow = np.stack([np.ones(rows.shape), (columns - 120) / 100, (rows - 150) / 100], axis=-1) @ truth
    flow[190:] += (0, -6)  # the mouth
    flow += np.random.default_rng(0).normal(0, 0.05, flow.shape)
    assert head_motion(flow) == pytest.approx(truth, abs=0.15)


def test_the_mean_of_the_strongest_is_that_worked_by_hand():
    flow = np.zeros((1, 10, 2))
    flow[0, 3], flow[0, 7] = (3, 0), (0, 4)
    assert motion.mean_of_strongest(flow) == pytest.approx(np.array([[1.5, 2.0]]))


@given(st.lists(st.tuples(st.floats(-50, 400), st.floats(-50, 400)), min_size=1, max_size=5))
def test_patches_lie_in_the_crop(points):
    rows, columns = motion._pixels(np.array(points))
    assert rows.shape == columns.shape == (len(points), motion.PATCH**2)
    assert rows.min() >= 0
    assert columns.min() >= 0
    assert rows.max() < HEIGHT
    assert columns.max() < WIDTH
