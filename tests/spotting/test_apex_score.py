import cv2
import numpy as np
import pytest
from fake_recordings import Event, write_recording
from skimage.data import astronaut

from mefusion.clips.stream import Frame, Stream
from mefusion.faces.alignment import transform
from mefusion.faces.detectors import make_backend
from mefusion.faces.tracking import Face
from mefusion.spotting.apex_score import (
    EYE_MARGIN,
    HALVES,
    PARTS,
    SIZE,
    PairCurve,
    intervals_of_scores,
    motion_of_parts,
    scores_of,
    thresholds_of_scores,
)
from mefusion.spotting.recording import spot_recording
from mefusion.spotting.settings import Method, SpottingSettings

RATE = 30.0


@pytest.fixture(scope="module")
def face():
    """A grey portrait and its landmarks."""
    grey = cv2.cvtColor(np.ascontiguousarray(astronaut()[:300, 100:400]), cv2.COLOR_RGB2GRAY)
    finder = make_backend("dlib")
    return grey, finder.predict(grey, finder.detect(grey))


def scored(values):
    scores = scores_of(values, RATE)
    return intervals_of_scores(values, 0, thresholds_of_scores(scores, 0.55), RATE)


def test_the_head_and_the_eyes_do_not_count_and_a_mouth_does(face):
    grey, landmarks = face
    curve = PairCurve.begun(Frame(0, 0, lambda form: grey), Face(1, 0, (0, 0, 1, 1), landmarks))
    points = transform(landmarks, curve.matrix)
    flow = np.full((SIZE, SIZE, 2), (5.0, -3.0))
    assert motion_of_parts(flow, points) == pytest.approx(np.zeros(len(PARTS)))
    x, y = points[36:42].mean(0).astype(int)
    flow[y - EYE_MARGIN // 2 : y + EYE_MARGIN // 2, x - EYE_MARGIN // 2 : x + EYE_MARGIN // 2] += 10
    assert motion_of_parts(flow, points) == pytest.approx(np.zeros(len(PARTS)))
    flow[int(points[62, 1]) :] += (0, 2)
    brow, mouth = motion_of_parts(flow, points)
    assert brow == pytest.approx(0)
    assert mouth > 1


def test_a_still_face_that_drifts_has_no_score(face):
    grey, landmarks = face
    curve = None
    for number in range(45):
        shift = np.array([[1, 0, 0.4 * number], [0, 1, 0.0]])
        moved = cv2.warpAffine(grey, shift, grey.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        frame = Frame(number, number / RATE, lambda form, moved=moved: moved)
        shown = Face(1, 0, (0, 0, 1, 1), transform(landmarks, shift))
        if curve is None:
            curve = PairCurve.begun(frame, shown)
        else:
            curve.add(frame, shown)
    ((first, values),) = curve.pieces(RATE)
    assert first == pytest.approx(HALVES[0] / 2 * RATE, abs=1)
    assert values.shape[1:] == (len(HALVES), len(PARTS))
    assert values.max() < 1.0  # % of the inter-ocular distance; the head moved by 25


def test_a_peak_is_an_interval_of_twice_the_distance_around_it():
    values = np.full((300, len(HALVES), len(PARTS)), 0.1)
    values[100:106, 0, 1] = 2.0  # what a short motion of the mouth gives
    score, (event,) = scored(values)
    assert event.regions == ("mouth",)
    assert event.apex == pytest.approx(102.5 / RATE, abs=0.1)
    assert event.offset - event.onset == pytest.approx(2 * HALVES[0], abs=0.01)
    assert event.strength == pytest.approx(2.0)
    assert score.max() == pytest.approx(event.score)
    # A mean of .1 + .95 x 6 / 300, and a maximum of .1 + .95 x 6 / 13: .538 / (.119 + .55 x .419)
    assert event.score == pytest.approx(1.54, abs=0.01)


def test_of_a_micro_and_a_macro_interval_that_overlap_the_higher_score_is_kept():
    values = np.full((300, len(HALVES), len(PARTS)), 0.1)
    values[100:110, 1] = 3.0
    values[104:106, 0] = 0.2
    values[30:36, 0] = 0.6
    found = scored(values)[1]
    assert [round((each.offset - each.onset) / 2, 2) for each in found] == [*HALVES]


def test_k_says_how_far_apart_frames_are_and_how_long_an_interval_is(face):
    grey, landmarks = face
    curve = PairCurve.begun(
        Frame(0, 0, lambda form: grey), shown := Face(1, 0, (0, 0, 1, 1), landmarks), halves=(0.4, 1.0)
    )
    for number in range(1, 45):
        curve.add(Frame(number, number / RATE, lambda form: grey), shown)
    # The first pairs are of the frames at 0 and about .4 s, and at 0 and about 1 s.
    assert [times[0] for times in curve.times] == pytest.approx([0.2, 0.5], abs=0.02)
    values = np.full((300, len(HALVES), len(PARTS)), 0.1)
    values[100:106, 0, 1] = 2.0
    thresholds = thresholds_of_scores(scores_of(values, RATE, halves=(0.4, 1.0)), 0.55)
    (event,) = intervals_of_scores(values, 0, thresholds, RATE, halves=(0.4, 1.0))[1]
    assert event.offset - event.onset == pytest.approx(0.8, abs=0.01)


def test_the_threshold_lies_between_the_mean_and_the_maximum():
    scores = np.array([[0.0, 2.0], [0.0, 2.0], [3.0, 2.0]])
    assert thresholds_of_scores(scores, 0.5) == pytest.approx([2.0, 2.0])


def test_a_drawn_recording_is_scored_by_pairs_of_frames(tmp_path):
    drawn = write_recording(tmp_path, [Event(1, 60, 66, 72, ("mouth_lower",), 6.0)], np.arange(120) / RATE)
    spotted = spot_recording(Stream(drawn.video), tmp_path / "out", SpottingSettings(method=Method.apex_score))
    strongest = spotted.events.sort_values("score").iloc[-1]
    assert strongest["regions"] == "mouth"
    assert strongest["onset_frame"] <= 66 <= strongest["offset_frame"]
