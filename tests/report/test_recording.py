"""The page of a spotted recording."""

import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mefusion.common.units import UNITS
from mefusion.report.recording.curves import FINE, TimeAxis, clock, curve_path, decimate, runs
from mefusion.report.recording.page import describe, write_page
from mefusion.report.recording.strips import magnify, make_strips
from mefusion.report.recording.tables import load_faces
from mefusion.report.recording.timeline import WIDE, draw, make_track, rows_of
from mefusion.report.recording.units import unit_lanes
from tests.fake_recordings import THRESHOLDS, Event, write_recording

BROWS = Event(1, 30, 36, 41, ("brow_left", "brow_right"), 3.0)
MOUTH = Event(1, 60, 75, 95, ("mouth_upper",), 4.0)
ABSENT = range(110, 120)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """4 s at 30 frames/s: raised brows from 1 s, the mouth from 2 s, no face from 3.67 to 4 s."""
    return write_recording(
        tmp_path_factory.mktemp("recording"), [BROWS, MOUTH], [n / 30 for n in range(130)], absent=ABSENT
    )


@pytest.fixture
def page(recording, tmp_path):
    """Write the page and give its text."""

    def write(events=None, **facts):
        path = tmp_path / "page.html"
        events = recording.events if events is None else events
        write_page(path, dataclasses.replace(recording.facts, **facts), events, recording.frames, recording.read)
        return path.read_text()

    return write


def points_of(path):
    """All points of an SVG path with absolute starts and relative lines, px."""
    numbers = [np.array(re.findall(r"-?\d+", run), float).reshape(-1, 2) for run in path.split("M")[1:]]
    return [run.cumsum(axis=0) / FINE for run in numbers]


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(-5, 5)), min_size=1))
def test_decimation_keeps_the_extremes_of_each_pixel(points):
    x, y = np.array(sorted(points)).T
    chosen = decimate(x, y)
    assert {0, len(x) - 1} <= {*chosen}
    assert len(chosen) <= 2 * len({*np.floor(x)}) + 2
    for column in {*np.floor(x)}:
        inside, kept = y[np.floor(x) == column], y[chosen][np.floor(x[chosen]) == column]
        assert (inside.min(), inside.max()) == (kept.min(), kept.max())


@given(st.lists(st.booleans()))
def test_runs_are_the_true_stretches(mask):
    rebuilt = np.zeros(len(mask), bool)
    for start, end in runs(np.array(mask, bool)):
        assert start < end
        assert not (start and mask[start - 1])
        rebuilt[start:end] = True
    assert rebuilt.tolist() == mask


def test_a_path_breaks_where_nothing_was_measured():
    path = curve_path(np.arange(5.0), np.array([1, 2.5, np.nan, 0, 4]))
    assert path == "M0 10l10 15M30 0l10 40"
    assert curve_path(np.arange(3.0), np.array([np.nan, 7, np.nan])) == "M10 70l0 0"


@pytest.mark.parametrize(
    ("seconds", "digits", "text"),
    [(0, 2, "0:00.00"), (59.996, 2, "1:00.00"), (75.5, 1, "1:15.5"), (3599.7, 0, "1:00:00"), (7261, 0, "2:01:01")],
)
def test_clock(seconds, digits, text):
    assert clock(seconds, digits) == text


def test_ticks_are_round_times_at_their_places():
    ticks = TimeAxis(60, 120, left=70, width=1020).ticks()
    assert ticks[0] == (70.0, "1:00")
    assert (70 + 1020 / 6, "1:10") in ticks
    assert ticks[-1] == (1090.0, "2:00")
    assert 5 <= len(TimeAxis(0, 0.4, left=0, width=1020).ticks()) <= 11
    assert 2 <= len(TimeAxis(0, 36_000, left=0, width=400).ticks()) <= 11


def test_a_long_recording_has_several_rows_and_never_many():
    assert rows_of(119.0) == [(0.0, 119.0)]
    assert rows_of(250.0) == [(0.0, 120.0), (120.0, 240.0), (240.0, 250.0)]
    hours = rows_of(5 * 3600.0)
    assert len(hours) == 6
    assert hours[0] == (0.0, 3000.0)


def test_a_known_value_lies_at_its_pixel():
    times = np.arange(0, 120, 1 / 30)
    frames = pd.DataFrame(
        {"frame": np.arange(len(times)), "time": times, "track": 1, "blink": False, "score": 0.2, "motion_nose": 0.5}
    )
    frames.loc[frames["frame"] == 1500, "motion_nose"] = 3.0  # at 50 s, 1.5 times the threshold
    frames.loc[frames["frame"].between(300, 359), "blink"] = True
    frames = frames[~frames["frame"].between(2400, 2699)]
    others = pd.DataFrame({"frame": np.arange(2400, 2700), "time": times[2400:2700], "track": pd.NA})
    track = make_track(pd.concat([frames, others]).sort_values("frame"), 1, {"nose": 2.0}, [])
    chart = draw(track, (0, 120), "", WIDE, ceiling=3, regions=["nose"])
    score, panel = chart.panels
    assert (score.title, panel.title) == ("score", "nose")
    before, after = points_of(panel.curves[0].path)
    assert len(before) + len(after) < 2 * 1010 + 4  # of 3300 values
    width = WIDE.width - WIDE.left - WIDE.right
    x, y = before[before[:, 1].argmin()]
    assert x == pytest.approx(WIDE.left + width * 50 / 120, abs=0.05)
    assert y == pytest.approx(panel.bottom - WIDE.panel * 1.5 / 3, abs=0.05)
    assert panel.threshold == pytest.approx(panel.bottom - WIDE.panel / 3)
    assert chart.blinks == [pytest.approx((WIDE.left + width * 10 / 120, width * 2 / 120), abs=0.06)]
    assert chart.absent == [pytest.approx((WIDE.left + width * 80 / 120, width * 10 / 120), abs=0.06)]


def test_bands_lie_at_their_times_and_numbers_have_room():
    times = np.arange(0, 120, 1 / 30)
    frames = pd.DataFrame(
        {"frame": np.arange(len(times)), "time": times, "track": 1, "blink": False, "score": 0.2, "motion_nose": 0.5}
    )
    shared = {"track": 1, "regions": "nose"}
    events = [
        shared | {"event": number, "kind": kind, "onset_time": onset, "apex_time": onset + 0.2, "offset_time": offset}
        for number, kind, onset, offset in [(1, "micro", 12, 12.4), (2, "macro", 13, 25), (3, "micro", 13, 13.1)]
    ]
    track = make_track(frames, 1, {"nose": 2.0}, events)
    one, two, three = draw(track, (0, 120), "", WIDE, ceiling=3, regions=["nose"]).bands
    width = WIDE.width - WIDE.left - WIDE.right
    assert (two.left, two.width) == pytest.approx((WIDE.left + width * 13 / 120, width * 12 / 120), abs=0.06)
    assert three.width == 2.5  # 0.1 s would be 0.8 px
    assert (one.numbered, two.numbered, three.numbered) == (False, True, True)
    assert (one.apex, two.apex) == (None, pytest.approx(WIDE.left + width * 13.2 / 120, abs=0.06))
    assert one.top == three.top < two.top
    (only,) = draw(track, (20, 30), "", WIDE, ceiling=3, regions=["nose"]).bands
    assert (only.number, only.left, only.width) == (2, WIDE.left, pytest.approx(width / 2, abs=0.06))


def test_magnification_moves_pixels_along_the_flow():
    y, x = np.mgrid[:120, :120].astype(np.float32)
    bump = np.exp(-((x - 60) ** 2 + (y - 60) ** 2) / 800)
    flow = np.stack([bump, -0.5 * bump], axis=-1)
    picture = np.zeros((120, 120, 3), np.uint8)
    picture[58:63, 58:63] = 255
    moved = magnify(picture, flow, np.ones((120, 120), bool), 10)[..., 0].astype(float)
    # The flow is smoothed before, which takes a little of the bump's height.
    assert (moved * x).sum() / moved.sum() == pytest.approx(70, abs=0.7)
    assert (moved * y).sum() / moved.sum() == pytest.approx(55, abs=0.7)


def test_pictures_show_the_motion_of_the_face_without_that_of_the_head(recording):
    rows = recording.events.to_dict("records")
    strips = make_strips(rows, load_faces(recording.frames, range(130)), recording.read)
    strip = strips[1, 1]
    assert {*strip.pictures} == {"onset", "apex", "offset", "magnified"}
    assert strip.largest == pytest.approx(BROWS.moves, rel=0.3)  # px; the head drifts by less than a pixel
    arrows = np.array(re.findall(r"M(\S+) (\S+)l(\S+) (-?[\d.]+)", strip.arrows), float)
    assert (arrows[:, 3] < 0).mean() > 0.9  # up
    assert np.median(arrows[:, 1]) < 90  # at the brows
    assert 1 <= strip.unit <= strip.largest


def test_pictures_that_cannot_be_made_are_a_sentence(recording):
    rows = recording.events.to_dict("records")
    faces = [*load_faces(recording.frames, range(42))]
    strips = make_strips(rows, faces, lambda numbers: (f for f in recording.read(numbers) if f.number != BROWS.apex))
    assert "the frame of apex cannot be read" in strips[1, 1]
    assert "no landmarks of this face" in strips[1, 2]


def test_the_page_needs_nothing_else_and_escapes_names(page):
    text = page(name="a <b> & 'c'.mp4", command="mefusion-spot \"a <b> & 'c'.mp4\"")
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "http" not in text
    assert "<b>" not in text
    assert "<title>a &lt;b&gt; &amp; &#39;c&#39;.mp4: spotted expressions</title>" in text
    anchors = {*re.findall(r'href="#([^"]*)"', text)}
    assert anchors == {"event-1-1", "event-1-2"}
    for anchor in anchors:
        assert text.count(f'id="{anchor}"') == 1
    assert len(text) < 400_000
    for image in re.findall(r"<img [^>]*>", text):
        assert 'alt="The face ' in image
    assert "1 track; a face in 92.3 % of the frames" in text
    assert "1 micro, 1 macro" in text


def test_an_event_in_words_with_its_warnings_and_probabilities(page, recording):
    first = recording.events.iloc[0].to_dict()
    assert describe(first) == (
        "0.37 s; moves brow (left, right), by 3.0 % of the distance between the eyes, 2.0 times the threshold"
    )
    named = {
        "prediction": ["happiness", None],
        "probability_happiness": [0.71, None],
        "probability_other": [0.29, None],
    }
    events = recording.events.assign(
        **named, bundle="mine", blink=[0.2, 0], speech=[False, True], warnings=["small", ""]
    )
    text = page(events, bundle="mine")
    one, two = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert "A blink hides 20 % of its frames." in one
    assert "<li>Unlike what the network was trained on: small.</li>" in one
    assert 'style="width: 71.0%"' in one
    assert "0:01.00 to 0:01.37: happiness</h3>" in one
    assert "<li>It looks like speech.</li>" in two
    assert "width: 71" not in two
    assert "guess of a network (mine)" in text
    assert "guess of a network" not in page()


def test_action_units_have_a_line_each_below_the_curves(page, recording):
    units = {f"unit_{unit}": [0.01, None] for unit in UNITS} | {"unit_1": [0.9, None], "unit_2": [0.5, None]}
    text = page(recording.events.assign(**units, warnings=["", "not recognised: too short"]), bundle="mine")
    timeline = re.search(r'<section class="timeline">.*?</section>', text, re.DOTALL)[0]
    assert re.findall(r">AU (\d+)</text>", timeline) == [str(unit) for unit in UNITS]
    bars = re.findall(r'<rect class="(present|weak)".*?height="(\S+)"><title>(.*?)</title>', timeline)
    assert len(bars) == 12  # the second event has none
    assert bars[0] == ("present", "11.7", "event 1, from 0:01.00: 1 inner brow raiser 0.90")
    assert bars[1] == ("weak", "6.5", "event 1, from 0:01.00: 2 outer brow raiser 0.50")
    one, two = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert one.count('class="found"') == 1
    assert "2 outer brow raiser</span>" in one
    assert 'class="present"' not in one  # the curves around an event have no such lines
    assert "classes units" not in two
    assert re.findall(r"<button type=.button.>(units[^<]*)<", text) == ["units above .5"]
    for words in ("units above", "action unit", ">AU "):
        assert words not in page()


def test_a_bar_of_a_unit_lies_where_its_event_is():
    axis = TimeAxis(10, 20, left=100, width=1000)
    shared = {"kind": "micro", "unit_12": 0.25}
    events = [
        shared | {"event": 1, "onset_time": 11.0, "offset_time": 13.0},
        shared | {"event": 2, "onset_time": 12.0, "offset_time": 12.001},
        shared | {"event": 3, "onset_time": 21.0, "offset_time": 22.0},
    ]
    (lane,) = unit_lanes(events, axis, top=50)
    assert (lane.unit, lane.name, lane.bottom) == (12, "lip corner puller", 64)
    one, two = lane.bars
    assert (one.left, one.width, one.top, one.height, one.present) == (200, 200, 60.8, 3.2, False)
    assert (two.left, two.width) == (300, 2.5)


def test_no_events_and_no_faces_say_what_to_try(page, recording, tmp_path):
    text = page(recording.events[:0])
    assert "No expression was spotted." in text
    assert "<article" not in text
    frames = tmp_path / "frames.parquet"
    table = pd.read_parquet(recording.frames).iloc[:5]
    empty = [name for name in table if name not in ("frame", "time", "blink")]
    table.assign(**{name: table[name].mask(table["frame"] >= 0) for name in empty}).to_parquet(frames)
    write_page(tmp_path / "none.html", recording.facts, recording.events[:0], frames, recording.read)
    assert "No face was found in this recording." in (tmp_path / "none.html").read_text()


def test_only_the_strongest_of_many_events_have_pictures(page, recording, monkeypatch):
    monkeypatch.setattr("mefusion.report.recording.page.MOST_STRIPS", 4)
    rows = [recording.events.iloc[[n % 2]].assign(event=n + 1, score=1 + n / 100) for n in range(7)]
    text = page(pd.concat(rows))
    articles = re.findall(r'<article id="event-1-(\d+)"', text)
    assert [int(number) for number in articles] == [4, 5, 6, 7]
    assert "Only the 4 events with the highest scores have pictures" in text
    assert '<tr id="event-1-1">' in text  # a click on its band leads to the table
    assert text.count("<tr") == 1 + 7


def test_each_track_has_its_timeline_and_its_events(page, recording, tmp_path):
    table = pd.read_parquet(recording.frames)
    second = table[table["frame"].between(50, 100)].assign(track=2)
    frames = tmp_path / "two.parquet"
    both = pd.concat([table, second.astype({"track": "Int32"})]).sort_values(["frame", "track"])
    both.to_parquet(frames)
    events = recording.events.assign(track=[1, 2], event=[1, 1])
    write_page(tmp_path / "two.html", recording.facts, events, frames, recording.read)
    text = (tmp_path / "two.html").read_text()
    one, two = re.findall(r'<section class="timeline">.*?</section>', text, re.DOTALL)
    assert ('href="#event-1-1"' in one, 'href="#event-2-1"' in one) == (True, False)
    assert ('href="#event-1-1"' in two, 'href="#event-2-1"' in two) == (False, True)
    assert one.count('class="absent"') == 4  # in each of score, brow, nose and mouth
    assert two.count('class="absent"') == 2 * 4  # before and after
    assert "Event 1 of track 2: macro" in text
    assert "2 tracks; a face in 92.3 % of the frames" in text


SCRIPT = """
<script>
const seen = {};
const rows = () => [...document.querySelectorAll("#events tbody tr")];
const order = () => rows().map(row => row.cells[0].textContent.trim()).join();
const button = name => [...document.querySelectorAll("th button")].find(b => b.textContent === name);
seen.first = order();
button("score").click();
seen.up = order() + " " + button("score").parentElement.getAttribute("aria-sort");
button("score").click();
seen.down = order() + " " + button("score").parentElement.getAttribute("aria-sort");
button("regions").click();
seen.words = order() + " " + button("score").parentElement.getAttribute("aria-sort");
const chart = document.querySelector(".timeline svg.chart"), box = chart.getBoundingClientRect();
const x = box.left + box.width * (70 + 1010 * 1.2 / 4.3) / 1100;
chart.dispatchEvent(new PointerEvent("pointermove", {clientX: x, clientY: box.top + 20}));
seen.readout = document.querySelector(".readout").textContent;
document.body.innerHTML = "";
document.body.textContent = "SEEN" + JSON.stringify(seen) + "END";
</script>
"""


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the browser chromium")
def test_a_browser_sorts_the_table_and_reads_curves(page, recording, tmp_path):
    third = recording.events.iloc[[0]].assign(event=3, score=10.0, regions="nose")
    text = page(pd.concat([recording.events.assign(score=[2.0, 1.5]), third]), duration=4.3)
    path = tmp_path / "driven.html"
    path.write_text(text.replace("</body>", f"{SCRIPT}</body>"))
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*browser, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60)
    seen = json.loads(re.search(r"SEEN(.*)END", done.stdout)[1])
    assert seen["first"] == "1,2,3"
    assert seen["up"] == "2,1,3 ascending"
    assert seen["down"] == "3,1,2 descending"
    assert seen["words"] == "1,2,3 none"  # brow, mouth, nose
    assert seen["readout"].startswith("0:01.20  score 2.1")
    highest = (
        pd.read_parquet(recording.frames).set_index("frame")["motion_brow_left"][BROWS.apex] / THRESHOLDS["brow_left"]
    )
    assert float(re.search(r"brow left ([\d.]+)", seen["readout"])[1]) == pytest.approx(highest, abs=0.03)
