import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_recordings import Event, write_recording

import mefusion
from mefusion.clips.stream import Stream
from mefusion.common.errors import MefusionError
from mefusion.spotting import recording
from mefusion.spotting.event_table import EVENT_COLUMNS
from mefusion.spotting.recording import read_spotted, spot_recording
from mefusion.spotting.settings import SpottingSettings
from mefusion.spotting.tables import FRAME_COLUMNS

EVENTS = [
    Event(1, 20, 25, 31, ("mouth_lower",), 4.0),
    Event(1, 60, 75, 92, ("brow_left", "brow_right"), 4.0),
]
TIMES = np.arange(120) / 30
ABSENT = range(108, 114)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A recording of 4 s with a micro- and a macro-expression, and a face that is gone for a moment."""
    return write_recording(tmp_path_factory.mktemp("drawn"), EVENTS, TIMES, absent=ABSENT, drift=6)


@pytest.fixture(scope="module")
def spotted(drawn, tmp_path_factory):
    return spot_recording(Stream(drawn.video), tmp_path_factory.mktemp("spotted") / "face", SpottingSettings())


@pytest.fixture
def short_parts(monkeypatch):
    """Parts of a second rather than two minutes."""
    monkeypatch.setattr(recording, "LENGTH", 1.0)
    monkeypatch.setattr(recording, "CONTEXT", 0.8)


def test_the_events_are_those_that_were_drawn(spotted):
    events = spotted.events
    assert [*events.columns] == [*EVENT_COLUMNS]
    assert events["kind"].tolist() == ["micro", "macro"]
    assert events["event"].tolist() == [1, 2]
    for row, truth in zip(events.to_dict("records"), EVENTS, strict=True):
        assert abs(row["apex_frame"] - truth.apex) <= 2
        shared = min(row["offset_frame"], truth.offset) - max(row["onset_frame"], truth.onset)
        assert shared / (max(row["offset_frame"], truth.offset) - min(row["onset_frame"], truth.onset)) >= 0.5
        assert row["onset_time"] == pytest.approx(row["onset_frame"] / 30, abs=1e-3)
        assert row["duration"] == pytest.approx(row["offset_time"] - row["onset_time"])
        assert row["score"] >= 1
    assert "mouth_lower" in events["regions"][0]
    assert "brow" not in events["regions"][0]
    assert {"brow_left", "brow_right"} <= {*events["regions"][1].split("+")}


def test_every_frame_has_a_row_with_its_true_time_also_without_a_face(spotted):
    frames = pd.read_parquet(spotted.frames_file)
    assert {name: str(kind) for name, kind in frames.dtypes.items()} == FRAME_COLUMNS
    assert frames["frame"].tolist() == list(range(120))
    assert frames["time"].tolist() == pytest.approx(TIMES, abs=1e-3)
    gone = frames["track"].isna()
    assert set(ABSENT) <= {*frames.loc[gone, "frame"]} <= {*ABSENT, *range(114, 120)}
    assert frames.loc[~gone, "track"].unique().tolist() == [1]
    assert frames.loc[~gone, ["left", "x_0", "eye_aspect"]].notna().all(axis=None)
    assert frames.loc[gone, ["left", "x_0", "eye_aspect", "score"]].isna().all(axis=None)
    assert (spotted.frames, spotted.faces) == (120, int((~gone).sum()))
    assert spotted.problem is None
    at_apex = frames.set_index("frame")["score"]
    assert at_apex[75] >= 1 > at_apex[50]


def test_what_is_finished_is_read_and_not_measured_again(spotted, drawn, monkeypatch):
    monkeypatch.setattr(recording, "measure", None)
    again = spot_recording(Stream(drawn.video), spotted.folder, SpottingSettings())
    assert replace(again, events=spotted.events) == spotted
    pd.testing.assert_frame_equal(again.events, spotted.events)


def test_other_settings_are_measured_anew(drawn, tmp_path):
    first = spot_recording(Stream(drawn.video), tmp_path / "face", SpottingSettings())
    other = spot_recording(Stream(drawn.video), tmp_path / "face", SpottingSettings(shortest=0.6))
    assert (len(first.events), len(other.events)) == (2, 1)


class Stop(Exception):
    pass


def test_an_interrupted_recording_goes_on_to_the_same_result(drawn, tmp_path, short_parts, monkeypatch):
    whole = spot_recording(Stream(drawn.video), tmp_path / "whole", SpottingSettings())

    def stop(seconds):
        if seconds > 2.5:
            raise Stop

    folder = tmp_path / "stopped"
    with pytest.raises(Stop):
        spot_recording(Stream(drawn.video), folder, SpottingSettings(), say=stop)
    assert sorted(path.name for path in folder.iterdir()) == [".parts", "recording.json"]
    read = []
    measure = recording.measure
    monkeypatch.setattr(recording, "measure", lambda frames, *rest, **named: measure(note(frames), *rest, **named))

    def note(frames):
        for frame in frames:
            read.append(frame.number)
            yield frame

    again = spot_recording(Stream(drawn.video), folder, SpottingSettings())
    assert min(read) == pytest.approx(30 * (2 - 0.8), abs=1)  # the third second, with what comes before it
    pd.testing.assert_frame_equal(again.events, whole.events)
    pd.testing.assert_frame_equal(pd.read_parquet(again.frames_file), pd.read_parquet(whole.frames_file))
    assert sorted(path.name for path in folder.iterdir()) == ["events.csv", "frames.parquet", "recording.json"]


def test_parts_find_the_events_that_the_whole_finds(drawn, spotted, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "LENGTH", 2.2)  # cuts through the macro-expression
    monkeypatch.setattr(recording, "CONTEXT", 2.0)
    parts = spot_recording(Stream(drawn.video), tmp_path / "face", SpottingSettings())
    columns = ["onset_frame", "apex_frame", "offset_frame"]
    assert np.abs(parts.events[columns].to_numpy() - spotted.events[columns].to_numpy()).max() <= 3
    assert pd.read_parquet(parts.frames_file)["frame"].tolist() == list(range(120))


def test_frames_of_a_fast_recording_lie_between_measured_ones(tmp_path):
    times = np.arange(60) / 120
    fast = write_recording(tmp_path, [], times, drift=12)
    found = spot_recording(Stream(fast.video), tmp_path / "out", SpottingSettings())
    frames = pd.read_parquet(found.frames_file)
    assert frames["frame"].tolist() == list(range(60))
    steps = np.diff(frames["x_30"].dropna())
    assert len(steps) >= 55
    assert steps.mean() == pytest.approx(12 / 60, abs=0.05)
    assert np.abs(np.diff(steps, n=2)).max() < 1.5  # no jumps between measured frames


def test_a_recording_without_a_face_has_rows_and_no_events(tmp_path):
    empty = write_recording(tmp_path, [], TIMES[:30], absent=range(30))
    found = spot_recording(Stream(empty.video), tmp_path / "out", SpottingSettings())
    assert found.events.empty
    assert [*found.events.columns] == [*EVENT_COLUMNS]
    assert pd.read_parquet(found.frames_file)["track"].isna().sum() == 30
    assert read_spotted(tmp_path / "out").events.empty


def test_a_damaged_result_is_one_sentence(spotted, tmp_path):
    with pytest.raises(MefusionError, match="has no finished result of mefusion-spot"):
        read_spotted(tmp_path)
    (tmp_path / "recording.json").write_text(json.dumps({"complete": True}))
    with pytest.raises(MefusionError, match="has no finished result of mefusion-spot"):
        read_spotted(tmp_path)
    for name, place in (("frames.parquet", 2000), ("events.csv", 3)):
        copy = tmp_path / name
        shutil.copytree(spotted.folder, copy)
        content = bytearray((copy / name).read_bytes())
        content[place] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(MefusionError, match="has no finished result of mefusion-spot"):
            read_spotted(copy)


def test_python_gives_the_same_tables(drawn, spotted):
    tables = mefusion.spot(drawn.video)
    pd.testing.assert_frame_equal(tables.events, spotted.events, check_dtype=False)
    pd.testing.assert_frame_equal(tables.frames, pd.read_parquet(spotted.frames_file))
    with pytest.raises(MefusionError, match="face=nobody"):
        mefusion.spot(drawn.video, face="nobody")
