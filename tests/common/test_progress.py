import pytest

from mefusion.common import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves: `clock[0]` seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_every_half_minute(clock, capsys):
    for _ in progress.track(range(8), total=8, description="Preparing"):
        clock[0] += 20
    # A clip takes 20 s, so that every second one is the first after 30 s without a line.
    assert capsys.readouterr().out.splitlines() == [
        "Preparing: 2 of 8 clips, about 2 min left",
        "Preparing: 4 of 8 clips, about 1 min left",
        "Preparing: 6 of 8 clips, about 1 min left",
        "Preparing: 8 of 8 clips",
    ]


def test_short_work_prints_nothing(clock, capsys):
    assert list(progress.track("abc", total=3, description="Preparing")) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""
