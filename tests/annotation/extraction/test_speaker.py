import numpy as np
import pytest
from fake_networks import write_network

from mefusion.annotation.extraction.media import RATE
from mefusion.annotation.extraction.settings import SpeakerSettings
from mefusion.annotation.extraction.speaker import (
    CURVE_RATE,
    Candidate,
    MouthScorer,
    NetworkScorer,
    Scores,
    articulation,
    face_picture,
    make_scorer,
    mfcc,
    sync,
)
from mefusion.common.errors import MefusionError

TIMES = np.arange(100) / 25  # 4 s
MOMENTS = np.arange(4 * CURVE_RATE) / CURVE_RATE
NOISE = np.random.default_rng(0).standard_normal(4 * RATE)


def face(opening, *, inner=None):
    """Landmarks [n, 68, 2] of a face with eyes 100 px apart, whose lips are `opening` px apart."""
    points = np.zeros((len(opening), 68, 2))
    points[:, 42:48, 0] = 100
    points[:, 57, 1] = points[:, 66, 1] = opening
    if inner is not None:
        points[:, 66, 1] = inner
    return points


def wave(frequency, times, phase=0.0):
    return 0.5 - 0.5 * np.cos(2 * np.pi * frequency * times + phase)


def test_articulation_is_the_rms_of_the_opening_in_the_speech_band():
    opening = 20 + 6 * np.sin(2 * np.pi * 4 * TIMES)
    assert articulation(TIMES, face(opening), MOMENTS) == pytest.approx(0.06 / np.sqrt(2), rel=0.1)
    assert articulation(TIMES, face(2 * opening), MOMENTS) == pytest.approx(0.12 / np.sqrt(2), rel=0.1)


def test_a_mouth_that_stays_open_or_opens_slowly_does_not_articulate():
    assert articulation(TIMES, face(np.full(100, 30.0)), MOMENTS) == pytest.approx(0, abs=1e-6)
    assert articulation(TIMES, face(30 * wave(0.25, TIMES)), MOMENTS) < 0.02


def speaking(seed):
    """Opening at frames and loud noise that goes with it."""
    rng = np.random.default_rng(seed)
    rate = np.interp(np.arange(0, 4, 1 / RATE), np.arange(0, 5, 0.5), rng.uniform(3, 6, 10))
    opened = 0.5 - 0.5 * np.cos(2 * np.pi * np.cumsum(rate) / RATE)
    return 20 * opened[:: RATE // 25], (opened * NOISE * 0.1).astype(np.float32)


def test_a_mouth_goes_with_its_own_sound_better_than_another_mouth():
    for seed in range(5):
        own, sound = speaking(seed)
        other, _ = speaking(seed + 50)
        matching = sync(TIMES, face(own), sound, MOMENTS)
        assert matching > 0.7
        assert matching > sync(TIMES, face(other), sound, MOMENTS) + 0.1
        assert -1 <= sync(TIMES, face(np.full(100, 3.0)), sound, MOMENTS) < 0.1


def test_a_sound_that_comes_later_than_the_picture_still_goes_with_it():
    own, sound = speaking(1)
    late = np.roll(sound, round(0.1 * RATE))
    assert sync(TIMES, face(own), late, MOMENTS) > 0.7


def test_the_speaker_articulates_and_among_those_has_the_highest_sync():
    scorer = make_scorer(SpeakerSettings())
    assert isinstance(scorer, MouthScorer)
    scores = {1: Scores(0.03, 0.2), 2: Scores(0.03, 0.5), 3: Scores(0.01, 0.9)}
    assert scorer.choose(scores) == 2
    assert scorer.choose({3: scores[3]}) is None
    assert scorer.choose({}) is None


def test_coefficients_are_those_of_python_speech_features():
    t = np.arange(1600) / RATE
    sound = (0.25 * np.sin(2 * np.pi * 440 * t) + 0.1 * np.sin(2 * np.pi * 1234 * t)).astype(np.float32)
    found = mfcc(sound)
    assert found.shape == (9, 13)
    # mfcc(32768 * sound, 16000, numcep=13, winlen=0.025, winstep=0.010)
    known = [
        19.903,
        19.849,
        -13.037,
        -25.281,
        -11.642,
        -3.829,
        -20.584,
        -38.585,
        -22.501,
        18.13,
        42.375,
        27.874,
        -0.862,
    ]
    last = [
        19.687,
        32.313,
        -17.933,
        -36.201,
        -15.843,
        -2.112,
        -18.599,
        -37.811,
        -22.525,
        16.575,
        38.385,
        23.417,
        -2.859,
    ]
    np.testing.assert_allclose(found[3], known, atol=2e-3)
    np.testing.assert_allclose(found[-1], last, atol=2e-3)


def test_what_a_network_sees_is_around_the_lower_face():
    y, x = np.mgrid[:300, :400]
    picture = face_picture(((x + y) % 256).astype(np.uint8), (100, 100, 200, 200))
    assert picture.shape == (112, 112)
    column = face_picture(np.minimum(x, 255).astype(np.uint8), (100, 100, 200, 200))[0].astype(float)
    row = face_picture(np.minimum(y, 255).astype(np.uint8), (100, 100, 200, 200))[:, 0].astype(float)
    assert column[0] == pytest.approx(115, abs=1)  # 150 - 0.7 * 50
    assert row[0] == pytest.approx(135, abs=1)  # 150 + 0.4 * 50 - 0.7 * 50


def test_a_network_scores_faces_and_needs_a_positive_mean(tmp_path):
    scorer = make_scorer(SpeakerSettings(name="onnx", path=str(write_network(tmp_path / "asd.onnx"))))
    assert isinstance(scorer, NetworkScorer)
    opening, sound = speaking(0)
    bright, dark = np.full((100, 112, 112), 102, np.uint8), np.full((100, 112, 112), 99, np.uint8)
    scores = {
        track: scorer.scores(Candidate(TIMES, face(opening), faces), sound)
        for track, faces in ((1, dark), (2, bright), (3, bright - 1))
    }
    assert [scores[track].network for track in (1, 2, 3)] == pytest.approx([-1, 2, 1])
    assert scorer.choose(scores) == 2
    assert scorer.choose({1: scores[1]}) is None


def test_a_file_that_is_no_such_network_is_told(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_text("none")
    with pytest.raises(MefusionError, match=r"speaker\.path=.*bad\.onnx cannot be loaded"):
        make_scorer(SpeakerSettings(name="onnx", path=str(tmp_path / "bad.onnx")))
    other = write_network(tmp_path / "other.onnx", names=("sound", "visual"))
    with pytest.raises(MefusionError, match="has the inputs sound, visual"):
        make_scorer(SpeakerSettings(name="onnx", path=str(other)))
    with pytest.raises(MefusionError, match=r"give speaker\.path=FILE"):
        SpeakerSettings(name="onnx")
