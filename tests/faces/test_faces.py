import sys
from urllib.error import URLError

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from mefusion.clips.video import read_clip
from mefusion.common.errors import MefusionError
from mefusion.faces import detectors
from mefusion.faces.alignment import LANDMARK_MIRROR, align_face, alignment_matrix, transform
from mefusion.faces.detectors import DlibFaces, FaceAlignmentFaces
from mefusion.synthetic.scene import SyntheticClip, SyntheticSettings, make_clip
from tests.shared_files import MEDIA

needs_media = pytest.mark.skipif(not MEDIA.is_dir(), reason="the videos are not here")
FIVE = [36, 45, 30, 48, 54]


@pytest.fixture(scope="module")
def dlib_faces():
    return DlibFaces()


@pytest.fixture(scope="module")
def portrait(dlib_faces):
    """A real photograph and its landmarks."""
    image = astronaut()
    return image, dlib_faces.landmarks([image])[0]


def eyes(landmarks):
    return landmarks[36:42].mean(0), landmarks[42:48].mean(0)


def random_face(seed):
    """Landmarks of no particular face: eyes apart, the rest anywhere near."""
    rng = np.random.default_rng(seed)
    landmarks = rng.normal(0, 30, (68, 2))
    landmarks[36:42] += (-60, 0)
    landmarks[42:48] += (60, 0)
    return landmarks


def hand_made_face():
    """Eye centres (100, 100) and (160, 100), nose tip (130, 140), mouth corners (110, 170) and (150, 170)."""
    landmarks = np.full((68, 2), 130.0)
    landmarks[36:42], landmarks[42:48] = (100, 100), (160, 100)
    landmarks[30], landmarks[48], landmarks[54] = (130, 140), (110, 170), (150, 170)
    return landmarks


def test_a_real_photograph_shows_a_face(portrait):
    image, landmarks = portrait
    assert landmarks.shape == (68, 2)
    assert (landmarks > 0).all()
    assert (landmarks < image.shape[:2][::-1]).all()
    brows, (left, right), nose = landmarks[17:27].mean(0), eyes(landmarks), landmarks[30]
    lips, chin = landmarks[48:60].mean(0), landmarks[8]
    assert brows[1] < left[1] < nose[1] < lips[1] < chin[1]
    assert landmarks[0, 0] < left[0] < nose[0] < right[0] < landmarks[16, 0]
    # Where her eyes are in the photograph, seen by eye.
    np.testing.assert_allclose(left, (203, 101), atol=4)
    np.testing.assert_allclose(right, (247, 104), atol=4)


def test_a_photograph_aligns_alike_when_the_camera_is_tilted(portrait, dlib_faces):
    image, landmarks = portrait
    tilted = cv2.warpAffine(image, cv2.getRotationMatrix2D((225, 130), 12, 1), image.shape[:2][::-1])
    (tilted_landmarks,) = dlib_faces.landmarks([tilted])
    assert abs(np.subtract(*eyes(tilted_landmarks))[1]) > 5
    upright, straightened = align_face(image, landmarks, 144)[0], align_face(tilted, tilted_landmarks, 144)[0]
    assert np.abs(upright.astype(float) - straightened).mean() < 12
    assert np.abs(upright.astype(float) - align_face(tilted, landmarks, 144)[0]).mean() > 20


def test_alignment_of_a_hand_made_face():
    # The box of the five points is 60 wide and 70 high, its centre (130, 135); half size .5 * 2.5 * 70 = 87.5.
    matrix = alignment_matrix(hand_made_face(), size=144)
    np.testing.assert_allclose(matrix[:, :2], np.eye(2) * 71.5 / 87.5, atol=1e-12)
    np.testing.assert_allclose(transform(np.array([130.0, 135.0]), matrix), (71.5, 71.5))
    # Twice the enlargement, half the scale.
    np.testing.assert_allclose(
        alignment_matrix(hand_made_face(), size=144, enlarge=5)[:, :2], np.eye(2) * 71.5 / 175, atol=1e-12
    )


@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([64, 128, 144]))
def test_alignment_levels_the_eyes_and_fits_the_five_points(seed, size):
    landmarks = random_face(seed)
    _, aligned = align_face(np.zeros((4, 4), np.uint8), landmarks, size)
    left, right = eyes(aligned)
    assert left[1] == pytest.approx(right[1], abs=1e-6)
    assert left[0] < right[0]
    points = np.array([left, right, aligned[30], aligned[48], aligned[54]])
    low, high = points.min(0), points.max(0)
    # scale = (size - 1) / 2 / half and half = .5 * 2.5 * the larger side.
    assert (high - low).max() == pytest.approx((size - 1) / 2.5)
    np.testing.assert_allclose((low + high) / 2, (size - 1) / 2)


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    angle=st.floats(-np.pi, np.pi),
    scale=st.floats(0.1, 10),
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
)
def test_aligned_landmarks_do_not_depend_on_where_the_camera_stood(seed, angle, scale, x, y):
    landmarks, blank = random_face(seed), np.zeros((4, 4), np.uint8)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    seen = scale * landmarks @ rotation.T + (x, y)
    np.testing.assert_allclose(align_face(blank, seen, 144)[1], align_face(blank, landmarks, 144)[1], atol=1e-6)


def test_the_picture_goes_where_the_landmarks_go():
    landmarks = hand_made_face() @ np.array([[0.9, 0.3], [-0.3, 0.9]]) + (40, -20)
    for point in FIVE:
        image = np.zeros((260, 260, 3), np.uint8)
        x, y = landmarks[point] = landmarks[point].round()
        cv2.circle(image, (int(x), int(y)), 3, (255, 255, 255), -1)
        picture, aligned = align_face(image, landmarks, 144)
        assert picture.shape == (144, 144, 3)
        rows, columns = np.nonzero(picture[..., 0] > 128)
        inside = (rows > 20) & (rows < 124)  # beyond the photograph the picture is grey 128, not above it
        np.testing.assert_allclose((columns[inside].mean(), rows[inside].mean()), aligned[point], atol=0.5)


def test_beyond_the_photograph_is_grey():
    picture, _ = align_face(np.zeros((200, 200), np.uint8), hand_made_face() - (100, 90), 144)
    assert picture.shape == (144, 144)
    assert picture[0, 0] == 128


@pytest.mark.parametrize("landmarks", [np.zeros((68, 2)), np.full((68, 2), 7.5)])
def test_eyes_that_coincide_are_refused(landmarks):
    with pytest.raises(ValueError, match="coincide"):
        align_face(np.zeros((9, 9), np.uint8), landmarks, 144)


def test_mirrored_landmarks_are_those_of_the_mirrored_face(portrait, dlib_faces):
    image, landmarks = portrait
    assert (LANDMARK_MIRROR[LANDMARK_MIRROR] == np.arange(68)).all()
    (mirrored,) = dlib_faces.landmarks([np.ascontiguousarray(image[:, ::-1])])
    back = mirrored[LANDMARK_MIRROR] * (-1, 1) + (image.shape[1] - 1, 0)
    between = np.linalg.norm(np.subtract(*eyes(landmarks)))
    assert np.linalg.norm(back - landmarks, axis=1).mean() < 0.08 * between
    assert np.linalg.norm(back[36:48] - landmarks[36:48], axis=1).max() < 0.1 * between


@pytest.mark.parametrize("subject", [0, 1])
def test_dlib_is_near_the_exact_landmarks_of_rendered_faces(dlib_faces, subject):
    chosen = SyntheticSettings(subjects=2, clips_per_class=1, frames=(8, 9), seed=11)
    clip = make_clip(chosen, SyntheticClip(subject, 2, 0))
    times = (0, clip.apex, len(clip) - 1)
    found = dlib_faces.landmarks([clip.frame(t) for t in times])
    exact = np.stack([clip.landmarks(t) for t in times])
    between = np.linalg.norm(np.subtract(*eyes(clip.subject.landmarks)))
    assert np.linalg.norm(found - exact, axis=-1).mean() < 0.05 * between


def test_the_face_found_in_one_frame_serves_the_clip(portrait, dlib_faces):
    image, landmarks = portrait
    blank = np.zeros_like(image)
    found = dlib_faces.landmarks([blank, image, image])
    assert found.shape == (3, 68, 2)
    np.testing.assert_allclose(found[1], landmarks)


@pytest.mark.parametrize("image", ["flat", "noise"])
def test_no_face_is_an_error(dlib_faces, image):
    frames = {
        "flat": np.full((120, 120, 3), 128, np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8),
    }
    with pytest.raises(MefusionError, match="no face"):
        dlib_faces.landmarks([frames[image]])


def test_an_unknown_backend_is_named_with_those_there_are():
    with pytest.raises(MefusionError, match=r"faces=mediapipe .*dlib, face_alignment"):
        detectors.make_backend("mediapipe")


@needs_media
def test_a_video_of_a_face(dlib_faces):
    frames = read_clip(MEDIA / "single_face.mp4")
    assert len(frames) == 72
    assert frames[0].shape == (360, 640, 3)
    chosen = frames[::6]
    landmarks = dlib_faces.landmarks(chosen)
    assert landmarks.shape == (len(chosen), 68, 2)
    assert (landmarks >= 0).all()
    assert (landmarks < (640, 360)).all()
    for frame, points in zip(chosen, landmarks, strict=True):
        left, right = eyes(points)
        assert left[1] < points[30, 1] < points[48:60, 1].mean()
        assert left[0] < points[30, 0] < right[0]
        picture, aligned = align_face(frame, points, 144)
        assert picture.shape == (144, 144, 3)
        assert eyes(aligned)[0][1] == pytest.approx(eyes(aligned)[1][1])


@needs_media
def test_a_video_without_a_face(dlib_faces):
    with pytest.raises(MefusionError, match="no face"):
        dlib_faces.landmarks(read_clip(MEDIA / "no_face.mp4", offset=3))


@needs_media
def test_a_video_that_a_face_leaves(dlib_faces):
    frames = read_clip(MEDIA / "face_noface.mov")
    assert dlib_faces.detect(frames[0]) is not None
    assert dlib_faces.detect(frames[-1]) is None
    assert dlib_faces.landmarks([frames[-1], frames[0]]).shape == (2, 68, 2)


WEIGHTS = ("s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar")


def no_download(monkeypatch):
    def fail(url, *args, **kwargs):
        raise URLError("no network here")

    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    monkeypatch.setattr("urllib.request.urlopen", fail)


def test_face_alignment_that_is_not_installed_is_named_with_its_extra_and_what_it_breaks(monkeypatch):
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(MefusionError) as error:
        FaceAlignmentFaces()
    for part in ("pip install 'mefusion[face-alignment]'", "--no-deps opencv-contrib-python-headless"):
        assert part in str(error.value)


def test_face_alignment_without_weights_names_files_and_folder(tmp_path, monkeypatch):
    pytest.importorskip("face_alignment")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    no_download(monkeypatch)
    with pytest.raises(MefusionError) as error:
        FaceAlignmentFaces()
    sentence = str(error.value)
    for part in (*WEIGHTS, str(tmp_path / "hub" / "checkpoints"), "no network here", "faces=dlib"):
        assert part in sentence
    assert "\n" not in sentence


@pytest.mark.slow
def test_face_alignment_with_weights_that_are_there(tmp_path, monkeypatch, portrait):
    pytest.importorskip("face_alignment")
    import torch
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    no_download(monkeypatch)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    for name, network in zip(WEIGHTS, (s3fd(), FAN(4)), strict=True):
        torch.save(network.state_dict(), folder / name)
    loaded, load = [], torch.load

    def watched_load(*args, **kwargs):
        loaded.append(kwargs.get("weights_only", True))
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", watched_load)
    backend = FaceAlignmentFaces()
    assert loaded == [True, True]
    image, _ = portrait
    boxes = [[10, 10, 40, 40, 0.9], [179, 83, 266, 170, 0.99]]
    monkeypatch.setattr(backend._model.face_detector, "detect_from_image", lambda image: boxes)
    landmarks = backend.landmarks([image, image])
    assert landmarks.shape == (2, 68, 2)
    assert np.isfinite(landmarks).all()
    # The larger of the two boxes was looked at: FAN's map reaches about a face's width around it.
    assert (landmarks.mean((0, 1)) > (100, 0)).all()
    monkeypatch.setattr(backend._model.face_detector, "detect_from_image", lambda image: [])
    with pytest.raises(MefusionError, match="no face"):
        backend.landmarks([image])
