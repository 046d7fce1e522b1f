import pytest
from hypothesis import given
from hypothesis import strategies as st

from mefusion.datasets.reading.facs import ActionUnit, canonical, columns, parse


@pytest.mark.parametrize(
    ("text", "units", "remarks"),
    [
        ("4+7", "4+7", None),
        ("4", "4", None),
        ("12", "12", None),
        ("L12 + 61", "L12+61", None),
        ("l4+r10", "L4+R10", None),
        ("T23+B24+A12", "T23+B24+A12", None),
        ("A/L12", "A/L12", None),
        ("10A/B", "10A/B", None),
        ("4+6+7+9+43E", "4+6+7+9+43E", None),
        (" 1 + 2 ", "1+2", None),
        ("R 12 +  17 C", "R12+17C", None),
        ("4+7+", "4+7", None),
        ("AU12", "12", None),
        ("au 4 + AUL14B", "4+L14B", None),
        ("AU12 or AU14", "12?+14?", "AU12 or AU14"),
        ("U12", "U12", None),  # unilateral
        ("4,7;9", "4+7+9", None),
        ("L14?", "L14?", None),
        ("14?+17", "14?+17", None),
        ("?", None, "?"),
        ("(R6 or R12)+R15", "R6?+R12?+R15", "(R6 or R12)"),
        ("(R6 or R12) + R15", "R6?+R12?+R15", "(R6 or R12)"),
        ("ref(7B)+43", "7B?+43", "ref(7B)"),
        ("R14+17+soft focus", "R14+17", "soft focus"),
        ("R14A or 17A or 24A", "R14A?+17A?+24A?", "R14A or 17A or 24A"),
        ("4 7", None, "4 7"),  # not 47, and not known to be two
        ("472", None, "472"),
        ("frame 12 or so", None, "frame 12 or so"),
        ("none", None, "none"),
        ("", None, None),
    ],
)
def test_what_coders_write(text, units, remarks):
    assert columns(text) == {"action_units": units, "action_unit_remarks": remarks}


def test_no_coding_is_no_unit():
    assert columns(None) == {"action_units": None, "action_unit_remarks": None}


def test_side_intensity_and_doubt_are_told_apart():
    assert parse("A/L12C?+43E")[0] == (ActionUnit(12, "A/L", "C", certain=False), ActionUnit(43, intensity="E"))


units = st.builds(
    ActionUnit,
    st.integers(0, 99),
    st.sampled_from(["", "L", "R", "T", "B", "A", "U", "A/L", "B/R"]),
    st.sampled_from(["", *"ABCDE", "A/B", "D/E"]),
    st.booleans(),
)


@given(st.lists(units, max_size=5))
def test_the_canonical_text_parses_back(listed):
    text = canonical(listed)
    assert parse(text or "") == (tuple(listed), None)


@given(st.text(alphabet="LRTBA0123456789+()? orx/CE,", max_size=20))
def test_any_text_is_read(text):
    found, _ = parse(text)
    assert parse(canonical(found) or "") == (found, None)
