import itertools

from hypothesis import given
from hypothesis import strategies as st

from mefusion.annotation.extraction.segments import cut_segments
from mefusion.annotation.extraction.settings import SegmentSettings

SETTINGS = SegmentSettings()


def test_speech_is_joined_across_short_gaps_and_short_pieces_are_left_out():
    speech = [(1.0, 2.5), (3.0, 4.0), (4.7, 6.0), (10.0, 12.5)]
    assert cut_segments(speech, [], 20.0, SETTINGS) == [(1.0, 4.0), (10.0, 12.5)]


def test_a_cut_ends_a_segment():
    assert cut_segments([(1.0, 8.0)], [4.0, 7.0], 20.0, SETTINGS) == [(1.0, 4.0), (4.0, 7.0)]


def test_speech_after_the_last_picture_does_not_count():
    assert cut_segments([(1.0, 9.0)], [], 5.0, SETTINGS) == [(1.0, 5.0)]


def test_what_is_too_long_is_divided_at_a_pause_or_in_equal_parts():
    assert cut_segments([(0.0, 7.0), (7.3, 14.0)], [], 20.0, SETTINGS) == [(0.0, 7.0), (7.3, 14.0)]
    assert cut_segments([(0.0, 30.0)], [], 30.0, SETTINGS) == [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0)]


@given(
    st.lists(st.floats(0, 100), min_size=2, max_size=20, unique=True),
    st.lists(st.floats(0.1, 99.9), max_size=4, unique=True),
)
def test_segments_have_allowed_lengths_and_lie_in_one_scene(edges, cuts):
    edges = sorted(edges)
    speech = [*zip(edges[::2], edges[1::2], strict=False)]
    found = cut_segments(speech, sorted(cuts), 100.0, SETTINGS)
    for start, end in found:
        assert SETTINGS.shortest - 1e-6 <= end - start <= SETTINGS.longest + 1e-6
        assert not any(start + 1e-9 < cut < end - 1e-9 for cut in cuts)
    assert found == sorted(found)
    assert all(one[1] <= other[0] + 1e-9 for one, other in itertools.pairwise(found))
