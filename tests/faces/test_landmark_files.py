import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mefusion.common.errors import MefusionError
from mefusion.faces.landmark_files import clip_landmarks, read_landmarks, with_landmark_files


def some_landmarks(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 100, (count, 68, 2)).round(1)


def pictures(count):
    return [np.zeros((90, 120, 3), np.uint8)] * count


def write_openface(path, landmarks, *, success=None, first=1, header=None):
    """As OpenFace writes it: blanks after the commas, other columns between, x of all points before y."""
    names = ["frame", "face_id", "timestamp", "confidence", "success", "gaze_0_x"]
    names += [f"{axis}_{i}" for axis in "xy" for i in range(68)] + ["AU01_r"]
    rows = [
        [first + t, 0, t / 30, 0.98, 1 if success is None else success[t], 0.1, *points[:, 0], *points[:, 1], 0.5]
        for t, points in enumerate(landmarks)
    ]
    lines = [", ".join(header or names), *(", ".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_array(path, array):
    np.save(path, array)
    return path


def test_openface_tables_and_arrays_are_read_alike(tmp_path):
    landmarks = some_landmarks(5)
    table = write_openface(tmp_path / "a.csv", landmarks)
    np.testing.assert_allclose(read_landmarks(table), landmarks)
    np.testing.assert_allclose(read_landmarks(write_array(tmp_path / "a.npy", landmarks)), landmarks)
    assert read_landmarks(write_array(tmp_path / "b.npy", landmarks.astype(int))).dtype == np.float64


def test_frames_without_a_face_are_missing(tmp_path):
    landmarks = some_landmarks(4)
    landmarks[2] = 0  # what OpenFace writes where it fails
    for file in (
        write_openface(tmp_path / "a.csv", landmarks, success=(1, 0, 1, 1)),
        write_array(tmp_path / "a.npy", np.where(np.arange(4)[:, None, None] == 1, np.nan, landmarks)),
    ):
        found = read_landmarks(file)
        assert np.isnan(found).all(axis=(1, 2)).tolist() == [False, True, True, False]
        np.testing.assert_allclose(found[[0, 3]], landmarks[[0, 3]])


def test_rows_go_by_their_frame(tmp_path):
    landmarks = some_landmarks(12)
    file = write_openface(tmp_path / "a.csv", landmarks)
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, *sorted(rows)]))  # 1, 10, 11, 12, 2
    np.testing.assert_allclose(read_landmarks(file), landmarks)


def lost_frame(path):
    write_openface(path, some_landmarks(4))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], *lines[3:]]))


def two_faces(path):
    write_openface(path, some_landmarks(3))
    path.write_text(path.read_text() + path.read_text().splitlines()[-1])


def pickled(path):
    np.save(path, np.array([{"landmarks": 1}], dtype=object), allow_pickle=True)


def a_point_of(value):
    landmarks = some_landmarks(4)
    landmarks[1, 5, 0] = value
    return lambda path: np.save(path, landmarks)


def without_its_end(path):
    write_openface(path, some_landmarks(4))
    path.write_text(path.read_text()[:-300])


@pytest.mark.parametrize(
    ("name", "write", "part"),
    [
        ("a.npy", lambda path: None, "is not there"),
        ("a.npy", lambda path: path.write_bytes(b"no array"), "cannot be read as a NumPy array"),
        ("a.npy", pickled, "cannot be read as a NumPy array"),
        ("a.npy", lambda path: np.save(path, np.zeros((5, 49, 2))), "shape [5, 49, 2]"),
        ("a.npy", lambda path: np.save(path, np.full((5, 68, 2), "x")), "shape [frames, 68, 2]"),
        ("a.npy", a_point_of(np.inf), "infinite ones, in 1 of 4 frames (frame 2 is the first)"),
        ("a.npy", a_point_of(np.nan), "lacks some points of a face"),
        ("a.csv", without_its_end, "lacks some points of a face, or has infinite ones, in 1 of 4 frames"),
        ("a.csv", lambda path: path.write_text(""), "cannot be read as OpenFace's table"),
        ("a.csv", lambda path: path.write_text("frame, success\n1, 1\n"), "lacks the column x_0"),
        ("a.csv", lambda path: write_openface(path, np.full((2, 68, 2), "x")), "cannot be read as OpenFace's table"),
        ("a.csv", lost_frame, "does not have one row for each frame after frame 1"),
        ("a.csv", two_faces, "does not have one row for each frame after frame 3"),
    ],
)
def test_what_is_no_file_of_landmarks_is_one_sentence(tmp_path, name, write, part):
    write(tmp_path / name)
    with pytest.raises(MefusionError) as error:
        read_landmarks(tmp_path / name)
    assert part in str(error.value)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def clip(tmp_path):
    """Folder of the frames 10, 11, 13, 14, 15."""
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in (10, 11, 13, 14, 15):
        Image.new("RGB", (8, 8)).save(folder / f"img{number}.png")
    return folder


def test_landmarks_of_the_clip_or_of_the_whole_folder(tmp_path, clip):
    landmarks = some_landmarks(5)
    whole, own = write_array(tmp_path / "whole.npy", landmarks), write_array(tmp_path / "own.npy", landmarks[1:4])
    for file in (whole, own):
        found = clip_landmarks(file, clip, pictures(3), onset=11, offset=14)
        np.testing.assert_allclose(found, landmarks[1:4])
    np.testing.assert_allclose(clip_landmarks(whole, clip, pictures(5), onset=None, offset=None), landmarks)


def test_landmarks_of_a_whole_video(tmp_path):
    landmarks = some_landmarks(20)
    file = write_array(tmp_path / "a.npy", landmarks)
    found = clip_landmarks(file, tmp_path / "clip.mp4", pictures(6), onset=4, offset=9)
    np.testing.assert_allclose(found, landmarks[4:10])


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_landmarks_of_other_frames_are_refused(tmp_path, clip, count):
    file = write_array(tmp_path / "a.npy", some_landmarks(count))
    with pytest.raises(MefusionError, match=rf"a\.npy has landmarks of {count} frames and .*clip has 3"):
        clip_landmarks(file, clip, pictures(3), onset=11, offset=14)


def test_landmarks_outside_the_pictures_are_refused(tmp_path, clip):
    landmarks = some_landmarks(3)
    landmarks[0] = np.nan  # no face was found
    landmarks[1] += (80, 0)
    file = write_array(tmp_path / "a.npy", landmarks)
    with pytest.raises(
        MefusionError, match=r"a\.npy has a face around \(1[123]\d, \d\d\), outside the pictures of 120x90 px"
    ) as e:
        clip_landmarks(file, clip, pictures(3), onset=11, offset=14)
    assert "in 1 of 3 frames" in str(e.value)


def test_files_are_found_in_a_folder(tmp_path):
    (tmp_path / "sub01").mkdir()
    for name in ("a.npy", "b.csv"):
        (tmp_path / "sub01" / name).touch()
    table = pd.DataFrame({"subject": ["casme2/sub01"] * 3, "clip_id": ["a", "b", "c"], "landmarks": None})
    found = with_landmark_files(table, str(tmp_path))["landmarks"].tolist()
    assert found == [str(tmp_path / "sub01" / name) for name in ("a.npy", "b.csv", "c.npy")]


def test_a_column_stands_where_no_folder_is_given():
    table = pd.DataFrame({"subject": ["s"] * 2, "clip_id": ["a", "b"], "landmarks": ["x.npy", None]})
    assert with_landmark_files(table, None) is table


def test_no_landmarks_at_all_are_one_sentence(tmp_path):
    table = pd.DataFrame({"subject": ["s"], "clip_id": ["a"], "landmarks": [None]})
    with pytest.raises(MefusionError, match=r"faces=precomputed has no landmarks.*faces\.folder=DIR"):
        with_landmark_files(table, None)
    with pytest.raises(MefusionError, match=r"faces\.folder=.*nowhere is no folder"):
        with_landmark_files(table, str(tmp_path / "nowhere"))
