import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mefusion.clips.stream import Frame
from mefusion.faces import tracking
from mefusion.faces.identity import KEPT, People
from mefusion.faces.tracking import FaceTracker, detect, overlap

RATE = 30
SIZE = 60


class Stage:
    """Frames with square faces of a texture each, and a finder that sees exactly them."""

    def __init__(self, monkeypatch):
        rng = np.random.default_rng(0)
        self.textures = rng.integers(0, 255, (4, 8, 8)).repeat(8, 1).repeat(8, 2)[:, :SIZE, :SIZE]
        self.background = rng.integers(100, 110, (240, 320)).astype(np.uint8)
        self.missed = set()  # numbers of frames in which no face is detected
        self.shown = {}
        monkeypatch.setattr(tracking, "descriptor", self.describe)

    def frame(self, number, faces):
        """A frame with faces: number of the person -> left, top."""
        grey = self.background.copy()
        for person, (left, top) in faces.items():
            grey[top : top + SIZE, left : left + SIZE] = self.textures[person]
        self.number, self.shown = number, faces
        return Frame(number, number / RATE, lambda form: np.stack([grey] * 3, -1) if form == "rgb24" else grey)

    def detect_all(self, frame):
        if self.number in self.missed:
            return []
        return [(left, top, left + SIZE, top + SIZE) for left, top in self.shown.values()]

    def predict(self, frame, box):
        centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
        near = [np.array(corner) + SIZE / 2 for corner in self.shown.values()]
        centre = min(near, key=lambda point: np.abs(point - centre).sum(), default=centre)
        points = 20 * np.stack([np.cos(np.arange(68)), np.sin(np.arange(68))], axis=1)
        points[36:42] -= (10, 0)
        points[42:48] += (10, 0)
        return centre + points - points.mean(0)

    def describe(self, image, landmarks):
        left, top = (landmarks.mean(0) - SIZE / 2 + 5).astype(int)
        person = min(self.shown, key=lambda key: np.abs(np.array(self.shown[key]) - (left, top)).sum())
        return np.eye(128)[person]

    def follow(self, scenes, wanted="all"):
        tracker = FaceTracker(self, People(), wanted)
        return [tracker.update(self.frame(number, faces)) for number, faces in enumerate(scenes)]


@pytest.fixture
def stage(monkeypatch):
    return Stage(monkeypatch)


def people(frames):
    return [[face.person for face in faces] for faces in frames]


def test_a_face_that_moves_keeps_its_number_and_its_box_follows(stage):
    frames = stage.follow([{0: (50 + 2 * t, 80)} for t in range(60)])
    assert people(frames) == [[1]] * 60
    assert {faces[0].piece for faces in frames} == {0}
    for t, faces in enumerate(frames):
        assert abs(faces[0].box[0] - (50 + 2 * t)) <= 0.1 * SIZE
        assert faces[0].landmarks.mean(0) == pytest.approx((80 + 2 * t, 110), abs=1)


def test_faces_that_change_places_keep_their_numbers(stage):
    scenes = [{0: (20, 80), 1: (200, 80)}] * 20 + [{1: (20, 80), 0: (200, 80)}] * 20
    frames = stage.follow(scenes)
    assert people(frames[:20]) == [[1, 2]] * 20
    by_place = [{face.person: face.box[0] for face in faces} for faces in frames[25:]]
    assert all(places[1] > 150 > places[2] for places in by_place)


def test_a_face_that_leaves_and_returns_is_the_same_person_in_a_new_piece(stage):
    frames = stage.follow([{0: (50, 80)}] * 20 + [{}] * 30 + [{0: (150, 60)}] * 20)
    assert people(frames[:20]) == [[1]] * 20
    assert people(frames[21:50]) == [[]] * 29
    back = next(t for t, faces in enumerate(frames) if t >= 50 and faces)
    assert back <= 50 + RATE * tracking.DETECT_EVERY
    assert people(frames[back:]) == [[1]] * (70 - back)
    assert {faces[0].piece for faces in frames[back:]} == {1}


def test_someone_else_in_the_same_place_gets_the_next_number(stage):
    frames = stage.follow([{0: (50, 80)}] * 20 + [{1: (50, 80)}] * 20)
    assert frames[-1][0].person == 2


def test_a_face_that_the_detector_misses_for_a_second_is_followed_on(stage):
    stage.missed = set(range(10, 40))
    assert people(stage.follow([{0: (50, 80)}] * 60)) == [[1]] * 60


def test_the_largest_face_is_followed_until_another_is_half_as_large_again(stage, monkeypatch):
    scenes = [{0: (20, 80), 1: (200, 80)}] * 40
    areas = {0: 1.0, 1: 1.0}
    plain = stage.detect_all

    def grown(frame):
        boxes = plain(frame)
        wide = 0.5 * (np.sqrt(areas[1]) - 1) * SIZE
        left, top, right, bottom = boxes[1]
        return [boxes[0], (left - wide, top - wide, right + wide, bottom + wide)]

    monkeypatch.setattr(stage, "detect_all", grown)
    assert people(stage.follow(scenes, "largest")) == [[1]] * 40
    areas[1] = 1.4
    tracker = FaceTracker(stage, People(), "largest")
    assert [face.box[0] > 150 for face in tracker.update(stage.frame(0, scenes[0]))] == [True]


def test_one_person_can_be_chosen(stage):
    frames = stage.follow([{0: (20, 80), 1: (200, 80)}] * 10, 2)
    assert people(frames) == [[2]] * 10
    assert all(faces[0].box[0] > 150 for faces in frames)


def test_a_change_of_scene_begins_anew(stage):
    scenes = [{0: (50, 80)}] * 20
    tracker = FaceTracker(stage, People(), "all")
    for number, faces in enumerate(scenes):
        tracker.update(stage.frame(number, faces))
    stage.background = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (2, 2)).repeat(60, 0).repeat(80, 1)
    (face,) = tracker.update(stage.frame(20, {0: (50, 80)}))
    assert (face.person, face.piece) == (1, 1)


def test_a_recording_without_a_face_has_none(stage):
    assert people(stage.follow([{}] * 40)) == [[]] * 40


def test_large_pictures_are_made_smaller_for_the_detector(stage):
    seen = []
    stage.detect_all = lambda frame: seen.append(frame.shape) or [(10, 20, 30, 40)]
    assert detect(stage, np.zeros((1080, 1920), np.uint8)) == [(30, 60, 90, 120)]
    assert seen == [(360, 640)]


def test_the_overlap_of_boxes_is_that_worked_by_hand():
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0


boxes = st.lists(st.tuples(*[st.integers(0, 50)] * 2).map(lambda at: (*at, at[0] + 20, at[1] + 20)), max_size=4)


@given(boxes, boxes)
def test_matches_have_the_largest_overlap_in_sum(followed, found):
    pairs = tracking._match(followed, found)
    assert len(set(pairs.values())) == len(pairs)
    assert all(overlap(followed[row], found[column]) >= tracking.SAME_FACE for row, column in pairs.items())
    count = min(len(followed), len(found))
    best = max(
        (
            sorted((overlap(followed[r], found[c]) for r, c in zip(rows, columns, strict=True)), reverse=True)
            for rows in itertools.permutations(range(len(followed)), count)
            for columns in itertools.combinations(range(len(found)), count)
        ),
        key=sum,
    )
    kept = sum(value for value in best if value >= tracking.SAME_FACE)
    assert (
        sum(overlap(followed[r], found[c]) for r, c in pairs.items())
        >= kept - sum(value for value in best if value < tracking.SAME_FACE) - 1e-9
    )


def test_people_are_told_apart_by_the_distance_of_their_descriptors():
    known = People()
    first, second = np.zeros(128), np.full(128, 0.1)  # 1.13 apart
    assert known.number(first) == 1
    assert known.number(second) == 2
    assert known.number(first + 0.05) == 1  # .57 from the first, .57 from the second: the nearest of all is taken
    assert known.number(second, taken=[2]) in (1, 3)
    for _ in range(20):
        known.number(first)
    assert len(known.descriptors[0]) == KEPT
    assert People(known.descriptors).number(first) == 1
