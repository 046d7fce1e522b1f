import numpy as np
import pytest
from fake_conversations import RATE, write_media
from fake_videos import write_sound, write_video

from mefusion.annotation.extraction.media import CutFinder, Sound, read_sound, streams_of
from mefusion.clips.stream import Frame
from mefusion.common.errors import MefusionError
from tests.shared_files import MEDIA


@pytest.fixture(scope="module")
def grey():
    return [np.full((64, 64, 3), 90, np.uint8)] * 30  # 3 s at 10 frames/s


def clicks(seconds, *at):
    """Silence with short tones."""
    sound = np.zeros(round(seconds * RATE), np.float32)
    for start in at:
        first = round(start * RATE)
        sound[first : first + 800] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(800) / RATE)
    return sound


def first_tone(sound):
    return np.flatnonzero(np.abs(sound) > 0.1)[0] / RATE


def test_sound_that_begins_late_is_padded_to_the_clock_of_the_picture(tmp_path, grey):
    path = write_media(tmp_path / "late.mp4", grey, clicks(1.5, 0.5), fps=10, sound_start=1.25)
    sound = np.concatenate([*Sound(path).blocks()])
    assert sound.dtype == np.float32
    assert not sound[: round(1.2 * RATE)].any()
    assert first_tone(sound) == pytest.approx(1.75, abs=0.03)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.7, 2.2), (2.5, 4.0)])
def test_a_part_of_the_sound_is_that_of_the_whole(tmp_path, grey, start, end):
    path = write_media(tmp_path / "talk.mp4", grey, clicks(3, 0.8, 1.5, 2.6), fps=10)
    whole = np.concatenate([*Sound(path).blocks(), np.zeros(2 * RATE, np.float32)])
    part = read_sound(path, start, end)
    assert len(part) == round((end - start) * RATE)
    np.testing.assert_allclose(part, whole[round(start * RATE) : round(end * RATE)], atol=2e-3)


@pytest.mark.parametrize("suffix", ["mkv", "mov", "avi"])
def test_a_part_is_the_same_in_other_containers(tmp_path, grey, suffix):
    path = write_media(tmp_path / f"talk.{suffix}", grey, clicks(3, 0.8, 2.0), fps=10, plain=suffix == "avi")
    assert first_tone(read_sound(path, 1.5, 2.9)) == pytest.approx(0.5, abs=0.06)


def test_where_seeking_leads_too_far_the_sound_is_read_from_its_beginning(tmp_path, grey, monkeypatch):
    path = write_media(tmp_path / "talk.mp4", grey, clicks(3, 0.8, 2.0), fps=10)
    monkeypatch.setattr("mefusion.annotation.extraction.media.PREROLL", -1.0)  # as if the file had a wrong index
    assert first_tone(read_sound(path, 1.5, 2.9)) == pytest.approx(0.5, abs=0.03)


def test_what_a_file_has_is_told(tmp_path, grey):
    assert streams_of(write_media(tmp_path / "a.mp4", grey, clicks(1), fps=10)) == {"video", "audio"}
    assert streams_of(write_video(tmp_path / "b.mp4", grey)) == {"video"}
    assert streams_of(write_sound(tmp_path / "c.mp4")) == {"audio"}
    (tmp_path / "d.mp4").touch()
    with pytest.raises(MefusionError, match=r"d\.mp4 cannot be read as a video"):
        streams_of(tmp_path / "d.mp4")


def cuts_of(pictures, rate=25.0):
    finder = CutFinder()
    for number, picture in enumerate(pictures):
        finder.update(Frame(number, number / rate, lambda form, picture=picture: picture))
    return finder.cuts()


def test_cuts_are_found_where_they_are_and_motion_and_light_are_none():
    rng = np.random.default_rng(0)
    scenes = [np.kron(rng.integers(0, 255, (6, 8, 3)), np.ones((20, 20, 1))).astype(np.uint8) for _ in range(3)]
    pictures = [scene for scene, count in zip(scenes, (20, 15, 20), strict=True) for _ in range(count)]
    assert cuts_of(pictures) == [20 / 25, 35 / 25]
    panned = [np.roll(scenes[0], 8 * shift, axis=1) for shift in range(30)]
    assert cuts_of(panned) == []
    dimmed = [(scenes[0] * light).astype(np.uint8) for light in np.linspace(1, 0.2, 30)]
    assert cuts_of(dimmed) == []
    assert cuts_of([]) == []


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the videos are not here")
def test_a_real_video_whose_sound_begins_late():
    sound = np.concatenate([*Sound(MEDIA / "face_noface.mov").blocks()])
    assert np.flatnonzero(sound)[0] / RATE == pytest.approx(2.43, abs=0.02)
