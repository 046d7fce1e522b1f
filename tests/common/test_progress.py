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


def test_a_recording_whose_first_frame_takes_long_has_no_speed_yet(clock, capsys):
    with progress.seconds_shown(total=100, description="talk.mp4", quiet=False) as say:
        clock[0] += 40
        say(0.0)
        assert capsys.readouterr().out == ""
        clock[0] += 20
        say(50.0)
    assert capsys.readouterr().out == "talk.mp4: 50 of 100 s, about 0 min left\n"
