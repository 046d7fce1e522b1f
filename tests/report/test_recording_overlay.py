"""The overlay video of a spotted recording."""

from fractions import Fraction

import av
import numpy as np
import pandas as pd
import pytest

from mefusion.common.errors import MefusionError
from mefusion.report.recording.overlay import FOOTER, PANEL, SPAN, Painter, write_overlay
from mefusion.report.recording.tables import Face, iterate_faces, load_columns
from tests.fake_recordings import Event, Frame, write_recording

EVENT = Event(1, 20, 24, 30, ("brow_left", "brow_right"), 3.0)
ABSENT = range(40, 44)
# A phone's frame rate: every third frame comes late.
TIMES = [n / 30 + (0.011 if n % 3 == 2 else 0) for n in range(50)]
BLUE = np.array([0, 114, 178])  # of the first track


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_recording(tmp_path_factory.mktemp("overlay"), [EVENT], TIMES, absent=ABSENT)


@pytest.fixture(scope="module")
def overlay(recording):
    """Times [n] s and pictures of the overlay."""
    path = recording.video.with_name("overlay.mp4")
    events = recording.events.assign(prediction="surprise", probability_surprise=0.71)
    write_overlay(path, recording.read(), recording.frames, events)
    with av.open(str(path)) as container:
        assert not container.streams.audio
        (stream,) = container.streams.video
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)
        ]
    return path, [time for time, _ in frames], [picture for _, picture in frames]


def near(picture, colour):
    """Mask of the pixels with about a colour: H.264 changes them a little."""
    return (np.abs(picture.astype(int) - colour) < 40).all(axis=2)


def test_the_overlay_has_every_frame_at_its_time(overlay):
    path, times, pictures = overlay
    np.testing.assert_allclose(times, TIMES, atol=1 / 90_000)
    assert {picture.shape for picture in pictures} == {(360 + PANEL + FOOTER, 480, 3)}  # 320 px are enlarged to 480
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # browsers can show it before all of it is there
    assert not [*path.parent.glob(".overlay*")]


def test_an_event_is_named_while_it_lasts(overlay, recording):
    _, _, pictures = overlay
    box = 1.5 * next(face.box for face in iterate_faces(recording.frames) if face.frame == 24)
    left, top = int(box[0]), int(box[1])
    words = np.s_[top - 50 : top - 20, left + 2 : left + 100]  # the two lines above `track 1`'s place alone
    share = [near(picture[words], BLUE).mean() for picture in pictures]
    for number in (19, 31):
        assert share[number] < 0.05
    for number in (20, 25, 30):
        assert share[number] > 0.5


def test_boxes_and_landmarks_lie_on_the_face_and_nowhere_else(recording):
    painter = Painter(load_columns(recording.frames, ["score"]), recording.events)
    grey = np.full((240, 320, 3), 128, np.uint8)
    face = next(iterate_faces(recording.frames))
    drawn = painter.draw(Frame(5, TIMES[5], grey), [face])[:360]
    left, top, right, bottom = np.rint(1.5 * face.box).astype(int)
    assert (drawn[(top + bottom) // 2, [left, right]] == BLUE).all()
    assert (drawn[bottom, left:right] == BLUE).all(axis=1).mean() > 0.5  # some landmarks lie on the edge
    points = np.rint(1.5 * face.landmarks[27:36]).astype(int)
    assert (drawn[points[:, 1], points[:, 0]] == 255).all()
    outside = drawn[bottom + 5 :]
    assert (outside == 128).all()
    assert (painter.draw(Frame(41, TIMES[41], grey), [])[:360] == 128).all()


def test_the_curve_has_its_score_at_its_time():
    times = np.arange(0, 20, 1 / 30)
    scores = pd.DataFrame({"frame": np.arange(len(times)), "time": times, "track": 1, "score": 0.5})
    scores.loc[scores["time"].between(10.5, 11.5), "score"] = 2.0
    scores = scores[~scores["time"].between(12, 13)]
    events = pd.DataFrame({name: [] for name in ("onset_frame", "offset_frame", "onset_time", "offset_time")})
    canvas = Painter(scores, events).draw(Frame(300, 10.0, np.zeros((480, 640, 3), np.uint8)), [])
    blue = near(canvas[480 : 480 + PANEL], BLUE)

    def height(time):
        x = round(640 * (0.5 + (time - 10) / (2 * SPAN)))
        rows = np.flatnonzero(blue[:, x])
        return 3 * (1 - rows.mean() / (PANEL - 1)) if len(rows) else None

    assert height(9) == pytest.approx(0.5, abs=0.06)
    assert height(11) == pytest.approx(2.0, abs=0.06)
    assert height(12.5) is None


@pytest.mark.parametrize(
    ("shape", "drawn"), [((2160, 3840), (720, 1280)), ((241, 481), (240, 480)), ((90, 121), (358, 480))]
)
def test_pictures_are_drawn_at_a_size_that_plays(shape, drawn):
    events = pd.DataFrame({name: [] for name in ("onset_frame", "offset_frame", "onset_time", "offset_time")})
    scores = pd.DataFrame({"frame": [0], "time": [0.0], "track": pd.array([None], "Int32"), "score": [np.nan]})
    picture = Painter(scores, events).draw(Frame(0, 0.0, np.zeros((*shape, 3), np.uint8)), [])
    assert picture.shape == (drawn[0] + PANEL + FOOTER, drawn[1], 3)


def test_words_of_many_regions_and_a_face_at_the_edge_stay_inside(recording):
    long = recording.events.assign(regions="+".join(["mouth_lower"] * 16), onset_frame=0)
    face = next(iterate_faces(recording.frames))
    face = Face(0, 1, face.box - face.box[[0, 1, 0, 1]] - 30, face.landmarks - 400)
    painter = Painter(load_columns(recording.frames, ["score"]), long)
    drawn = painter.draw(Frame(0, 0.0, np.full((240, 320, 3), 128, np.uint8)), [face])
    assert near(drawn[:36, :470], BLUE).mean() > 0.5
    assert near(drawn[:36, -4:], BLUE).all()  # no letter is cut


def test_a_failure_leaves_no_file(recording, tmp_path):
    def broken():
        yield from (frame for frame in recording.read() if frame.number < 5)
        raise MefusionError("the video is damaged")

    path = tmp_path / "overlay.mp4"
    for stream, sentence in ((broken(), "damaged"), (iter(()), "has no frame")):
        with pytest.raises(MefusionError, match=sentence):
            write_overlay(path, stream, recording.frames, recording.events)
        assert not [*tmp_path.iterdir()]


def test_frames_at_one_time_are_all_written(recording, tmp_path):
    image = np.zeros((240, 320, 3), np.uint8)
    stream = [Frame(0, 0.0, image), Frame(1, 0.5, image), Frame(2, 0.5, image), Frame(3, 1.0, image)]
    write_overlay(tmp_path / "overlay.mp4", stream, recording.frames, recording.events)
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert times == [0, Fraction(1, 2), Fraction(45_001, 90_000), 1]
