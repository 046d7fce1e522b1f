import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from mefusion.acceleration.tvl1 import tvl1_flows
from mefusion.clips.cache import (
    RECORDED_COLUMNS,
    load_arrays,
    read_index,
    read_left_out,
    read_metadata,
    save_arrays,
    save_clip,
    settings_hash,
)
from mefusion.clips.motion import dis_flow, farneback_flow, tvl1_flow
from mefusion.clips.table import clip_table
from mefusion.clips.video import read_clip
from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, replacing
from mefusion.datasets.synthetic import SyntheticSource
from mefusion.faces.alignment import align_face
from mefusion.faces.detectors import make_backend
from mefusion.preparation import identity
from mefusion.preparation.arrays import flow_image_arrays, interpolate_in_time, prepare_clip, require_flow
from mefusion.preparation.clips import prepare_clips
from mefusion.preparation.identity import cache_folder
from mefusion.preparation.settings import (
    Alignment,
    FaceSettings,
    FlowMethod,
    MissingApex,
    PreparationSettings,
    ShortClips,
)
from mefusion.synthetic.scene import SyntheticClip, SyntheticSettings, make_clip

SETTINGS = PreparationSettings(canvas=48, small=16)  # small, so that TV-L1 takes no time


def with_faces(**changes):
    return dataclasses.replace(SETTINGS, faces=FaceSettings(**changes))


class StillFace:
    """A backend that sees the same face in every frame."""

    package = "none"

    def landmarks(self, frames):
        rng = np.random.default_rng(0)
        points = rng.uniform(60, 120, (68, 2))
        points[36:42], points[42:48] = (70, 70), (110, 70)
        points[30], points[48], points[54] = (90, 90), (75, 115), (105, 115)
        points[[27, 28, 29, 33]] = (90, 70), (90, 77), (90, 84), (90, 96)
        return np.repeat(points[None], len(frames), axis=0)


def moving_texture(count, right=0.5):
    """Frames of a texture that goes right by so many px a frame, under a face that StillFace sees standing."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((180, 180)), 4)
    texture = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
    shifts = [np.float32([[1, 0, right * t], [0, 1, 0]]) for t in range(count)]
    return [cv2.cvtColor(cv2.warpAffine(texture, m, (180, 180)), cv2.COLOR_GRAY2RGB) for m in shifts]


# One clip.


@pytest.mark.parametrize(("count", "stride"), [(8, 1), (15, 1), (16, 2), (23, 2), (24, 3)])
def test_the_first_t_s_frames_are_used(count, stride):
    arrays = prepare_clip(moving_texture(count), StillFace(), SETTINGS)
    n = 8 * stride
    assert {name: array.shape for name, array in arrays.items()} == {
        "frames": (n, 48, 48),
        "frames_small": (n, 16, 16),
        "landmarks": (n, 68, 2),
        "flow": (7 * stride, 2, 48, 48),
        "onset_apex_flow": (2, 48, 48),
        "matrices": (n, 2, 3),
        "apex_place": (),
    }
    kinds = {"frames": "uint8", "frames_small": "uint8", "landmarks": "float32", "flow": "float16"}
    assert {name: str(arrays[name].dtype) for name in kinds} == kinds


def test_sizes_are_those_of_the_models():
    arrays = prepare_clip(moving_texture(8), StillFace(), PreparationSettings())
    assert arrays["frames"].shape == (8, 144, 144)
    assert arrays["frames_small"].shape == (8, 64, 64)
    assert arrays["flow"].shape == (7, 2, 144, 144)


def test_flow_goes_to_the_window_s_next_frame():
    arrays = prepare_clip(moving_texture(17), StillFace(), SETTINGS)  # stride 2
    scale = np.linalg.norm(arrays["matrices"][0, 0, :2])
    inner = arrays["flow"].astype(float)[:, :, 10:-10, 10:-10]
    np.testing.assert_allclose(inner[:, 0].mean((1, 2)), 2 * 0.5 * scale, rtol=0.15)
    np.testing.assert_allclose(inner[:, 1].mean((1, 2)), 0, atol=0.1)


@pytest.mark.parametrize(
    ("apex", "missing_apex", "place"),
    [
        (9, "midpoint", 9),  # beyond the 8 frames that windows are made of
        (None, "midpoint", 5),
        (0, "midpoint", 5),  # the onset itself is no apex
        (None, "largest_motion", 7),
        (3, "largest_motion", 3),
    ],
)
def test_the_onset_apex_flow_goes_to_the_apex(apex, missing_apex, place):
    there_and_back = [0, 1, 2, 3, 4, 5, 6, 7, 6, 5]
    still = moving_texture(8)
    frames = [still[t] for t in there_and_back]
    settings = dataclasses.replace(SETTINGS, missing_apex=missing_apex)
    arrays = prepare_clip(frames, StillFace(), settings, apex=apex)
    scale = np.linalg.norm(arrays["matrices"][0, 0, :2])
    right, down = arrays["onset_apex_flow"].astype(float)[:, 10:-10, 10:-10].mean((1, 2))
    assert arrays["apex_place"] == place
    assert right == pytest.approx(0.5 * there_and_back[place] * scale, rel=0.15)
    assert down == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("alignment", ["stabilised", "frame"])
def test_a_face_that_stands_is_aligned_as_align_face_does(alignment):
    frames = moving_texture(8)
    arrays = prepare_clip(frames, StillFace(), with_faces(alignment=alignment))
    landmarks = StillFace().landmarks(frames)
    for t in (0, 7):
        picture, points = align_face(cv2.cvtColor(frames[t], cv2.COLOR_RGB2GRAY), landmarks[t], 48)
        np.testing.assert_allclose(arrays["landmarks"][t], points, atol=1e-3)
        assert np.abs(arrays["frames"][t].astype(float) - picture).max() <= 2
        small, _ = align_face(cv2.cvtColor(frames[t], cv2.COLOR_RGB2GRAY), landmarks[t], 16)
        assert np.abs(arrays["frames_small"][t].astype(float) - small).max() <= 2


@pytest.mark.parametrize("alignment", ["stabilised", "frame"])
def test_the_canvas_shows_the_landmarks(alignment):
    """Matrices, frames and landmarks of a rendered clip belong together."""
    clip = make_clip(SyntheticSettings(subjects=1, clips_per_class=1, frames=(8, 8)), SyntheticClip(0, 1, 0))
    frames = [clip.frame(t) for t in range(8)]

    class Exact:
        package = "none"

        def landmarks(self, frames):
            return np.stack([clip.landmarks(t) for t in range(len(frames))]).astype(np.float64)

    arrays = prepare_clip(frames, Exact(), dataclasses.replace(with_faces(alignment=alignment), canvas=144))
    for t in (0, clip.apex, 7):
        matrix = arrays["matrices"][t]
        np.testing.assert_allclose(
            arrays["landmarks"][t], clip.landmarks(t) @ matrix[:, :2].T + matrix[:, 2], atol=1e-2
        )
        eyes = arrays["landmarks"][t, 36:42].mean(0), arrays["landmarks"][t, 42:48].mean(0)
        assert abs(eyes[0][1] - eyes[1][1]) < 1
        assert eyes[1][0] - eyes[0][0] > 35
    # Aligned, neighbouring frames of a micro-expression differ little; unaligned pictures of it would not.
    difference = np.abs(np.diff(arrays["frames"].astype(float), axis=0)).mean()
    assert difference < 6


def test_frames_without_a_face_take_their_neighbours_landmarks():
    class Blinking(StillFace):
        def landmarks(self, frames):
            landmarks = super().landmarks(frames)
            landmarks[[0, 3, 4]] = np.nan
            return landmarks

    frames = moving_texture(8)
    arrays, whole = (prepare_clip(frames, backend, SETTINGS) for backend in (Blinking(), StillFace()))
    assert all(np.array_equal(arrays[name], whole[name]) for name in arrays)
    with pytest.raises(MefusionError, match=r"2 of its 8 frames in a row, from its frame 4 on.*faces\.max_missing=1"):
        prepare_clip(frames, Blinking(), with_faces(max_missing=1))


def test_frames_that_are_cut_already_are_resized_whole():
    ramp = np.linspace(0, 255, 96)  # a picture twice as wide as the canvas, and as high
    frames = [
        np.repeat(np.tile(ramp + t, (48, 1))[..., None], 3, axis=2).clip(0, 255).astype(np.uint8) for t in range(8)
    ]
    arrays = prepare_clip(frames, None, SETTINGS)
    assert set(arrays) == {"frames", "frames_small", "flow", "onset_apex_flow", "matrices", "apex_place"}
    assert arrays["frames"].shape == (8, 48, 48)
    assert arrays["frames_small"].shape == (8, 16, 16)
    # Two columns become one, whose centre lies between theirs.
    halves = frames[0][:, :, 0].reshape(48, 48, 2).mean(axis=2)
    np.testing.assert_allclose(arrays["frames"][0], halves, atol=1)
    np.testing.assert_allclose(arrays["matrices"][0] @ (10.5, 7, 1), (5, 7))


def test_a_flow_image_keeps_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    (array,) = flow_image_arrays(image).values()
    assert array.shape == (3, 28, 28)
    np.testing.assert_array_equal(array[2], image[..., 2])
    with pytest.raises(MefusionError, match="the image has 40x30 pixels: a clip must be a flow image of 28x28"):
        flow_image_arrays(np.zeros((30, 40, 3), np.uint8))


def test_interpolation_by_hand():
    # Three frames become five: the second and fourth are halfway.
    frames = [np.full((2, 2, 3), value, np.uint8) for value in (0, 100, 50)]
    found = interpolate_in_time(frames, 5)
    assert [frame[0, 0, 0] for frame in found] == [0, 50, 100, 75, 50]
    assert all(frame.dtype == np.uint8 and frame.shape == (2, 2, 3) for frame in found)


def test_interpolation_keeps_first_and_last_and_may_repeat_one():
    frames = [np.full((1, 1, 3), value, np.uint8) for value in (10, 20, 40)]
    found = [frame[0, 0, 0] for frame in interpolate_in_time(frames, 8)]
    assert (found[0], found[-1]) == (10, 40)
    assert found == sorted(found)
    assert [frame[0, 0, 0] for frame in interpolate_in_time(frames[:1], 4)] == [10] * 4
    assert [frame[0, 0, 0] for frame in interpolate_in_time(frames, 3)] == [10, 20, 40]


# The cache.


@pytest.mark.parametrize("changes", [{"clip_length": 0}, {"clip_length": 1}, {"max_missing": -1}])
def test_a_bad_setting_is_named(changes):
    ((name, value),) = changes.items()
    with pytest.raises(MefusionError, match=f"{name}={value}"):
        (FaceSettings if name == "max_missing" else PreparationSettings)(**changes)


def test_every_setting_has_a_cache_of_its_own(tmp_path):
    def folder(settings=SETTINGS, source="a"):
        return cache_folder(tmp_path, settings, data="x", source={"root": source})

    assert folder() == folder()
    assert folder().parent == tmp_path / "x"
    others = {"backend": "face_alignment", "clip_length": 9, "canvas": 50, "small": 17}
    others |= {"short_clips": ShortClips.leave_out, "missing_apex": MissingApex.largest_motion, "flow": FlowMethod.dis}
    faces = {"enlarge": 2.0, "alignment": Alignment.frame, "max_missing": 4, "folder": "landmarks"}
    folders = [folder(dataclasses.replace(SETTINGS, **{name: value})) for name, value in others.items()]
    folders += [folder(with_faces(**{name: value})) for name, value in faces.items()]
    assert len({folder(), folder(source="b"), *folders}) == len(folders) + 2


@pytest.mark.parametrize(("method", "flow_of"), [("tvl1", tvl1_flow), ("dis", dis_flow), ("farneback", farneback_flow)])
def test_flow_is_measured_as_the_settings_say(method, flow_of):
    settings = dataclasses.replace(SETTINGS, flow=FlowMethod(method))
    arrays = prepare_clip(moving_texture(8), StillFace(), settings, apex=5)
    first, last = (flow_of(arrays["frames"][t], arrays["frames"][t + 1]) for t in (0, 6))
    np.testing.assert_array_equal(arrays["flow"][[0, 6]], np.stack([first, last]).astype(np.float16))
    to_the_apex = flow_of(arrays["frames"][0], arrays["frames"][5])
    np.testing.assert_array_equal(arrays["onset_apex_flow"], to_the_apex.astype(np.float16))


def test_torch_measures_flow_where_a_device_is_given():
    arrays = prepare_clip(moving_texture(8), StillFace(), SETTINGS, apex=5, flow_device="cpu")
    frames = arrays["frames"]
    expected = tvl1_flows(frames[:-1], frames[1:], device="cpu").astype(np.float16)
    np.testing.assert_array_equal(arrays["flow"], expected)
    expected = tvl1_flows(frames[:1], frames[5:6], device="cpu").astype(np.float16)
    np.testing.assert_array_equal(arrays["onset_apex_flow"], expected[0])


def test_a_device_is_for_tvl1():
    require_flow(FlowMethod.dis)
    require_flow(FlowMethod.tvl1, device="cpu")
    with pytest.raises(MefusionError, match=r"flow_device=cpu is for flow=tvl1, and OpenCV measures flow=dis: leave"):
        require_flow(FlowMethod.dis, device="cpu")


def test_the_folder_of_a_cache_stays_what_it_was(monkeypatch):
    monkeypatch.setattr(identity, "backend_version", lambda name: "1")
    folder = cache_folder(Path(), PreparationSettings(), data="x", source={"root": "a"})
    assert folder.name == "9eba18535b"


def test_a_hash_does_not_depend_on_the_order():
    assert settings_hash({"a": 1, "b": 2}) == settings_hash({"b": 2, "a": 1})
    assert settings_hash({"a": 1}) != settings_hash({"a": 2})


def test_the_same_content_gives_the_same_bytes(tmp_path):
    arrays, metadata = {"x": np.arange(3), "y": np.ones(2)}, {str(i): str(i) for i in range(9)}
    save_clip(tmp_path / "a", arrays, metadata)
    save_clip(tmp_path / "b", dict(reversed(arrays.items())), dict(reversed(metadata.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_metadata(tmp_path / "a") == metadata
    assert list(load_arrays(tmp_path / "a", ("y", "z"))) == ["y"]


def test_old_leftovers_of_killed_processes_are_removed(tmp_path):
    def left(name, hours):
        path = tmp_path / "clips" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - 3600 * hours,) * 2)

    for name, hours in ((".a.safetensors-0123abcd", 2), (".b.safetensors-0123abcd", 0.5), (".own", 2), ("c", 2)):
        left(name, hours)
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == [".b.safetensors-0123abcd", ".own", "c"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell which processes have ended")
def test_what_a_killed_process_leaves_is_removed_at_once_and_nothing_of_a_living_one(tmp_path):
    code = """
        import os, pathlib, signal, sys
        from mefusion.common.files import replacing, temporary_path
        folder = pathlib.Path(sys.argv[1])
        with replacing(folder / "study" / "config.yaml") as file:
            file.touch()
            partial = temporary_path(folder / "frames")
            partial.mkdir()
            (partial / "img001.jpg").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)])
    left = [path.name for path in tmp_path.rglob(".*")]
    assert [name.split("-")[0] for name in sorted(left)] == [".config.yaml", ".frames"]
    with replacing(tmp_path / "mine") as mine:
        mine.touch()
        elsewhere = tmp_path / re.sub("-[0-9a-f]{6}-", "-000000-", left[0])
        elsewhere.touch()
        remove_leftovers(tmp_path)
        assert {*tmp_path.rglob(".*")} == {mine, elsewhere}
    remove_leftovers(tmp_path, age=0)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mine"]


def test_what_fails_while_it_is_written_leaves_what_was_there(tmp_path):
    path = tmp_path / "clip.safetensors"
    save_clip(path, {"x": np.arange(3)}, {"state": "old"})

    def write_half():
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [file.name for file in tmp_path.iterdir()] == ["clip.safetensors"]
    assert load_arrays(path)["x"].tolist() == [0, 1, 2]
    assert read_metadata(path) == {"state": "old"}


def test_a_broken_file_has_no_metadata_and_is_named_when_read(tmp_path):
    path = tmp_path / "clip.safetensors"
    path.write_bytes(b"half")
    assert read_metadata(path) == {}
    assert read_metadata(tmp_path / "none") == {}
    for name in ("clip.safetensors", "none"):
        with pytest.raises(MefusionError, match=name):
            load_arrays(tmp_path / name)


def test_a_missing_index_names_the_command(tmp_path):
    with pytest.raises(MefusionError, match="prepare the data first with mefusion-prepare data=x"):
        read_index(tmp_path, command="mefusion-prepare data=x")


# Many clips, good and bad.

GOOD = ["a_whole", "b_short"]
BAD = {  # clip -> what its sentence says
    "c_corrupt": "img003.jpg cannot be read as an image",
    "d_truncated": "img002.jpg cannot be read as an image",
    "e_no_face": "no face",
    "f_empty": "holds no numbered images",
    "g_missing": ".webm): correct the path",
    "h_limits": "no frame between onset 50 and offset 60",
    "i_sizes": "mixes frames of different sizes",
    "j_link": "img003.jpg is a link that leaves",
}


@pytest.fixture(scope="module")
def mixed(tiny, tmp_path_factory):
    """Clips of a rendered face: one whole, one of three frames, and some that cannot be prepared."""
    root = tmp_path_factory.mktemp("mixed")
    whole = sorted(tiny.frames.glob("frames/sub01/*"))[0]
    for clip in ("a_whole", "c_corrupt", "d_truncated", "h_limits", "i_sizes", "j_link"):
        shutil.copytree(whole, root / clip)
    (root / "c_corrupt" / "img003.jpg").write_bytes(b"not a picture")
    broken = root / "d_truncated" / "img002.jpg"
    broken.write_bytes(broken.read_bytes()[:2000])
    Image.new("RGB", (50, 40)).save(root / "i_sizes" / "img004.jpg")
    (root / "j_link" / "img003.jpg").unlink()
    (root / "j_link" / "img003.jpg").symlink_to(whole / "img003.jpg")
    for clip in ("b_short", "e_no_face", "f_empty"):
        (root / clip).mkdir()
    for number in (1, 2, 3):
        shutil.copy(whole / f"img{number:03d}.jpg", root / "b_short")
    for number in range(8):
        Image.new("RGB", (90, 90), (120, 90, 80)).save(root / "e_no_face" / f"img{number}.jpg")
    return root


def table_of(root, names):
    limits = {"h_limits": {"onset": 50, "offset": 60}}
    rows = [
        {"dataset": "own", "subject": "own/s1", "clip_id": name, "path": str(root / name), "emotion": "surprise"}
        | limits.get(name, {})
        for name in names
    ]
    return clip_table(rows, origin=root, root=root)


@pytest.fixture(scope="module")
def prepared(mixed, tmp_path_factory):
    """Cache folder and what `prepare_clips` returned."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, prepare_clips(table_of(mixed, [*GOOD, *BAD]), folder, SETTINGS, workers=1)


def clip_file(folder, name):
    return folder / "clips" / "own" / "s1" / f"{name}.safetensors"


def test_bad_clips_are_named_and_the_others_prepared(prepared, mixed):
    folder, (index, failures, notes) = prepared
    assert index["clip_id"].tolist() == GOOD
    assert failures["clip_id"].tolist() == list(BAD)
    for row in failures.itertuples():
        assert BAD[row.clip_id] in row.problem
        assert str(mixed / row.clip_id) in row.problem
        assert "\n" not in row.problem
        assert not clip_file(folder, row.clip_id).exists()
    (note,) = notes
    assert f"{mixed / 'b_short'} has 3 frames, fewer than a window's 8: interpolated in time" in note


def test_tables_on_disk_say_the_same(prepared):
    folder, (index, failures, _) = prepared
    kept = pd.read_parquet(folder / "index.parquet")
    assert list(kept) == list(index)
    pd.testing.assert_frame_equal(kept, index.astype(kept.dtypes.to_dict()))
    listed = pd.read_csv(folder / "failures.csv")
    assert listed["clip_id"].tolist() == failures["clip_id"].tolist()
    assert listed["problem"].tolist() == failures["problem"].tolist()
    assert list(listed)[:5] == ["dataset", "subject", "clip_id", "path", "problem"]
    assert set(listed["emotion"]) == {"surprise"}  # so that a study can tell which of them have a class
    for row in index.itertuples():
        assert row.stride == 1
        assert row.apex_from == "midpoint"  # the table has none
        arrays = load_arrays(folder / row.file)
        assert arrays["frames"].shape == (8, 48, 48)
        assert arrays["flow"].shape == (7, 2, 48, 48)


def test_nothing_but_whole_files_is_in_the_cache(prepared):
    folder, _ = prepared
    names = sorted(path.name for path in folder.rglob("*") if path.is_file())
    assert names == ["a_whole.safetensors", "b_short.safetensors", "failures.csv", "index.parquet"]


@pytest.fixture
def copy(prepared, mixed, tmp_path):
    """A cache and its clips, to be changed: (root of the clips, cache folder)."""
    shutil.copytree(prepared[0], tmp_path / "cache")
    for name in GOOD:
        shutil.copytree(mixed / name, tmp_path / "clips" / name)
    folder = tmp_path / "cache"
    prepare_clips(table_of(tmp_path / "clips", GOOD), folder, SETTINGS, workers=1)
    return tmp_path / "clips", folder


def test_only_what_changed_is_prepared_again(copy):
    root, folder = copy
    before = {name: clip_file(folder, name).stat().st_mtime_ns for name in GOOD}
    index, failures, notes = prepare_clips(table_of(root, GOOD), folder, SETTINGS, workers=1)
    assert {name: clip_file(folder, name).stat().st_mtime_ns for name in GOOD} == before
    assert (len(index), len(failures)) == (2, 0)
    assert len(notes) == 1  # the note on the short clip is told again
    # Another picture in one clip.
    picture = root / "a_whole" / "img004.jpg"
    image = np.asarray(Image.open(picture))
    Image.fromarray(np.clip(image.astype(int) + 30, 0, 255).astype(np.uint8)).save(picture)
    old = load_arrays(clip_file(folder, "a_whole"))["frames"]
    prepare_clips(table_of(root, GOOD), folder, SETTINGS, workers=1)
    after = {name: clip_file(folder, name).stat().st_mtime_ns for name in GOOD}
    assert after["a_whole"] > before["a_whole"]
    assert after["b_short"] == before["b_short"]
    new = load_arrays(clip_file(folder, "a_whole"))["frames"]
    assert new[3].mean() > old[3].mean() + 10


def test_what_a_kill_leaves_does_not_count_as_done(copy):
    root, folder = copy
    whole = clip_file(folder, "a_whole")
    content, arrays = whole.read_bytes(), load_arrays(whole)
    whole.write_bytes(content[: len(content) // 2])  # a file that was cut short
    unfinished = clip_file(folder, "b_short")
    unfinished.rename(unfinished.with_name(".b_short.safetensors-99999"))  # a temporary name that never got its place
    index, _, _ = prepare_clips(table_of(root, GOOD), folder, SETTINGS, workers=1)
    assert index["clip_id"].tolist() == GOOD
    again = load_arrays(whole)
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)
    assert load_arrays(unfinished)["frames"].shape == (8, 48, 48)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_the_flow(path):
    arrays = load_arrays(path)
    del arrays["flow"]
    save_clip(path, arrays, read_metadata(path))


def forget_a_fact(path):
    save_clip(path, load_arrays(path), {"state": read_metadata(path)["state"]})


def put_nan_without_checksums(path):
    arrays, metadata = load_arrays(path), read_metadata(path)
    arrays["flow"][0, 0, 0, 0] = np.nan
    save_arrays(path, arrays, {"clip": json.dumps(dict(metadata))})


@pytest.mark.parametrize("damage", [flip_a_bit, lose_the_flow, forget_a_fact, put_nan_without_checksums])
def test_a_damaged_clip_is_prepared_anew(copy, damage):
    root, folder = copy
    whole, other = (clip_file(folder, name) for name in GOOD)
    before, kept = whole.read_bytes(), other.stat().st_mtime_ns
    damage(whole)
    assert whole.read_bytes() != before
    _, failures, _ = prepare_clips(table_of(root, GOOD), folder, SETTINGS, workers=1)
    assert failures.empty
    assert whole.read_bytes() == before
    assert other.stat().st_mtime_ns == kept


def test_a_clip_whose_flow_is_not_finite_is_named_and_not_kept(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr("mefusion.preparation.arrays.tvl1_flow", lambda first, _: np.full((2, *first.shape), np.nan))
    _, failures, _ = prepare_clips(table_of(mixed, GOOD), tmp_path, SETTINGS, workers=1)
    assert failures["clip_id"].tolist() == GOOD
    assert all("flow came out with values that are not finite" in problem for problem in failures["problem"])
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_short_clip_that_is_left_out_is_told_and_fails_nothing(copy):
    root, folder = copy
    settings = dataclasses.replace(SETTINGS, short_clips=ShortClips.leave_out)
    index, failures, notes = prepare_clips(table_of(root, GOOD), folder.parent / "other", settings, workers=1)
    assert index["clip_id"].tolist() == ["a_whole"]
    assert len(notes) == 1
    assert "b_short has 3 frames" in notes[0]
    assert failures.empty
    (row,) = read_left_out(folder.parent / "other" / "failures.csv").to_dict("records")
    assert (row["clip_id"], row["problem"]) == ("b_short", notes[0])


def test_a_backend_that_is_not_usable_stops_all_at_once(mixed, tmp_path):
    settings = dataclasses.replace(SETTINGS, backend="mediapipe")
    with pytest.raises(MefusionError, match="faces=mediapipe"):
        prepare_clips(table_of(mixed, GOOD), tmp_path, settings, workers=1)


def test_a_cache_that_cannot_be_made_stops_before_the_clips(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr("mefusion.preparation.clips.parallel_map", lambda *_, **__: pytest.fail("clips are prepared"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        prepare_clips(table_of(mixed, GOOD), tmp_path / "file" / "cache", SETTINGS, workers=1)


def test_what_only_preparation_sees_is_recorded(mixed, tmp_path):
    whole = [np.asarray(Image.open(path)) for path in sorted((mixed / "a_whole").iterdir())]
    points = make_backend("dlib").landmarks(whole[:1])[0]
    right = round(points[:, 0].max()) + 3  # cuts the picture beside the face
    changed = {
        "pair": [np.concatenate([frame, frame[:, ::-1]], axis=1) for frame in whole],
        "cut": [frame[:, :right] for frame in whole],
        "gap": [np.full_like(frame, 90) if t in (3, 4) else frame for t, frame in enumerate(whole)],
    }
    for name, frames in changed.items():
        (tmp_path / name).mkdir()
        for number, frame in enumerate(frames, 1):
            Image.fromarray(frame).save(tmp_path / name / f"{number}.png")
    table = table_of(tmp_path, changed)
    table.loc[table["clip_id"] == "pair", "offset"] = 20
    index, failures, notes = prepare_clips(table, tmp_path / "cache", SETTINGS, workers=1)
    assert failures.empty
    clip = index.set_index("clip_id")
    count = len(whole)
    assert clip["frames_read"].tolist() == [count] * 3
    assert clip["faces"].to_dict() == {"pair": 2, "cut": 1, "gap": 1}
    assert clip["frames_without_face"].to_dict() == {"pair": 0, "cut": 0, "gap": 2}
    assert clip["frames_past_end"].to_dict() == {"pair": 20 - count, "cut": 0, "gap": 0}
    assert clip["edge"]["cut"] < 0.1 < clip["edge"]["gap"]
    assert notes == [f"{tmp_path / 'pair'} ends {20 - count} frames before the offset 20: it is used to its end"]
    # It is in the clips' files, so that a further run, which prepares nothing, has it too.
    again, _, told = prepare_clips(table, tmp_path / "cache", SETTINGS, workers=1)
    assert told == notes
    pd.testing.assert_frame_equal(again, index)


def test_clips_of_version_0_1_lack_what_was_not_recorded(copy):
    root, folder = copy
    file = clip_file(folder, "a_whole")
    metadata = {name: value for name, value in read_metadata(file).items() if name not in RECORDED_COLUMNS}
    save_clip(file, load_arrays(file), metadata)
    prepare_clips(table_of(root, GOOD), folder, SETTINGS, workers=1)
    index = read_index(folder, command="mefusion-prepare").set_index("clip_id")
    assert index.loc["a_whole", [*RECORDED_COLUMNS]].isna().all()
    assert index["frames_read"]["b_short"] == 3


# Landmarks from files, and no landmarks.


PRECOMPUTED = dataclasses.replace(SETTINGS, backend="precomputed")


@pytest.fixture
def known(prepared, mixed, tmp_path):
    """Clips whose landmarks are in files: (their table, what a backend would make of them)."""
    landmarks = {name: make_backend("dlib").landmarks(read_clip(mixed / name)) for name in GOOD}
    for name, points in landmarks.items():
        np.save(tmp_path / f"{name}.npy", points)
    table = table_of(mixed, GOOD).assign(landmarks=[str(tmp_path / f"{name}.npy") for name in GOOD])
    return table, tmp_path


def test_landmarks_from_files_give_what_the_backend_gave(known, prepared):
    table, root = known
    index, failures, notes = prepare_clips(table, root / "cache", PRECOMPUTED, workers=1)
    assert failures.empty
    assert len(notes) == 1  # the short clip, whose landmarks are interpolated with its frames
    whole, short = (load_arrays(root / "cache" / file) for file in index["file"])
    expected = load_arrays(clip_file(prepared[0], "a_whole"))
    assert all(np.array_equal(whole[name], expected[name]) for name in expected)
    assert short["landmarks"].shape == (8, 68, 2)
    # Other landmarks are another content, and the clip is prepared anew.
    points = np.load(root / "a_whole.npy")
    np.save(root / "a_whole.npy", points + 1)
    again, _, _ = prepare_clips(table, root / "cache", PRECOMPUTED, workers=1)
    assert (again["content"] != index["content"]).tolist() == [True, False]
    # The hash of the frames alone is the same, and that of the clips whose landmarks a backend found.
    found = prepared[1][0].set_index("clip_id").loc[GOOD]
    assert again["pictures"].tolist() == index["pictures"].tolist() == found["content"].tolist()
    assert found["pictures"].tolist() == found["content"].tolist()
    assert not np.array_equal(load_arrays(root / "cache" / index["file"][0])["frames"], expected["frames"])


def test_caches_of_older_versions_have_no_hash_of_the_frames_alone(known):
    table, root = known
    index, _, _ = prepare_clips(table, root / "cache", PRECOMPUTED, workers=1)
    for file in index["file"]:
        path = root / "cache" / file
        save_clip(path, load_arrays(path), {k: v for k, v in read_metadata(path).items() if k != "pictures"})
    index.drop(columns="pictures").to_parquet(root / "cache" / "index.parquet")
    older = read_index(root / "cache", command="mefusion-prepare")
    assert older["pictures"].tolist() == index["content"].tolist()
    again, _, _ = prepare_clips(table, root / "cache", PRECOMPUTED, workers=1)  # it gets one
    pd.testing.assert_frame_equal(again, index)


def test_a_clip_without_its_landmarks_is_left_out(known):
    table, root = known
    table.loc[0, "landmarks"] = pd.NA
    points = np.load(root / "b_short.npy")
    points[:] = np.nan
    np.save(root / "b_short.npy", points)
    index, failures, _ = prepare_clips(table, root / "cache", PRECOMPUTED, workers=1)
    assert index.empty
    parts = ("no landmarks for this clip", "3 of its 3 frames in a row")
    for problem, part in zip(failures["problem"], parts, strict=True):
        assert part in problem


def test_cut_clips_need_no_faces(mixed, tmp_path):
    settings = dataclasses.replace(SETTINGS, backend="none")
    index, failures, _ = prepare_clips(table_of(mixed, ["a_whole", "e_no_face"]), tmp_path, settings, workers=1)
    assert failures.empty
    assert all("landmarks" not in load_arrays(tmp_path / file) for file in index["file"])


# The synthetic set as prepare leaves it.


def test_prepared_faces_and_flow_are_near_the_truth(tiny):
    source = SyntheticSource(root=str(tiny.root / "data"), scheme="three", subjects=2, clips_per_class=1, frames=(8, 9))
    lines = source.compare_with_truth(tiny.index, tiny.cache)
    assert all(line in tiny.printed for line in lines)
    text = "\n".join(lines)
    # "landmarks against the truth: 2.0 % of the inter-ocular distance (1.4 % without the contour, 3.8 % on it)"
    error, inner, contour = map(float, re.findall(r"([0-9.]+) %", text))
    assert inner < error < contour
    assert error < 5
    # "flow against the truth, on the face: 0.18 px where zero flow is 0.46 px off (0.39 of it)"
    assert float(re.search(r"\(([0-9.]+) of it", text)[1]) < 1


def test_the_same_subject_of_two_datasets_has_two_cache_files(mixed, tmp_path):
    table = table_of(mixed, GOOD)
    other = table.assign(dataset="other", subject="other/s1")
    index, _, _ = prepare_clips(pd.concat([table, other], ignore_index=True), tmp_path, SETTINGS, workers=1)
    assert len(index) == 2 * len(GOOD)
    assert index["file"].is_unique


def test_an_index_without_a_column_is_named(tmp_path, prepared):
    folder = tmp_path / "cache"
    folder.mkdir()
    prepared[1][0].drop(columns="apex_place").to_parquet(folder / "index.parquet")
    with pytest.raises(
        MefusionError, match=r"index\.parquet has no column 'apex_place': delete .*run mefusion-prepare"
    ):
        read_index(folder, command="mefusion-prepare")
