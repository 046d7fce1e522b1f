"""A face followed through a clip, by a finder that is told what to see."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mefusion.common.errors import MefusionError
from mefusion.faces.alignment import fill_missing
from mefusion.faces.detectors import FaceFinder, track_face

SIDE = 40
FACE = 50 + 150 * (gaussian_filter(np.random.default_rng(0).standard_normal((SIDE, SIDE)), 3) > 0)


def picture(left=20, top=30, light=1.0):
    """A frame that shows the face there, or nothing where `left` is None."""
    frame = np.full((120, 160), 90.0)
    if left is not None:
        frame[top : top + SIDE, left : left + SIDE] = FACE
    return np.repeat((light * frame).astype(np.uint8)[..., None], 3, axis=2)


class Finder:
    """Finds the face by its pixels; its landmarks stand where the face does, wherever it is looked for."""

    def __init__(self):
        self.detected = 0

    def detect(self, frame):
        self.detected += 1
        seen = np.argwhere(frame[..., 0] != frame[0, 0, 0])
        if not len(seen):
            return None
        (top, left), (bottom, right) = seen.min(0), seen.max(0) + 1
        return left, top, right, bottom

    def predict(self, frame, box):
        left, top, right, bottom = box
        corners = np.array([(left + 10, top + 10), (right - 10, bottom - 10)])
        return np.repeat(corners, (42, 26), axis=0).astype(float)


def tracked(*frames):
    finder = Finder()
    return track_face(frames, finder), finder.detected


def where(landmarks):
    """Left edge of the face in each frame, None where there is none."""
    return [None if np.isnan(points).all() else points[0, 0] - 10 for points in landmarks]


def test_a_face_that_stays_is_detected_once():
    landmarks, detected = tracked(*[picture()] * 6)
    assert where(landmarks) == [20] * 6
    assert detected == 1


def test_light_that_changes_does_not_lose_it():
    assert tracked(*(picture(light=light) for light in (1, 0.5, 1.2)))[1] == 1


def test_a_face_that_jumps_is_detected_again_and_kept():
    landmarks, detected = tracked(picture(20), picture(20), picture(90), picture(90))
    assert where(landmarks) == [20, 20, 90, 90]
    assert detected == 2


def test_a_face_that_goes_is_missing_until_it_comes_back():
    landmarks, detected = tracked(picture(), picture(None), picture(None), picture(), picture())
    assert where(landmarks) == [20, None, None, 20, 20]
    assert detected == 3  # its box is still right when it comes back


def test_frames_before_the_first_detection_are_looked_at_too():
    class Late(Finder):
        def detect(self, frame):
            return super().detect(frame) if self.detected else setattr(self, "detected", 1)

    assert where(track_face([picture()] * 3, Late())) == [20, 20, 20]  # the first frame's was overlooked
    landmarks, _ = tracked(picture(None), picture(), picture())
    assert where(landmarks) == [None, 20, 20]


def test_landmarks_that_leave_the_box_are_found_anew():
    class Slipping(Finder):
        calls = 0

        def predict(self, frame, box):
            self.calls += 1
            return super().predict(frame, box) + (30 if self.calls == 2 else 0)

    finder = Slipping()
    assert where(track_face([picture()] * 3, finder)) == [20, 20, 20]
    assert (finder.detected, finder.calls) == (2, 4)


def test_landmarks_without_eyes_are_none():
    class Blind(Finder):
        def predict(self, frame, box):
            return np.zeros((68, 2))

    assert where(track_face([picture()] * 2, Blind())) == [None, None]


def test_a_clip_without_a_face_has_no_landmarks():
    assert tracked(picture(None), picture(None)) == (None, 2)


def test_a_backend_that_finds_no_face_says_so_by_its_name():
    class Named(Finder, FaceFinder):
        name = "named"

        def detect_all(self, frame):
            box = Finder.detect(self, frame)
            return [box, (0, 0, 5, 5)] if box and frame[..., 0].max() > 150 else [box] if box else []

    assert where(Named().landmarks([picture()])) == [20]
    with pytest.raises(MefusionError, match="named finds no face in any frame"):
        Named().landmarks([picture(None)])
    assert Named().find([picture(light=0.5)]).faces == 1
    assert Named().find([picture(None), picture()]).faces == 2
    # Where the face is lost it is detected again, and the faces there count too.
    assert Named().find([picture(20, light=0.5), picture(90)]).faces == 2


# Frames without a face.


def a_course(*values):
    return np.array([np.full((68, 2), np.nan if v is None else v, float) for v in values])


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ((1, None, 3), (1, 2, 3)),
        ((0, None, None, 6, None, 8), (0, 2, 4, 6, 7, 8)),
        ((None, None, 5, 6), (5, 5, 5, 6)),
        ((5, 6, None, None), (5, 6, 6, 6)),
    ],
)
def test_missing_landmarks_by_hand(given, filled):
    np.testing.assert_allclose(fill_missing(a_course(*given), limit=2), a_course(*filled))


def test_landmarks_that_are_all_there_are_the_same():
    landmarks = a_course(1, 2, 4)
    assert fill_missing(landmarks, limit=0) is landmarks


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ((1, None, None, 4), ["2 of its 4 frames in a row, from its frame 2 on", "faces.max_missing=1"]),
        ((None, None, None, 4, None), ["3 of its 5 frames in a row, from its frame 1 on"]),
        ((1, 2, None, None), ["2 of its 4 frames in a row, from its frame 3 on"]),
    ],
)
def test_too_many_missing_in_a_row_are_told(given, parts):
    with pytest.raises(MefusionError) as error:
        fill_missing(a_course(*given), limit=1)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_clip_without_any_landmarks_is_refused_whatever_the_limit():
    with pytest.raises(MefusionError, match="3 of its 3 frames"):
        fill_missing(a_course(None, None, None), limit=99)
