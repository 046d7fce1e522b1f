from dataclasses import dataclass

import numpy as np
import pandas as pd

from mefusion.evaluation.spotting import expressions_of
from mefusion.spotting.event_table import EVENT_COLUMNS, events_of
from mefusion.spotting.events import Interval
from mefusion.spotting.measuring import Segment
from mefusion.spotting.motion import OWNERS
from mefusion.spotting.settings import SpottingSettings
from mefusion.spotting.tables import BROWS, LOWER_LIP, PLACES, frame_rows, motions_of

SETTINGS = SpottingSettings()
TIMES = np.arange(600) / SETTINGS.rate


@dataclass
class Measured:
    """A curve that was measured before."""

    values: np.ndarray
    person: int = 1
    piece: int = 0

    def pieces(self, rate):
        return [(0, self.values)]


def spotted(curve):
    """Events of a face whose landmarks do not move, for displacements [n, patches, 2] of its patches."""
    row = np.zeros(2 + len(PLACES))
    row[1] = 1
    faces = [np.concatenate([[number], row[1:]]) for number in range(len(TIMES))]
    segment = Segment([*enumerate(TIMES)], [*range(len(TIMES))], faces, [Measured(curve)])
    motions = motions_of(segment, SETTINGS)
    rows = frame_rows(segment, motions, SETTINGS, begin=0, end=np.inf)
    return events_of("talk.mp4", {1: motions[1].intervals}, rows, SETTINGS)


def test_a_lower_lip_that_goes_up_and_down_is_one_stretch_of_speech_that_does_not_count():
    curve = np.zeros((len(TIMES), len(OWNERS), 2))
    talks = (TIMES >= 4) & (TIMES < 6)
    curve[talks, LOWER_LIP, 1] = 3 - 3 * np.cos(2 * np.pi * 4 * TIMES[talks])
    raised = (TIMES >= 10) & (TIMES < 11)
    curve[np.ix_(raised, BROWS, [1])] = -(2 - 2 * np.cos(2 * np.pi * TIMES[raised]))[:, None, None]
    speech, brows = spotted(curve).to_dict("records")
    assert speech["speech"]
    assert speech["regions"] == "mouth_lower"
    assert abs(speech["onset_time"] - 4) < 0.2
    assert abs(speech["offset_time"] - 6) < 0.2
    assert not brows["speech"]
    assert expressions_of(spotted(curve))["onset_time"].tolist() == [brows["onset_time"]]


def test_a_lower_lip_that_goes_down_once_is_an_expression():
    curve = np.zeros((len(TIMES), len(OWNERS), 2))
    opens = (TIMES >= 4) & (TIMES < 5)
    curve[opens, LOWER_LIP, 1] = 3 - 3 * np.cos(2 * np.pi * TIMES[opens])
    assert not spotted(curve)["speech"].any()
    assert len(spotted(curve)) == 1


def test_without_events_none_count():
    assert expressions_of(pd.DataFrame(columns=[*EVENT_COLUMNS])).empty


def test_a_motion_where_its_face_has_no_rows_is_no_event():
    def moves(onset):
        return Interval(onset, onset + 0.2, onset + 0.4, ("nose",), 2.0, 1.5)

    rows = pd.DataFrame({"frame": range(600), "time": TIMES, "track": 1, "blink": False})
    seen, later = moves(10), moves(TIMES[-1] + 1)  # both measured, but the next part did not find the face again
    found = events_of("talk.mp4", {1: [seen, later], 2: [later]}, rows, SETTINGS)
    assert found[["track", "onset_time"]].to_numpy().tolist() == [[1, 10]]
