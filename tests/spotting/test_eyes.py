import numpy as np
import pytest

from mefusion.spotting.eyes import SPEECH_TURNS, blinks, eye_aspect, mouth_opening, turns_per_second


def landmarks_with(height, opening=0.0):
    points = np.zeros((68, 2))
    for start, x in ((36, 0), (42, 60)):
        points[start : start + 6] = [
            (x, 0),
            (x + 10, -height / 2),
            (x + 20, -height / 2),
            (x + 30, 0),
            (x + 20, height / 2),
            (x + 10, height / 2),
        ]
    points[62], points[66] = (45, 60), (45, 60 + opening)
    return points


def test_the_aspect_of_an_eye_is_height_by_width():
    assert eye_aspect(landmarks_with(9)) == pytest.approx(9 / 30)
    assert eye_aspect(landmarks_with(0)) == 0


def test_the_opening_of_the_mouth_is_per_cent_of_the_inter_ocular_distance():
    assert mouth_opening(landmarks_with(9, 6)) == pytest.approx(100 * 6 / 60)


@pytest.mark.parametrize("rate", [15, 30, 60])
def test_a_blink_is_found_with_a_margin_and_narrow_eyes_are_none(rate):
    times = np.arange(0, 20, 1 / rate)
    aspect = np.where(times < 12, 0.32, 0.27)  # narrower, for the rest of the recording
    aspect[(times >= 5) & (times < 5.2)] = 0.12
    found = times[blinks(aspect, rate)]
    assert found.min() == pytest.approx(5, abs=0.15)
    assert found.max() == pytest.approx(5.2, abs=0.15)


def test_moments_without_a_face_are_no_blink():
    aspect = np.full(300, np.nan)
    assert not blinks(aspect, 30).any()
    aspect[:100] = 0.3
    assert not blinks(aspect, 30).any()


def test_a_speaking_mouth_turns_often_and_a_smile_does_not():
    times = np.arange(0, 2, 1 / 30)
    noise = np.random.default_rng(0).normal(0, 0.3, len(times))
    assert turns_per_second(6 + 5 * np.sin(2 * np.pi * 4 * times) + noise, 30) == pytest.approx(8, abs=1.5)
    assert turns_per_second(3 * np.exp(-((times - 1) ** 2) / 0.1) + noise, 30) < SPEECH_TURNS / 2
    assert turns_per_second(np.array([1.0, 2.0]), 30) == 0
