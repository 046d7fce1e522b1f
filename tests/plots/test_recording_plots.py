import numpy as np
import pandas as pd
import pytest
from fake_examples import texts

from mefusion import plots
from mefusion.common.errors import MefusionError


def frames_of(tracks):
    """A second at 10 frames/s; a row for each track, and one without a face in frames 8 and 9."""
    rows = [
        {"frame": n, "time": n / 10, "track": track, "score": 0.5 + track, "motion_brow_left": n, "motion_nose": 1.0}
        for n in range(8)
        for track in tracks
    ]
    rows += [{"frame": n, "time": n / 10, "track": None} for n in (8, 9)]
    return pd.DataFrame(rows).astype({"track": "Int32"})


EVENTS = pd.DataFrame(
    {
        "track": [1, 1, 2],
        "event": [1, 2, 3],
        "kind": ["micro", "macro", "micro"],
        "onset_time": [0.1, 0.3, 0.0],
        "apex_time": [0.15, 0.4, 0.1],
        "offset_time": [0.2, 0.7, 0.2],
        "prediction": ["happy $1$", np.nan, "sad"],
    }
)


def test_curves_have_their_times_and_events_those_of_their_track():
    figure = plots.motion_curves(frames_of([1, 2]), EVENTS, track=1, title="talk $1$.mp4")
    score, brow, nose = figure.axes
    assert [axis.get_ylabel() for axis in figure.axes] == ["score", "brow, %", "nose, %"]
    line = score.lines[0]
    assert line.get_xdata() == pytest.approx(np.arange(10) / 10)
    assert line.get_ydata()[:8] == pytest.approx(1.5)
    assert np.isnan(line.get_ydata()[8:]).all()
    assert brow.lines[0].get_ydata()[:8] == pytest.approx(range(8))
    spans = [patch for patch in nose.patches if patch.get_width() > 0]
    assert [(round(patch.get_x(), 2), round(patch.get_width(), 2)) for patch in spans] == [(0.1, 0.1), (0.3, 0.4)]
    assert {"1 happy $1$", "2", "talk $1$.mp4"} <= {*texts(figure)}
    assert "3 sad" not in texts(figure)


def test_the_track_that_is_seen_longest_is_drawn():
    frames = frames_of([1, 2])
    frames = frames[~((frames["track"] == 1) & (frames["frame"] > 3)).fillna(False)]
    assert "track 2" in texts(plots.motion_curves(frames, EVENTS.drop(columns="prediction")))


def test_what_is_not_there_cannot_be_drawn():
    with pytest.raises(MefusionError, match="track=3: choose from 1, 2"):
        plots.motion_curves(frames_of([1, 2]), EVENTS, track=3)
    with pytest.raises(MefusionError, match="no face was found"):
        plots.motion_curves(frames_of([]).assign(score=np.nan), EVENTS[:0])
