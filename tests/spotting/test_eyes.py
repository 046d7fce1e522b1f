import numpy as np
import pytest

from mefusion.spotting.eyes import blinks, eye_aspect, mouth_opening, speech_spans


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


def test_a_mouth_that_opens_again_and_again_speaks_and_a_smile_or_noise_does_not():
    times = np.arange(0, 8, 1 / 30)
    noise = np.random.default_rng(0).normal(0, 0.3, len(times))
    talk = np.where((times > 3) & (times < 5), 2.5 - 2.5 * np.cos(2 * np.pi * 4 * times), 0)
    ((begin, end),) = speech_spans(6 + talk + noise, 30)
    assert begin == pytest.approx(3, abs=0.15)
    assert end == pytest.approx(5, abs=0.15)
    assert speech_spans(9 * np.exp(-((times - 4) ** 2) / 0.1) + noise, 30) == []
    assert speech_spans(2 * noise, 30) == []
    assert speech_spans(np.array([1.0, 2.0]), 30) == []
