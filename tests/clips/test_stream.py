import os

import numpy as np
import pytest
from fake_videos import turn_metadata, write_sound, write_video
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mefusion.clips.stream import Stream, read_frames
from mefusion.common.errors import MefusionError

SIZE = (32, 48)


def numbered(count):
    """Frames of one grey level each, 10 apart, whose left half is darker."""
    frames = np.zeros((count, *SIZE, 3), np.uint8)
    frames[:] = (20 + 10 * (np.arange(count) % 20))[:, None, None, None]
    frames[:, :, : SIZE[1] // 2] -= 10
    return frames


def test_frames_have_their_numbers_times_and_pictures(tmp_path):
    frames = numbered(12)
    stream = Stream(write_video(tmp_path / "a.mp4", frames, 25))
    read = list(stream.frames())
    assert [frame.number for frame in read] == list(range(12))
    assert [frame.time for frame in read] == pytest.approx(np.arange(12) / 25, abs=1e-4)
    for frame, expected in zip(read, frames, strict=True):
        np.testing.assert_allclose(frame.image.astype(int), expected, atol=3)
        np.testing.assert_allclose(frame.grey.astype(int), expected[..., 0], atol=3)
    facts = stream.facts()
    assert (facts.width, facts.height) == (48, 32)
    assert facts.fps == pytest.approx(25, rel=0.1)
    assert facts.seconds == pytest.approx(12 / 25, abs=0.05)
    assert stream.problem is None


@given(st.lists(st.integers(1, 40), min_size=2, max_size=20), st.data())
@settings(max_examples=15, deadline=None)
def test_variable_frame_rates_keep_their_times_and_can_be_gone_on_with_anywhere(tmp_path_factory, steps, data):
    times = np.concatenate([[0], np.cumsum(steps)]) / 100
    path = write_video(tmp_path_factory.mktemp("video") / "a.mp4", numbered(len(times)), times)
    read = list(Stream(path).frames())
    assert [frame.time for frame in read] == pytest.approx(times, abs=1e-4)
    at = read[data.draw(st.integers(0, len(read) - 1))]
    rest = list(Stream(path).frames(after=(at.number, at.time)))
    assert [(frame.number, frame.time) for frame in rest] == [(f.number, f.time) for f in read[at.number :]]
    assert (rest[0].image == at.image).all()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi"])
def test_a_seek_lands_where_reading_would_come_to(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", numbered(120), 30)
    read = list(Stream(path).frames())
    rest = list(Stream(path).frames(after=(77, read[77].time)))
    assert [frame.number for frame in rest] == list(range(77, len(read)))
    assert (rest[0].image == read[77].image).all()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_applied(tmp_path, degrees):
    upright = write_video(tmp_path / "a.mp4", numbered(3))
    plain = next(Stream(upright).frames()).image
    turn_metadata(upright, degrees)
    turned = next(Stream(upright).frames())
    expected = np.rot90(plain, k=-degrees // 90)  # clockwise
    assert (turned.image == expected).all()
    assert turned.grey.shape == expected.shape[:2]
    assert (Stream(upright).facts().height, Stream(upright).facts().width) == expected.shape[:2]


def test_a_truncated_file_gives_what_it_has_and_says_so(tmp_path):
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "a.mkv", rng.integers(0, 255, (90, 64, 64, 3), dtype=np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    stream = Stream(path)
    count = len(list(stream.frames()))
    assert 10 < count < 80
    assert stream.problem == f"{path} is damaged or cut off: it ends after {(count - 1) / 30:.1f} s, {count} frames"


def test_a_cut_mp4_without_its_index_is_refused(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(40))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(MefusionError, match=r"a\.mp4 cannot be read as a video"):
        list(Stream(path).frames())


def test_what_is_no_video_is_refused_with_a_sentence(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(MefusionError, match="cannot be read as a video: replace the file"):
        Stream(tmp_path / "text.mp4").facts()
    with pytest.raises(MefusionError, match="is not there"):
        Stream(tmp_path / "gone.mp4").facts()
    with pytest.raises(MefusionError, match="has no picture, only sound"):
        Stream(write_sound(tmp_path / "sound.mp4")).facts()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_refused_and_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(MefusionError, match="is no regular file"):
        Stream(tmp_path / "pipe.mp4").facts()


def test_a_folder_of_images_is_a_recording(tmp_path):
    for number, frame in enumerate(numbered(5)):
        Image.fromarray(frame).save(tmp_path / f"img{number + 7:03d}.png")
    stream = Stream(tmp_path, fps=200)
    read = list(stream.frames(after=(2, 2 / 200)))
    assert [(frame.number, frame.time) for frame in read] == [(2, 0.01), (3, 0.015), (4, 0.02)]
    assert (read[0].image == numbered(5)[2]).all()
    assert stream.facts().seconds == pytest.approx(5 / 200)


def test_chosen_frames_are_read_in_one_pass(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(20))
    assert [frame.number for frame in read_frames(path, [3, 17, 5, 99])] == [3, 5, 17]


@pytest.mark.parametrize("fps", [0, -30, float("nan"), 1e9])
def test_a_rate_that_is_none_is_refused(tmp_path, fps):
    with pytest.raises(MefusionError, match="give the frame rate of the images"):
        Stream(tmp_path, fps)


def test_a_file_without_permission_is_said_so(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered(3))

    def refuse(name):
        raise PermissionError(13, "Permission denied", name)

    monkeypatch.setattr("mefusion.clips.stream.av.open", refuse)
    with pytest.raises(MefusionError, match=r"a\.mp4 cannot be opened: change its permissions"):
        Stream(path).facts()
