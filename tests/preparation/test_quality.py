import numpy as np
import pytest

from mefusion.preparation.quality import (
    WARNINGS,
    Measures,
    edge_distance,
    mean_shape,
    measure,
    shape_distance,
    warnings_of,
)


def face(seed=0):
    """Landmarks on a canvas of 144 px whose eyes are 40 px apart."""
    points = np.random.default_rng(seed).uniform(40, 104, (68, 2))
    points[36:42], points[42:48] = (52, 60), (92, 60)
    points[:4] = (30, 30), (114, 30), (30, 124), (114, 124)  # so that the face is wide
    return points


def turned(points, angle=0.3, scale=2.0, shift=(5, -7)):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + shift


def test_distance_from_the_edge_by_hand():
    # The nearest landmark is 20 px from the lower edge of 144 px, whose last row is 143.
    assert edge_distance(face()[None], height=144, width=200) == pytest.approx((143 - 124) / 40)
    assert edge_distance(face()[None], height=120, width=200) == pytest.approx((119 - 124) / 40)


def test_a_shape_is_compared_after_it_is_moved_turned_and_scaled():
    assert shape_distance(face(), turned(face())) == pytest.approx(0, abs=1e-6)
    other = face()
    other[30] += (40, 0)  # one of 68 landmarks, one eye distance away
    assert shape_distance(other, face()) == pytest.approx(1 / np.sqrt(68), rel=0.05)


def test_the_mean_shape_is_that_of_most():
    shapes = [face(), turned(face()), turned(face(), angle=-0.2), face(seed=1)]
    assert shape_distance(face(), mean_shape(shapes)) < 0.01
    assert shape_distance(face(seed=1), mean_shape(shapes)) > 0.2


def arrays_of(flow, shapes=None):
    flow = np.broadcast_to(np.asarray(flow, np.float16), (7, 2, 144, 144))
    shapes = np.repeat(face()[None], 8, axis=0) if shapes is None else shapes
    return {"flow": flow, "landmarks": shapes.astype(np.float32)}


def test_motion_of_the_head_is_told_from_that_of_an_expression():
    head = np.broadcast_to(np.array([3.0, -4.0])[:, None, None], (2, 144, 144))
    seen = measure(arrays_of(head), stride=1)
    assert (seen.motion, seen.head) == (pytest.approx(5), pytest.approx(5, rel=0.01))
    mouth = np.zeros((2, 144, 144))
    mouth[1, 90:, :] = 2  # the lower third of the face goes down
    seen = measure(arrays_of(mouth), stride=1)
    assert (seen.motion, seen.head) == (pytest.approx(2), pytest.approx(0, abs=0.05))
    seen = measure(arrays_of(np.zeros((2, 144, 144))), stride=1)
    assert (seen.motion, seen.head) == (0, 0)


def test_clips_without_landmarks_or_flow_are_measured_as_far_as_they_can_be():
    flow = {"flow": arrays_of(np.ones((2, 144, 144)))["flow"]}
    assert measure(flow, stride=1).head == pytest.approx(np.sqrt(2), rel=0.01)
    assert measure({"flow_image": np.zeros((3, 28, 28))}, stride=1) == Measures()


GOOD = {"n_frames": 8, "frames_read": 8, "frames_past_end": 0, "faces": 1, "frames_without_face": 0, "edge": 0.4}
SEEN = Measures(np.repeat(face()[None], 8, axis=0), motion=1.0, head=0.1)


def warned(row=(), measures=SEEN):
    return dict(warnings_of(GOOD | dict(row), measures, face()))


def test_a_good_clip_has_no_warning_nor_has_what_is_not_recorded():
    assert warned() == {}
    assert warned(dict.fromkeys(set(GOOD) - {"n_frames"})) == {}
    assert warned({"edge": float("nan")}, Measures()) == {}


@pytest.mark.parametrize(
    ("kind", "row", "sentence"),
    [
        ("faces", {"faces": 3}, "3 faces in the picture"),
        ("edge", {"edge": -0.2}, "a landmark is outside the picture"),
        ("edge", {"edge": 0.05}, "a landmark is 0.05 eye distances from its edge"),
        ("interpolated", {"frames_without_face": 2}, "2 of 8 frames without a face"),
        ("interpolated", {"frames_read": 5}, "5 frames stretched to 8"),
        ("past_end", {"frames_past_end": 12}, "the clip ends 12 frames before its offset"),
    ],
)
def test_what_preparation_recorded_is_warned_of(kind, row, sentence):
    assert warned(row) == {kind: sentence}
    assert kind in WARNINGS


def test_what_the_arrays_show_is_warned_of():
    shapes = np.repeat(face()[None], 8, axis=0)
    shapes[3] = face(seed=1)
    assert "jumps by" in warned(measures=Measures(shapes, motion=1, head=0))["landmarks"]
    assert "from the mean shape" in warned(measures=Measures(shapes[[3] * 8], motion=1, head=0))["landmarks"]
    assert warned(measures=Measures(SEEN.shapes, motion=0.0, head=0)) == {"still": "the largest motion is 0.00 px"}
    assert set(warned(measures=Measures(SEEN.shapes, motion=2, head=0.8))) == {"head"}
