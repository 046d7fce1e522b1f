import os

import cv2
import numpy as np
import pytest
from fake_videos import turn_metadata, write_video
from PIL import Image

from mefusion.clips.inspection import inspect_clip
from mefusion.clips.stream import Stream
from mefusion.clips.video import _read_video_with_av, frame_place, frames_past_end, list_frames, read_clip, read_image
from mefusion.common.errors import MefusionError


def write_frames(folder, names, size=(24, 16)):
    """Pictures whose grey value is the number that ends their names."""
    folder.mkdir(exist_ok=True)
    for name in names:
        value = int("".join(c for c in name.split(".")[0][-3:] if c.isdigit()) or 0)
        Image.new("RGB", size, (value, value, value)).save(folder / name)
    return folder


def values(frames):
    return [round(float(frame.mean())) for frame in frames]


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    folder = write_frames(tmp_path / "clip", ["img2.png", "img10.png", "img9.png", "img100.png", "img31.png"])
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "cover.png").write_bytes(b"no number, not looked at")
    assert list(list_frames(folder)) == [2, 9, 10, 31, 100]
    frames = read_clip(folder)
    assert values(frames) == [2, 9, 10, 31, 100]
    assert frames[0].shape == (16, 24, 3)
    assert frames[0].dtype == np.uint8


def test_padding_and_prefixes_may_be_uneven(tmp_path):
    folder = write_frames(tmp_path / "clip", ["reg_img007.png", "8.png", "a-0009.PNG", "006_010.bmp"])
    assert list(list_frames(folder)) == [7, 8, 9, 10]


def test_two_frames_with_one_number_are_named(tmp_path):
    folder = write_frames(tmp_path / "clip", ["img1.png", "img001.png"])
    with pytest.raises(MefusionError, match=r"img1\.png and img001\.png|img001\.png and img1\.png"):
        read_clip(folder)


@pytest.mark.parametrize(
    ("onset", "offset", "expected"),
    [
        (None, None, [2, 4, 8]),
        (4, None, [4, 8]),
        (None, 4, [2, 4]),
        (2, 2, [2]),
        (3, 7, [4]),  # frames that are missing between them are passed over
        (0, 99, [2, 4, 8]),
    ],
)
def test_onset_and_offset_are_both_included(tmp_path, onset, offset, expected):
    folder = write_frames(tmp_path / "clip", ["f2.png", "f4.png", "f8.png"])
    assert values(read_clip(folder, onset=onset, offset=offset)) == expected


@pytest.mark.parametrize(
    ("number", "place"),
    [(4, 0), (8, 1), (15, 3), (7, 0), (None, None), (2, None), (20, None)],  # 7 is missing: the frame before it
)
def test_a_frame_s_place_is_that_among_the_clip_s_frames(tmp_path, number, place):
    folder = write_frames(tmp_path / "clip", ["f2.png", "f4.png", "f8.png", "f10.png", "f15.png", "f20.png"])
    assert frame_place(folder, number, onset=4, offset=15) == place
    frames = values(read_clip(folder, onset=4, offset=15))
    assert place is None or frames[place] == max(value for value in frames if value <= number)


def test_a_frame_s_place_in_a_video(tmp_path):
    assert frame_place(tmp_path / "clip.avi", 7, onset=3, offset=9) == 4
    assert frame_place(tmp_path / "clip.avi", 7) == 7


@pytest.mark.parametrize(("onset", "offset"), [(9, 20), (5, 7), (8, 2)])
def test_no_frame_between_onset_and_offset_is_an_error(tmp_path, onset, offset):
    folder = write_frames(tmp_path / "clip", ["f2.png", "f4.png", "f8.png"])
    with pytest.raises(MefusionError, match=f"onset {onset} and offset {offset}"):
        read_clip(folder, onset=onset, offset=offset)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(MefusionError, match="no numbered images"):
        read_clip(tmp_path)


@pytest.mark.parametrize("name", ["nothing", "notes.txt", "missing.mp4"])
def test_what_is_neither_folder_nor_video_is_named(tmp_path, name):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(MefusionError, match=f"{name} is neither"):
        read_clip(tmp_path / name)


def test_frames_of_different_sizes_are_an_error(tmp_path):
    folder = write_frames(tmp_path / "clip", ["f1.png", "f2.png"])
    write_frames(folder, ["f3.png"], size=(30, 20))
    with pytest.raises(MefusionError, match="24x16, 30x20"):
        read_clip(folder)


@pytest.mark.parametrize("damage", [lambda whole: b"not a jpeg at all", lambda whole: whole[: len(whole) // 2]])
def test_a_broken_jpeg_is_named(tmp_path, damage):
    path = tmp_path / "f1.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MefusionError, match=r"f1\.jpg cannot be read as an image") as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "f1.png").touch()
    with pytest.raises(MefusionError, match=r"f1\.png cannot be read"):
        read_clip(tmp_path)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_any_image_becomes_rgb(tmp_path, mode):
    Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(tmp_path / "f1.png")
    image = read_image(tmp_path / "f1.png")
    assert image.shape == (4, 6, 3)
    assert image.mean() == 255


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Ten frames, the value of frame i about 20 + 20 i, its blue channel dark."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for i in range(10):
        writer.write(np.full((48, 64, 3), (0, 20 + 20 * i, 20 + 20 * i), np.uint8))  # BGR
    writer.release()
    return path


def test_a_video_gives_its_frames_in_rgb(video):
    pytest.importorskip("decord")
    frames = read_clip(video)
    assert len(frames) == 10
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    np.testing.assert_allclose([frame[..., 0].mean() for frame in frames], 20 + 20 * np.arange(10), atol=6)
    assert max(frame[..., 2].mean() for frame in frames) < 20


def test_frames_of_a_video_count_from_0(video):
    pytest.importorskip("decord")
    chosen = read_clip(video, onset=3, offset=5)
    np.testing.assert_allclose([frame[..., 0].mean() for frame in chosen], [80, 100, 120], atol=6)
    with pytest.raises(MefusionError, match="onset 10 and offset None"):
        read_clip(video, onset=10)


@pytest.mark.parametrize("size", [0, 3000, 6000])  # bytes of the video
def test_a_broken_video_is_named_in_one_sentence(tmp_path, video, capfd, size):
    pytest.importorskip("decord")
    (tmp_path / "clip.avi").write_bytes(video.read_bytes()[:size])
    with pytest.raises(MefusionError, match=r"clip\.avi cannot be read as a video"):
        read_clip(tmp_path / "clip.avi")
    assert capfd.readouterr() == ("", "")  # decord has a log of its own


def test_a_broken_video_writes_nothing_to_stderr(tmp_path, capfd):
    pytest.importorskip("decord")
    (tmp_path / "clip.mp4").write_bytes(b"this is no video" * 50)
    with pytest.raises(MefusionError):
        read_clip(tmp_path / "clip.mp4")
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_frame_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "f1.png")
    with pytest.raises(MefusionError, match=r"f1\.png is no regular file"):
        read_clip(tmp_path)
    (problem,) = inspect_clip(
        {"path": tmp_path, "root": tmp_path, "onset": None, "apex": None, "offset": None}, clip_length=1
    ).problems
    assert "f1.png is no file" in problem


@pytest.mark.parametrize(("offset", "past"), [(None, 0), (5, 0), (6, 0), (9, 3)])
def test_frames_past_the_end(tmp_path, offset, past):
    for number in (2, 3, 6):  # a gap is not the end
        Image.new("RGB", (4, 4)).save(tmp_path / f"{number}.png")
    assert frames_past_end(tmp_path, count=3, onset=2, offset=offset) == past
    # A video of 7 frames, counted from 0.
    assert frames_past_end(tmp_path / "a.avi", count=5, onset=2, offset=offset) == past


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_clip_of_a_phone_is_read_as_it_is_displayed(tmp_path, degrees):
    frames = np.zeros((3, 64, 96, 3), np.uint8)
    frames[:, :20, :40] = 200
    path = write_video(tmp_path / "a.mp4", frames)
    plain = read_clip(path)[0]
    turn_metadata(path, degrees)
    for clip in (read_clip(path), _read_video_with_av(path, None, None), [f.image for f in Stream(path).frames()]):
        assert len(clip) == 3
        np.testing.assert_allclose(clip[0].astype(int), np.rot90(plain, k=-degrees // 90), atol=2)
