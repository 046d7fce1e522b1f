import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mefusion.spotting import events
from mefusion.spotting.events import Interval, displacement_from_rest, intervals_of, mark_speech, merge, smooth
from mefusion.spotting.motion import OWNERS, REGIONS
from mefusion.spotting.settings import SpottingSettings

SETTINGS = SpottingSettings()
RATE = SETTINGS.rate
PATCHES, NAMES = len(OWNERS), list(REGIONS)


def bump(times, start, end, height):
    """A smooth rise and fall from `start` to `end` s."""
    phase = np.clip((times - start) / (end - start), 0, 1)
    return height * 0.5 * (1 - np.cos(2 * np.pi * phase))


def spotted(curve, settings=SETTINGS):
    """Intervals of a curve [n, patches, 2] without noise."""
    away = displacement_from_rest(smooth(curve, settings), settings.rate)
    return merge(intervals_of(away, 0, events.thresholds_of(np.zeros(len(REGIONS)), settings), settings))


def curve_of(region, values):
    curve = np.zeros((len(values), PATCHES, 2))
    curve[:, [NAMES[owner] == region for owner in OWNERS], 1] = np.reshape(values, (-1, 1))
    return curve


@pytest.mark.parametrize("region", ["brow_left", "mouth_lower", "nose"])
@pytest.mark.parametrize("length", [0.4, 1.0, 3.0])
def test_a_motion_is_found_where_it_is(region, length):
    times = np.arange(0, 20, 1 / RATE)
    (event,) = spotted(curve_of(region, bump(times, 8, 8 + length, -4)))
    assert event.regions == (region,)
    assert event.apex == pytest.approx(8 + length / 2, abs=0.05)
    shared = min(event.offset, 8 + length) - max(event.onset, 8)
    assert shared / (max(event.offset, 8 + length) - min(event.onset, 8)) > 0.6
    assert event.strength == pytest.approx(4, rel=0.35)  # the low pass takes some of a short one
    assert event.score == pytest.approx(event.strength / SETTINGS.thresholds.of(region))


def test_what_is_below_the_threshold_is_no_event():
    times = np.arange(0, 20, 1 / RATE)
    assert spotted(curve_of("brow_left", bump(times, 8, 9, 1.6))) == []
    assert len(spotted(curve_of("brow_left", bump(times, 8, 9, 1.9)))) == 1


def test_a_slow_drift_is_rest():
    times = np.arange(0, 60, 1 / RATE)
    assert spotted(curve_of("brow_left", 0.25 * times)) == []


def test_a_recording_that_begins_in_an_expression_gives_one_event_not_its_rest():
    times = np.arange(0, 20, 1 / RATE)
    (event,) = spotted(curve_of("mouth_left", 4.0 * (times < 1.5)))
    assert event.onset == 0
    assert event.offset == pytest.approx(1.5, abs=0.2)


def test_a_short_recording_begins_at_rest_even_if_it_shows_an_expression_most_of_the_time():
    times = np.arange(0, 2.4, 1 / RATE)
    curve = curve_of("mouth_left", 8.0 * (times > 0.6))
    away = displacement_from_rest(smooth(curve, SETTINGS), RATE, begins=True)
    (event,) = intervals_of(away, 0, events.thresholds_of(np.zeros(len(REGIONS)), SETTINGS), SETTINGS)
    assert event.onset == pytest.approx(0.6, abs=0.1)
    assert event.offset == pytest.approx(2.4, abs=0.05)


def test_fast_noise_is_taken_out_and_nothing_is_shifted():
    times = np.arange(0, 10, 1 / RATE)
    slow = np.sin(2 * np.pi * 0.5 * times)
    found = smooth((slow + np.sin(2 * np.pi * 14 * times))[:, None], SETTINGS)[:, 0]
    assert found[30:-30] == pytest.approx(slow[30:-30], abs=0.02)


def test_the_noise_of_a_recording_raises_its_thresholds():
    rng = np.random.default_rng(0)
    curve = rng.normal(0, 1.8, (3000, PATCHES, 2))
    noise = events.noise_of(curve, smooth(curve, SETTINGS))
    assert noise == pytest.approx(np.full(len(REGIONS), 1.5), abs=0.2)  # the low pass keeps a third of its power
    raised = events.thresholds_of(noise, SETTINGS)
    assert raised == pytest.approx(np.maximum(4 * noise, [SETTINGS.thresholds.of(name) for name in REGIONS]))
    assert spotted(curve) != []
    away = displacement_from_rest(smooth(curve, SETTINGS), RATE)
    assert intervals_of(away, 0, raised, SETTINGS) == []


def interval(onset, offset, *regions, score=1.0):
    return Interval(onset, (onset + offset) / 2, offset, regions or ("brow_left",), 2 * score, score)


def test_intervals_that_overlap_by_a_third_of_the_shorter_are_joined():
    one, other = interval(0, 1, "mouth_left", score=1.5), interval(0.6, 1.4, "brow_left", score=2.0)
    (joined,) = merge([one, other])  # .4 of .8
    assert (joined.onset, joined.offset) == (0, 1.4)
    assert joined.regions == ("brow_left", "mouth_left")
    assert (joined.apex, joined.score, joined.strength) == (1.0, 2.0, 4.0)
    assert len(merge([interval(0, 1), interval(0.8, 1.6)])) == 2  # .2 of .8


def test_what_a_mouth_does_while_it_speaks_is_one_stretch_of_speech():
    words = [interval(3.0 + at, 3.2 + at, "mouth_lower", score=1 + at) for at in (0, 0.3, 0.6)]
    smile, brow = interval(3.7, 5.0, "mouth_left"), interval(3.2, 3.6, "brow_left")
    marked = mark_speech([*words, smile, brow], [(2.9, 4.0)])
    (speech,) = [each for each in marked if each.speech]
    assert (speech.onset, speech.offset, speech.score) == (2.9, 4.0, 1.6)
    assert [each for each in marked if not each.speech] == [smile, brow]  # neither joins the speech
    assert len(merge(marked)) == 3
    assert mark_speech([smile], []) == [smile]


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 5)), max_size=12))
def test_joined_intervals_cover_the_same_time(spans):
    intervals = [interval(start, start + length) for start, length in spans]
    joined = merge(intervals)
    assert len(joined) <= len(intervals)
    for each in intervals:
        assert any(other.onset <= each.onset and each.offset <= other.offset for other in joined)
    assert {each.onset for each in joined} <= {each.onset for each in intervals}
    assert {each.offset for each in joined} <= {each.offset for each in intervals}


@given(st.lists(st.floats(0, 3), min_size=1, max_size=40), st.floats(0.05, 0.9))
def test_a_peak_reaches_down_to_its_share_or_to_a_valley(values, share):
    curve = np.array([4.0, *values])
    end = events._reach(curve, share)
    rising = [t for t in range(end + 1) if curve[t] > curve[:t].min(initial=np.inf) + events.RISE_AGAIN * curve[0]]
    assert not rising
    assert all(curve[t] > share * curve[0] for t in range(end))


def test_short_gaps_are_closed_and_long_ones_are_not():
    moving = np.array([1, 1, 0, 0, 1, 0, 0, 0, 1], bool)
    assert events._closed(moving, 3).tolist() == [True] * 5 + [False] * 3 + [True]
    assert events._runs(moving) == [(0, 1), (4, 4), (8, 8)]
