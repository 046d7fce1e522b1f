import dataclasses
import hashlib
import shutil
from functools import lru_cache

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from mefusion.common.errors import MefusionError
from mefusion.datasets.manifest import read_manifest
from mefusion.datasets.synthetic import write_synthetic
from mefusion.faces.alignment import LANDMARK_MIRROR, alignment_matrix, eye_centres, transform
from mefusion.synthetic.expressions import ACTION_UNITS, displacement
from mefusion.synthetic.mixtures import EXTRA_UNITS, MIXTURES, Expression, express
from mefusion.synthetic.portraits import load_portraits
from mefusion.synthetic.render import act
from mefusion.synthetic.scene import (
    SyntheticClip,
    SyntheticSettings,
    list_clips,
    make_clip,
    make_subject,
    synthetic_folder,
)
from mefusion.synthetic.truth import flow_errors, landmark_errors
from mefusion.synthetic.warps import invert, pixel_grid, sample, spline_basis, steepest

SETTINGS = SyntheticSettings(subjects=2, clips_per_class=1, frames=(8, 9))
SMALL = SyntheticSettings(subjects=2, clips_per_class=1, frames=(2, 3), size=96, scheme="three")
CLIPS = [SyntheticClip(0, 0, 0), SyntheticClip(0, 1, 0), SyntheticClip(1, 2, 0)]


@lru_cache
def clip_of(clip, settings=SETTINGS):
    return make_clip(settings, clip)


def quiet(clip, t, shots=16):
    """Frame t without changes of light, its sensor noise averaged away over many shots."""
    steady = dataclasses.replace(clip, gains=np.ones(len(clip)), sides=np.zeros((len(clip), 2)))
    return np.mean([dataclasses.replace(steady, noise_seed=seed).frame(t) for seed in range(shots)], axis=0)


def still(clip):
    """The same expression with neither head motion nor blinks."""
    head, zeros = np.repeat(np.eye(2, 3)[None], len(clip), axis=0), np.zeros(len(clip), np.float32)
    return dataclasses.replace(clip, head=head, blink_course=zeros, turn_course=zeros)


def show(subject, *units, frames=8, amplitude=2.5, seed=3):
    expression = express(units, np.random.default_rng(seed))
    return act(subject, expression, frames=frames, amplitude=amplitude, seed=seed)


def face(clip, t):
    """Mask of the face in frame t."""
    mask = np.zeros((clip.subject.size,) * 2, np.uint8)
    return cv2.fillConvexPoly(mask, cv2.convexHull(clip.landmarks(t).astype(np.int32)), 1).astype(bool)


def apex_motion(clip):
    """How far each landmark goes from onset to apex, (outwards, downwards) of the face, in units of the largest."""
    moved = still(clip).landmarks(clip.apex) - still(clip).landmarks(0)
    left, right = eye_centres(clip.subject.landmarks)
    along = (right - left) / np.linalg.norm(right - left)
    sideways, down = moved @ along, moved @ (-along[1], along[0])
    outwards = sideways * np.sign((clip.subject.landmarks - clip.subject.landmarks[30]) @ along)
    return np.stack([outwards, down], axis=1) / np.linalg.norm(moved, axis=1).max()


# Exact truth.


@pytest.mark.parametrize("chosen", CLIPS)
def test_flow_warps_the_next_frame_onto_this_one(chosen):
    clip = clip_of(chosen)
    for first, second, ratio in ((0, 1, 0.6), (clip.apex - 1, clip.apex, 0.6), (0, clip.apex, 0.2)):
        one, other, mask = quiet(clip, first), quiet(clip, second), face(clip, first)
        reached = pixel_grid(clip.subject.size) + clip.flow(first, second).transpose(1, 2, 0)
        back = cv2.remap(other, reached.astype(np.float32), None, cv2.INTER_CUBIC)
        error, unmoved = np.abs(back - one)[mask].mean(), np.abs(other - one)[mask].mean()
        assert error < (1.0, 2.5)[chosen.subject]  # the second portrait is sharper
        assert error < ratio * unmoved


@pytest.mark.parametrize("chosen", CLIPS)
def test_landmarks_follow_the_flow(chosen):
    clip = clip_of(chosen)
    for first, second in ((0, 1), (0, clip.apex), (clip.apex, len(clip) - 1), (len(clip) - 1, 0)):
        flow = np.ascontiguousarray(clip.flow(first, second).transpose(1, 2, 0))
        followed = clip.landmarks(first) + sample(flow, clip.landmarks(first))
        assert np.linalg.norm(clip.landmarks(second) - clip.landmarks(first), axis=1).max() > 0.1
        np.testing.assert_allclose(followed, clip.landmarks(second), atol=0.03)


def test_flows_chain():
    clip = clip_of(CLIPS[1])
    grid, last = pixel_grid(clip.subject.size), len(clip) - 1
    there = clip.flow(0, clip.apex).transpose(1, 2, 0)
    onwards = sample(np.ascontiguousarray(clip.flow(clip.apex, last).transpose(1, 2, 0)), grid + there)
    mask = face(clip, 0)
    np.testing.assert_allclose((there + onwards)[mask], clip.flow(0, last).transpose(1, 2, 0)[mask], atol=0.05)


def test_a_frame_flows_nowhere_to_itself():
    clip = clip_of(CLIPS[0])
    np.testing.assert_allclose(clip.flow(3, 3), 0, atol=0.02)


def test_inversion_undoes_a_warp():
    grid = pixel_grid(64)
    field = 3 * np.stack([np.sin(grid[..., 1] / 9), np.cos(grid[..., 0] / 7)], -1).astype(np.float32)
    origins = invert(field, grid)
    np.testing.assert_allclose((origins + sample(field, origins))[8:-8, 8:-8], grid[8:-8, 8:-8], atol=0.02)


def test_a_warp_that_folds_is_not_inverted():
    grid = pixel_grid(64)
    field = 40 * np.stack([np.sin(grid[..., 0] / 3), np.zeros((64, 64))], -1).astype(np.float32)
    with pytest.raises(ArithmeticError, match="folds"):
        invert(field, grid)


def test_the_spline_meets_its_controls():
    rng = np.random.default_rng(0)
    controls, values = rng.uniform(0, 100, (12, 2)), rng.normal(size=(12, 2))
    np.testing.assert_allclose(spline_basis(controls, controls, scale=100) @ values, values, atol=1e-4)


def test_errors_against_the_truth_are_zero_for_the_truth():
    clip = clip_of(CLIPS[2])
    matrices = np.stack([alignment_matrix(clip.landmarks(t), size=144) for t in range(len(clip))])
    exact = np.stack([transform(clip.landmarks(t), m) for t, m in enumerate(matrices)])
    flow = np.zeros((len(clip), 2, 144, 144), np.float32)
    arrays = {"matrices": matrices, "landmarks": exact, "flow": flow, "frames": np.zeros((len(clip), 144, 144))}
    np.testing.assert_allclose(landmark_errors(clip, arrays), 0, atol=1e-4)
    # 10 % of the distance of the eyes to the right, everywhere.
    left, right = (exact[:, part].mean(1) for part in (slice(36, 42), slice(42, 48)))
    arrays["landmarks"] = exact + 0.1 * np.linalg.norm(right - left, axis=1)[:, None, None] * (1, 0)
    np.testing.assert_allclose(landmark_errors(clip, arrays), 10, atol=1e-3)
    # Zero flow is as far off as zero flow is.
    error, motion = flow_errors(clip, arrays, first=0, second=clip.apex)
    assert error == pytest.approx(motion)
    assert motion > 0.1
    # In a clip that stands, aligned by the same matrix, zero is the truth.
    standing = dataclasses.replace(still(clip), course=np.zeros(len(clip), np.float32))
    arrays["matrices"] = np.repeat(matrices[:1], len(clip), axis=0)
    assert flow_errors(standing, arrays, first=0, second=3) == pytest.approx((0, 0), abs=0.02)


# Expressions.

FAR = {  # action unit -> landmarks that it has nothing to do with
    1: [5, 8, 11, 48, 54, 57],
    4: [5, 8, 11, 48, 54, 57],
    12: [17, 21, 22, 26, 37, 44, 27],
    26: [17, 21, 22, 26, 37, 44, 27],
}


@pytest.mark.parametrize("subject", [0, 1])
@pytest.mark.parametrize(
    ("unit", "points", "outwards", "down"),
    [
        (1, [21, 22], 0, -1),  # inner brows up
        (2, [18, 25], 0, -1),  # outer brows up
        (4, [21, 22], -1, 1),  # brows down and together
        (12, [48, 54], 1, -1),  # corners of the mouth outwards and up
        (15, [48, 54], 0, 1),  # corners of the mouth down
        (20, [48, 54], 1, 0),  # corners of the mouth outwards
        (26, [8, 57], 0, 1),  # chin and lower lip down
    ],
)
def test_action_units_move_what_they_should(subject, unit, points, outwards, down):
    expression = Expression((unit,), displacement(ACTION_UNITS[unit]))
    clip = act(make_subject(SETTINGS, subject), expression, frames=8, amplitude=2.5, seed=3)
    assert clip.action_units == (unit,)
    motion = apex_motion(clip)
    for point in points:
        assert np.linalg.norm(motion[point]) > 0.4
        for value, sign in zip(motion[point], (outwards, down), strict=True):
            if sign:
                assert sign * value > 0.15
    assert np.linalg.norm(motion[FAR.get(unit, [])], axis=-1).max(initial=0) < 0.15


@pytest.mark.parametrize("amplitude", [1.5, (1, 2)])
def test_amplitude_is_what_the_most_moved_landmark_travels_on_the_crop(amplitude):
    settings = dataclasses.replace(SETTINGS, amplitude=amplitude, size=128)
    travels = []
    for take in range(30):
        clip = still(make_clip(settings, SyntheticClip(0, 1, take)))
        matrix = alignment_matrix(clip.subject.landmarks, size=144)
        onset, apex = (transform(clip.landmarks(t), matrix) for t in (0, clip.apex))
        travels.append(np.linalg.norm(apex - onset, axis=1).max())
    if amplitude == 1.5:
        np.testing.assert_allclose(travels, 1.5, rtol=0.01)
    else:
        assert 0.99 < min(travels) < 1.2
        assert 1.8 < max(travels) < 2.01


def test_the_two_sides_of_a_face_move_differently():
    subject = make_subject(SETTINGS, 0)
    ratios = []
    for seed in range(12):
        motion = np.linalg.norm(apex_motion(show(subject, 12, seed=seed)), axis=1)
        ratios.append(motion[48] / motion[54])
    assert min(ratios) < 0.9
    assert max(ratios) > 1.1
    assert min(ratios) < 0.4 or max(ratios) > 2.5  # one-sided


def test_a_displacement_by_hand():
    # AU 12 moves the corner of the mouth (0.7 outwards, 0.8 up); the right side half as much.
    field = displacement(ACTION_UNITS[12], left=1, right=0.5)
    np.testing.assert_allclose(field[48], (-0.7, -0.8))
    np.testing.assert_allclose(field[54], (0.35, -0.4))
    assert not field[[8, 27, 30, 36, 51]].any()
    # The chin is on the midline: it goes down by the mean of the two sides.
    np.testing.assert_allclose(displacement(ACTION_UNITS[26], left=1, right=0.5)[8], (0, 0.75))


def test_equal_sides_mirror_each_other():
    for motion in ACTION_UNITS.values():
        field = displacement(motion)[:68]
        np.testing.assert_allclose(field[LANDMARK_MIRROR] * (-1, 1), field)


@pytest.mark.parametrize("chosen", CLIPS)
def test_the_expression_starts_neutral_and_is_largest_at_the_apex(chosen):
    clip = still(clip_of(chosen))
    neutral = clip.subject.landmarks
    travels = [np.linalg.norm(clip.landmarks(t) - neutral, axis=1).max() for t in range(len(clip))]
    assert travels[0] == pytest.approx(0, abs=1e-4)
    assert np.argmax(travels) == clip.apex
    assert (np.diff(travels[: clip.apex + 1]) > 0).all()
    assert (np.diff(travels[clip.apex :]) < 0).all()
    assert travels[-1] < 0.35 * travels[clip.apex]


@pytest.mark.parametrize("frames", [2, 3, 4, 5, 8, 40])
def test_clips_of_any_length(frames):
    for seed in range(20):
        clip = show(make_subject(SMALL, 0), 12, frames=frames, seed=seed)
        assert len(clip) == frames
        assert 0 < clip.apex < frames
        assert clip.course[clip.apex] == 1


@pytest.mark.parametrize("scheme", MIXTURES)
def test_every_emotion_renders(scheme):
    settings = dataclasses.replace(SETTINGS, scheme=scheme, size=160)
    clips = [clip for clip in list_clips(settings) if clip.subject == 0]
    assert len(clips) == len(MIXTURES[scheme])
    for chosen in clips:
        clip = make_clip(settings, chosen)
        mixture = list(MIXTURES[scheme].values())[chosen.emotion]
        units = set(clip.action_units)
        assert any(set(known) <= units <= {*known, *EXTRA_UNITS} for known in mixture)
        frame = clip.frame(clip.apex)
        assert frame.shape == (160, 160, 3)
        assert frame.dtype == np.uint8
        assert frame.std() > 20


def test_subjects_are_different_people():
    one, other = (make_subject(SETTINGS, number) for number in (0, 1))
    between = np.linalg.norm(np.subtract(*eye_centres(one.landmarks)))
    shapes = [transform(s.landmarks, alignment_matrix(s.landmarks, size=144)) for s in (one, other)]
    assert np.abs(shapes[0] - shapes[1]).mean() > 1
    assert np.abs(one.landmarks - other.landmarks).mean() < between
    assert np.abs(one.image - other.image).mean() > 5


def test_built_in_portraits_are_two_people_in_turn():
    portraits = [portrait.image.mean(axis=-1) for portrait in load_portraits(None, 96)]

    def likeness(image, portrait):
        return max(np.corrcoef(each.ravel(), portrait.ravel())[0, 1] for each in (image, image[:, ::-1]))

    images = [make_subject(SMALL, number).image.mean(axis=-1) for number in range(4)]
    nearest = [np.argmax([likeness(image, portrait) for portrait in portraits]) for image in images]
    assert nearest == [0, 1, 0, 1]


def test_eyes_close_and_open_and_no_skin_folds():
    lids, slopes = [], []
    for take in range(40):
        clip = make_clip(SMALL, SyntheticClip(take % 2, take % 3, take))
        lids.append(clip.blink_course)
        slopes += [steepest(clip.displacement(t)) for t in range(len(clip))]
    deepest = [course[np.abs(course).argmax()] for course in lids]
    assert max(deepest) > 0.2
    assert min(deepest) < -0.1
    assert 0.2 < np.mean([not course.any() for course in lids]) < 0.6
    assert max(slopes) < 1


def test_a_turning_head_moves_its_nose_most():
    clip = clip_of(CLIPS[0])
    turned = dataclasses.replace(still(clip), course=np.zeros(len(clip)), turn_course=np.full(len(clip), 0.05))
    moved = np.linalg.norm(turned.landmarks(0) - clip.subject.landmarks, axis=1)
    assert moved.argmax() in (29, 30)
    assert moved[[0, 16]].max() < 0.7 * moved[30]
    assert moved[8] < 0.7 * moved[30]


def test_light_changes_over_a_clip_and_from_side_to_side():
    clip = clip_of(CLIPS[0])
    assert np.ptp(clip.gains) > 0.003
    lit = dataclasses.replace(still(clip), gains=np.ones(len(clip)), sides=np.full((len(clip), 2), (0.4, 0)))
    dark = dataclasses.replace(lit, sides=np.zeros((len(clip), 2)))
    ratio = lit.frame(0).astype(float).mean(axis=(0, 2)) / dark.frame(0).astype(float).mean(axis=(0, 2))
    assert ratio[:20].mean() == pytest.approx(0.815, abs=0.03)
    assert ratio[-20:].mean() == pytest.approx(1.185, abs=0.06)  # white stays white


# Determinism and files.


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("first"), SMALL, workers=1)


def test_the_same_seed_gives_the_same_files(written, tmp_path):
    again = write_synthetic(tmp_path, SMALL, workers=2)
    assert again.name == written.name
    files = digests(written)
    assert len([name for name in files if name.endswith(".jpg")]) >= 12
    assert files == digests(again)


def test_another_seed_gives_another_set(written):
    other = dataclasses.replace(SMALL, seed=1)
    assert synthetic_folder(written.parent, other) != written
    one, two = make_clip(SMALL, CLIPS[0]), make_clip(other, CLIPS[0])
    assert np.abs(one.subject.landmarks - two.subject.landmarks).mean() > 0.3
    assert not np.array_equal(one.frame(0), two.frame(0))


def test_a_set_is_ordinary_frames_and_a_manifest(written):
    table = read_manifest(written / "manifest.csv", dataset="synthetic")
    assert len(table) == 6
    assert set(table["subject"]) == {"synthetic/sub01", "synthetic/sub02"}
    assert set(table["emotion"]) == {"negative", "positive", "surprise"}
    for row in table.itertuples():
        subject, emotion, take = row.clip_id.split("_")
        clip = make_clip(
            SMALL, SyntheticClip(int(subject[3:]) - 1, list(MIXTURES["three"]).index(emotion), int(take) - 1)
        )
        assert (row.onset, row.apex, row.offset) == (1, clip.apex + 1, len(clip))
        assert sorted(map(int, row.action_units.split("+"))) == sorted(clip.action_units)
        files = sorted((written / row.path).iterdir())
        assert [file.name for file in files] == [f"img{t + 1:03d}.jpg" for t in range(len(clip))]
        with Image.open(files[0]) as image:
            assert image.size == (96, 96)
            assert np.abs(np.asarray(image).astype(float) - clip.frame(0)).mean() < 6  # JPEG


def test_an_interrupted_set_is_completed(written, tmp_path):
    folder = tmp_path / written.name
    shutil.copytree(written, folder)
    before = digests(folder)
    (folder / "manifest.csv").unlink()
    shutil.rmtree(folder / "frames" / "sub01" / "sub01_positive_01")
    untouched = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    assert write_synthetic(tmp_path, SMALL, workers=1) == folder
    assert digests(folder) == before
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched


def test_a_set_that_is_there_is_left_alone(written):
    before = {path: path.stat().st_mtime_ns for path in written.rglob("*")}
    assert write_synthetic(written.parent, SMALL) == written
    assert {path: path.stat().st_mtime_ns for path in written.rglob("*")} == before


# Bad settings.


def test_an_amplitude_that_folds_the_face_is_one_sentence(tmp_path):
    settings = dataclasses.replace(SMALL, subjects=1, amplitude=60)
    with pytest.raises(MefusionError, match=r"data\.amplitude=60"):
        write_synthetic(tmp_path, settings, workers=1)
    assert not list(tmp_path.rglob("manifest.csv"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"subjects": 0}, "data.subjects=0"),
        ({"clips_per_class": -1}, "data.clips_per_class=-1"),
        ({"amplitude": 0}, "data.amplitude=0: give a number above 0, or the smallest and the largest, such as [1,2]"),
        ({"amplitude": "abc"}, "data.amplitude=abc"),
        ({"amplitude": None}, "data.amplitude=None"),
        ({"amplitude": [2, 1]}, "data.amplitude=[2, 1]"),
        ({"amplitude": [1, 2, 3]}, "data.amplitude=[1, 2, 3]"),
        ({"amplitude": []}, "data.amplitude=[]"),
        ({"scheme": "nine"}, "labels=nine"),
        ({"frames": (9, 8)}, "data.frames=[9, 8]"),
        ({"frames": (1, 8)}, "data.frames=[1, 8]"),
        ({"frames": [8]}, "data.frames=[8]"),
        ({"size": 0}, "data.size=0"),
        ({"size": 4}, "data.size=4: give at least 16 px"),
        ({"portraits": 3}, "data.portraits=3: give a folder"),
    ],
)
def test_a_bad_setting_is_named(changes, named):
    with pytest.raises(MefusionError) as error:
        SyntheticSettings(**changes)
    assert named in str(error.value)


# Portraits of one's own.


def write_portraits(folder, *, good):
    if good:
        Image.fromarray(astronaut()).save(folder / "c_good.JPG", quality=95)
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(folder / "a_blank.png")
    whole = folder / "b_broken.jpg"
    Image.fromarray(astronaut()).save(whole)
    whole.write_bytes(whole.read_bytes()[:3000])
    (folder / "notes.txt").write_text("not a picture")


def test_portraits_that_cannot_be_used_are_left_out(tmp_path):
    write_portraits(tmp_path, good=True)
    (portrait,) = load_portraits(str(tmp_path), 96)
    assert portrait.image.shape == (96, 96, 3)
    built_in, _ = load_portraits(None, 96)
    np.testing.assert_allclose(portrait.landmarks, built_in.landmarks, atol=2)
    settings = dataclasses.replace(SMALL, portraits=str(tmp_path))
    clip = make_clip(settings, SyntheticClip(1, 0, 0))
    assert clip.frame(0).shape == (96, 96, 3)
    assert synthetic_folder(tmp_path, settings) != synthetic_folder(tmp_path, SMALL)


def test_photographs_count_by_their_content(tmp_path):
    write_portraits(tmp_path, good=True)
    settings = dataclasses.replace(SMALL, portraits=str(tmp_path))
    before = synthetic_folder(tmp_path, settings)
    Image.fromarray(astronaut()[:, ::-1]).save(tmp_path / "c_good.JPG")
    assert synthetic_folder(tmp_path, settings) != before


def test_no_usable_portrait_is_one_sentence_that_names_each(tmp_path):
    write_portraits(tmp_path, good=False)
    with pytest.raises(MefusionError) as error:
        load_portraits(str(tmp_path), 96)
    sentence = str(error.value)
    assert "\n" not in sentence
    for part in (f"data.portraits={tmp_path}", "a_blank.png", "no face", "b_broken.jpg", "cannot be read"):
        assert part in sentence


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_portraits_is_one_sentence(tmp_path, there):
    folder = tmp_path / "portraits"
    if there:
        folder.mkdir()
    with pytest.raises(MefusionError, match="holds no images"):
        synthetic_folder(tmp_path, dataclasses.replace(SMALL, portraits=str(folder)))
