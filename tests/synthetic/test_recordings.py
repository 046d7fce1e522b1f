import dataclasses
import itertools
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mefusion.common.errors import MefusionError
from mefusion.datasets.recordings import synthetic_long
from mefusion.datasets.recordings.synthetic_long import SyntheticRecordings
from mefusion.faces.alignment import alignment_matrix, transform
from mefusion.faces.detectors import DlibFaces
from mefusion.synthetic.recordings import Recording, RecordingSettings, write_recording
from mefusion.synthetic.recordings.timeline import TICKS, Span, frame_times, plan_blinks, plan_spans, strengths
from mefusion.synthetic.warps import invert, pixel_grid

SMALL = {"width": 160, "height": 128, "face_size": 128}
STILL = {"head_motion": 0, "light": 0, "noise": 0}
QUIET = {"micro_per_minute": 0, "macro_per_minute": 0, "blinks_per_minute": 0, "speech_per_minute": 0}


def recording(**options):
    return Recording(RecordingSettings(**{"seconds": 12, **SMALL, **options}))


@pytest.fixture(scope="module")
def acted():
    """Expressions only; neither head, light nor eyes move."""
    rates = {"micro_per_minute": 15, "macro_per_minute": 10}
    return recording(seconds=20, **STILL, **QUIET | rates)


def eye_aspect(points):
    def distance(a, b):
        return np.linalg.norm(points[a] - points[b])

    return (distance(37, 41) + distance(38, 40)) / (2 * distance(36, 39))


# Events.


@settings(max_examples=40)
@given(
    fps=st.sampled_from([25, 29.97, 30, 60, 200]), seed=st.integers(0, 1000), rate=st.integers(0, 8),
    leaves=st.integers(0, 1), variable=st.booleans(),
)  # fmt: skip
def test_spans_lie_apart_and_are_as_long_as_they_should_be(fps, seed, rate, leaves, variable):
    rates = {"micro_per_minute": rate, "macro_per_minute": rate, "speech_per_minute": 1, "blinks_per_minute": 30}
    chosen = RecordingSettings(seconds=90, fps=fps, leaves=leaves, seed=seed, variable_rate=variable, **rates)
    spans = plan_spans(chosen, np.random.default_rng(seed))
    blinks = plan_blinks(chosen, np.random.default_rng(seed))
    limits = {"micro": (0.1, 0.5), "macro": (0.5, 4), "speech": (1, 4), "away": (3, 5), "blink": (0.1, 0.3)}
    for span in spans + blinks:
        frames = span.offset - span.onset + 1
        low, high = limits[span.kind]
        assert low - 1e-9 <= frames / fps <= max(high, 3 / fps) + 1e-9
        assert span.kind != "macro" or frames / fps > 0.5
        assert span.onset >= 1
        assert span.offset <= chosen.length - 2
    assert all(after.onset - before.offset > fps for before, after in itertools.pairwise(spans))
    assert all(after.onset > before.offset + 1 for before, after in itertools.pairwise(blinks))
    assert [sum(span.kind == kind for span in spans) for kind in ("micro", "away")] == [round(rate * 1.5), leaves]


@given(
    frames=st.integers(3, 200), rise=st.floats(0.1, 0.9), hold=st.floats(0, 0.5), before=st.integers(1, 5),
)  # fmt: skip
def test_a_motion_rises_to_its_apex_holds_and_falls(frames, rise, hold, before):
    times = np.cumsum(np.random.default_rng(frames).uniform(0.5, 1.5, frames + before + 2))
    span = Span("macro", before, before + frames - 1)
    apex, values = strengths(times, span, rise=rise, hold=hold)
    assert span.onset <= apex <= span.offset
    assert (values > 0).all()
    assert values[apex - span.onset] == values.max() == 1
    assert (np.diff(values[: apex - span.onset + 1]) > 0).all()
    assert (np.diff(values[apex - span.onset :]) <= 0).all()


def test_the_face_moves_from_onset_to_offset_and_most_at_the_apex(acted):
    (actor,) = acted.actors
    neutral = transform(actor.subject.landmarks, actor.heads[0])
    to_crop = np.linalg.norm(alignment_matrix(neutral, size=144)[0, :2])
    moved = [to_crop * np.linalg.norm(acted.landmarks(t)[0] - neutral, axis=1).max() for t in range(len(acted))]
    assert len(acted.events) == 8
    inside = np.zeros(len(acted), bool)
    for event in acted.events.itertuples():
        inside[event.onset : event.offset + 1] = True
        assert moved[event.apex] == pytest.approx(max(moved[event.onset : event.offset + 1]))
        assert moved[event.apex] == pytest.approx(event.amplitude, rel=0.02)
    np.testing.assert_array_equal(np.array(moved) > 1e-6, inside)


def test_kinds_are_those_of_the_durations(acted):
    seconds = (acted.events["offset"] - acted.events["onset"] + 1) / 30
    np.testing.assert_array_equal(acted.events["kind"] == "micro", seconds <= 0.5)
    assert acted.events["kind"].value_counts().to_dict() == {"micro": 5, "macro": 3}


def test_some_expressions_are_emotions_and_some_are_single_units():
    events = pd.concat([recording(take=take, seconds=20, **STILL).events for take in range(6)])
    alone = events["emotion"].isna()
    assert 0 < alone.sum() < len(events)
    assert events["action_units"][alone].str.fullmatch(r"\d+").all()


# Pictures.


def test_frames_show_what_the_exact_warp_shows(acted):
    """Solved for each pixel with `invert`, and not step by step from the frame before."""
    (actor,) = acted.actors
    wanted = {t for event in acted.events[:3].itertuples() for t in (event.onset, event.apex, event.offset)}
    for frame in itertools.islice(acted.frames(), max(wanted) + 1):
        if frame.number not in wanted:
            continue
        head = actor.heads[frame.number]
        points = cv2.transform(pixel_grid(128), cv2.invertAffineTransform(head - [(0, 0, 16), (0, 0, 0)]))
        sources = invert(actor.field(frame.number), points.astype(np.float32))
        expected = cv2.remap(actor.subject.image, sources, None, cv2.INTER_CUBIC)[30:98, 30:98]
        difference = np.abs(frame.image[30:98, 46:114].astype(float) - np.clip(expected, 0, 255))
        assert difference.mean() < 0.5
        np.testing.assert_allclose(frame.landmarks, acted.landmarks(frame.number))


def test_a_still_face_is_the_same_picture():
    made = recording(seconds=2, **STILL, **QUIET)
    first, *others = [frame.image for frame in made.frames()]
    assert all((image == first).all() for image in others)


def test_neutral_stretches_have_noise_light_and_head_motion():
    made = recording(seconds=8, **QUIET)
    images = np.array([frame.image.mean() for frame in made.frames()])
    points = np.array([made.landmarks(t)[0] for t in range(len(made))])
    assert np.ptp(images) > 1
    assert 1 < np.ptp(points.mean(1), axis=0).max() < 20
    calm = [frame.image.astype(float) for frame in recording(seconds=1, head_motion=0, light=0, **QUIET).frames()]
    noise = np.std(calm, axis=0)[:20].mean()
    assert noise == pytest.approx(np.hypot(1, 1 / np.sqrt(12)), abs=0.1)  # of the sensor, and of rounding


@pytest.mark.parametrize("seed", [0, 1])
def test_heads_drift_and_turn_smoothly(seed):
    made = recording(seconds=60, seed=seed, **QUIET)
    (actor,) = made.actors
    path = np.array([transform(actor.subject.landmarks[30:31], head)[0] for head in actor.heads])
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert np.median(steps) < 0.15
    assert steps.max() < 1.2  # a turn of five pixels takes 0.4 s or more
    assert 2 < np.ptp(path, axis=0).max() < 25


def test_eyes_close_fully_and_nothing_else_moves():
    made = recording(**STILL, **QUIET | {"blinks_per_minute": 20})
    blinks = made.others
    assert (blinks["kind"] == "blink").all()
    assert len(blinks) >= 3
    blink = blinks.iloc[0]
    shown = {frame.number: frame for frame in itertools.islice(made.frames(), blink.offset + 2)}
    aspects = [eye_aspect(shown[t].landmarks[0]) for t in range(blink.onset - 1, blink.offset + 2)]
    assert min(aspects) < 0.1 < 0.3 < aspects[0] == aspects[-1]
    closed = blink.onset - 1 + int(np.argmin(aspects))
    changed = np.abs(shown[closed].image.astype(int) - shown[blink.onset - 1].image).max(-1)
    eyes = shown[blink.onset - 1].landmarks[0][36:48]
    left, top, right, bottom = (*np.floor(eyes.min(0) - 8).astype(int), *np.ceil(eyes.max(0) + 5).astype(int))
    assert changed[top:bottom, left:right].max() > 60
    changed[top:bottom, left:right] = 0
    assert changed.max() == 0


def test_a_detector_finds_the_landmarks_and_sees_the_eyes_close():
    made = recording(width=320, height=256, face_size=256, seconds=6, **QUIET | {"blinks_per_minute": 20})
    blink = made.others.iloc[0]
    middle, detector, seen = (blink.onset + blink.offset) // 2, DlibFaces(), {}
    for frame in itertools.islice(made.frames(), middle + 1):
        if frame.number in (blink.onset - 1, middle):
            seen[frame.number] = detector.landmarks([frame.image])[0]
    before = made.landmarks(blink.onset - 1)[0]
    distance = np.linalg.norm(before[36:42].mean(0) - before[42:48].mean(0))
    assert np.linalg.norm(seen[blink.onset - 1] - before, axis=1)[17:].mean() < 0.03 * distance
    assert eye_aspect(seen[middle]) < 0.75 * eye_aspect(seen[blink.onset - 1])


@pytest.mark.parametrize("fps", [30, 200])
def test_a_speaker_opens_the_mouth_3_to_6_times_a_second(fps):
    made = recording(fps=fps, **STILL, **QUIET | {"speech_per_minute": 10})
    assert made.events.empty
    for span in made.others.itertuples():
        gap = np.array([np.linalg.norm(np.subtract(*made.landmarks(t)[0][[57, 51]])) for t in range(len(made))])
        inside = gap[span.onset : span.offset + 1]
        peaks = ((inside[1:-1] > inside[:-2]) & (inside[1:-1] >= inside[2:])).sum()
        assert 2.5 <= peaks / (len(inside) / fps) <= 6.5
    talking = np.zeros(len(made), bool)
    for span in made.others.itertuples():
        talking[span.onset : span.offset + 1] = True
    assert np.ptp(gap[~talking]) == pytest.approx(0)


def test_a_face_leaves_and_returns():
    made = recording(leaves=1, noise=0, light=0, **QUIET)
    (away,) = made.others.itertuples()
    frames = [(frame.present[0], frame.image) for frame in made.frames()]
    present = np.array([each for each, _ in frames])
    assert present[: away.onset].all()
    assert present[away.offset + 1 :].all()
    middle = (away.onset + away.offset) // 2
    assert not present[middle]
    assert np.abs(np.diff(frames[middle][1].astype(int), axis=1)).max() <= 2  # an empty wall


def test_faces_stand_side_by_side_with_events_of_their_own():
    made = recording(width=256, faces=2, seconds=20)
    first, second = made.landmarks(0).mean(1)
    assert first[0] < 128 < second[0]
    assert {*made.events["face"]} == {0, 1}
    assert {*made.events["subject"]} == {"sub01", "sub02"}
    one, two = (made.events[made.events["face"] == face]["onset"].tolist() for face in (0, 1))
    assert one != two
    alone = recording(subject=1, seconds=20)
    np.testing.assert_array_equal(alone.actors[0].subject.image, made.actors[1].subject.image)


def test_equal_settings_give_equal_frames_and_another_take_others():
    first, again, other = (list(recording(seconds=5, take=take).frames()) for take in (0, 0, 1))
    assert all((a.image == b.image).all() for a, b in zip(first, again, strict=True))
    assert any((a.image != b.image).any() for a, b in zip(first, other, strict=True))


def test_a_large_amplitude_does_not_fold_the_face():
    made = recording(seconds=15, amplitude=40, macro_amplitude=40, **STILL)
    assert made.events["amplitude"].max() < 40  # what the skin can stand, which the table has
    assert sum(1 for _ in made.frames()) == 450


# What cannot be rendered.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seconds": 0}, "seconds=0: give a number above 0"),
        ({"fps": 1}, "fps=1: give a number of frames per second from 5 to 1000"),
        ({"faces": 3}, "face_size=256: 3 faces do not fit"),
        ({"face_size": 600}, "face_size=600: 1 faces do not fit"),
        ({"width": 641}, "give even numbers"),
        ({"scheme": "nine"}, "scheme=nine: choose from"),
        ({"noise": -1}, "noise=-1: give a number from 0 up"),
        ({"seed": 0.5}, "seed=0.5: give a whole number from 0 up"),
        ({"amplitude": float("nan")}, "amplitude=nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, told):
    with pytest.raises(MefusionError, match=told):
        RecordingSettings(**options)


def test_a_recording_that_is_too_short_says_how_long_it_must_be():
    with pytest.raises(MefusionError, match=r"too short for 8 micro, 7 macro.*give \d+ s or more"):
        recording(micro_per_minute=40, macro_per_minute=35, speech_per_minute=0)


# Files.


def decoded(path):
    with av.open(str(path)) as container:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    "options", [{"fps": 29.97}, {"fps": 25, "variable_rate": True}, {"fps": 200, "seconds": 1.5, "macro_per_minute": 0}]
)
def test_a_video_keeps_times_and_pictures(options, tmp_path):
    chosen = RecordingSettings(**{"seconds": 6, **SMALL, **options})
    made = write_recording(tmp_path / "long.mp4", chosen)
    shown = decoded(tmp_path / "long.mp4")
    np.testing.assert_allclose([time for time, _ in shown], made.times, atol=0.5 / TICKS)
    steps = np.diff(made.times)
    assert steps.mean() == pytest.approx(1 / chosen.fps, rel=0.02)
    assert (np.ptp(steps) > 0.3 / chosen.fps) == chosen.variable_rate
    errors = [(frame.image - image.astype(float)) ** 2 for frame, (_, image) in zip(made.frames(), shown, strict=True)]
    assert 10 * np.log10(255**2 / np.mean(errors)) > 40
    events = pd.read_csv(tmp_path / "long.events.csv", dtype={"action_units": str})
    pd.testing.assert_frame_equal(events, made.events, check_dtype=False)
    again = RecordingSettings(**json.loads((tmp_path / "long.settings.json").read_text()))
    np.testing.assert_array_equal(Recording(again).landmarks(7), made.landmarks(7))


def test_an_interrupted_video_is_not_there(tmp_path, monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Recording, "frames", stop)
    with pytest.raises(KeyboardInterrupt):
        write_recording(tmp_path / "long.mp4", RecordingSettings(seconds=2, **SMALL, **QUIET))
    assert not [*tmp_path.glob("*.mp4*"), *tmp_path.glob(".*")]


def test_times_are_those_of_the_rate():
    np.testing.assert_allclose(frame_times(RecordingSettings(seconds=1, fps=25)), np.arange(26) / 25)


def small_set(root, **options):
    return SyntheticRecordings(root=str(root), subjects=2, takes=1, seconds=5, fps=10, **SMALL, **options)


def test_a_set_is_rendered_once_and_completed_where_it_was_interrupted(tmp_path, monkeypatch):
    source = small_set(tmp_path)
    table, events = source.recordings(workers=1)
    assert table["subject"].tolist() == ["synthetic_long/sub01", "synthetic_long/sub02"]
    assert table["recording"].tolist() == ["sub01_01", "sub02_01"]
    assert table["frames"].tolist() == [50, 50]
    for row in table.itertuples():
        own = Recording(dataclasses.replace(source.settings, subject=int(row.recording[3:5]) - 1)).events
        part = events[events["recording"] == row.recording].reset_index(drop=True)
        assert (
            part[["onset", "apex", "offset"]].to_numpy(int).tolist()
            == own[["onset", "apex", "offset"]].to_numpy().tolist()
        )
    _, lost = table["path"]
    (source.folder / "recordings.csv").unlink()
    Path(lost).unlink()
    written = []
    write = synthetic_long.write_recording
    monkeypatch.setattr(
        synthetic_long, "write_recording", lambda path, each: written.append(path.name) or write(path, each)
    )
    again, _ = source.recordings(workers=1)
    assert written == ["sub02_01.mp4"]
    pd.testing.assert_frame_equal(again, table)
    source.recordings(workers=1)
    assert written == ["sub02_01.mp4"]


def test_other_settings_are_another_set(tmp_path):
    assert small_set(tmp_path).folder != small_set(tmp_path, noise=2).folder


@pytest.mark.parametrize(
    ("options", "told"),
    [({"subjects": 0}, "data.subjects=0"), ({"takes": 1.5}, "data.takes=1.5"), ({"fps": 1}, "data.fps=1")],
)
def test_a_set_of_nothing_is_refused(options, told, tmp_path):
    with pytest.raises(MefusionError, match=told):
        SyntheticRecordings(root=str(tmp_path), **options)
