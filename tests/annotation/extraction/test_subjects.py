import matplotlib.cbook
import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image

from mefusion.annotation.extraction.settings import IdentitySettings
from mefusion.annotation.extraction.subjects import assign_subjects, cluster, distances_of, read_subjects
from mefusion.common.errors import MefusionError
from mefusion.faces.detectors import DlibFaces
from mefusion.faces.identity import descriptor
from mefusion.synthetic.portraits import ASTRONAUT, load_portraits
from mefusion.synthetic.render import Subject
from mefusion.synthetic.scene import derived_seed


def tracks(*rows):
    return pd.DataFrame(
        [(video, track, start, end, 1) for video, track, start, end in rows],
        columns=["video", "track", "start", "end", "segments"],
    )


def line(*places):
    """Embeddings whose distances are those of points on a line."""
    return np.array([[place, *[0.0] * 127] for place in places])


APART = tracks(("a", 1, 0, 5), ("a", 2, 6, 9), ("b", 1, 0, 4), ("c", 1, 0, 4))


def subjects(found):
    return [*found.values()]


def test_near_faces_are_one_person_over_all_videos(tmp_path):
    found = assign_subjects(APART, line(0, 0.2, 0.3, 0.9), IdentitySettings(), tmp_path / "identities.csv")
    assert found == {("a", 1): "person001", ("a", 2): "person001", ("b", 1): "person001", ("c", 1): "person002"}
    assert read_subjects(tmp_path / "identities.csv") == found


def test_faces_that_are_seen_at_once_are_never_one_person():
    together = tracks(("a", 1, 0, 5), ("a", 2, 4, 9), ("b", 1, 0, 5))
    distances = distances_of(together, line(0, 0.01, 0.02))
    numbers = cluster(distances, 0.5)
    assert numbers[0] != numbers[1]
    assert len({*numbers}) == 2


def test_one_track_and_tracks_without_a_description_are_people_of_their_own(tmp_path):
    one = APART.iloc[:1]
    assert subjects(assign_subjects(one, line(0), IdentitySettings(), tmp_path / "1.csv")) == ["person001"]
    unknown = line(0, 0, 0, 0)
    unknown[1] = np.nan
    found = subjects(assign_subjects(APART, unknown, IdentitySettings(), tmp_path / "2.csv"))
    assert found == ["person001", "person002", "person001", "person001"]
    assert assign_subjects(APART.iloc[:0], line(), IdentitySettings(), tmp_path / "3.csv") == {}


def test_without_identity_a_video_is_a_subject(tmp_path):
    found = assign_subjects(APART, line(0, 1, 2, 3), IdentitySettings(name="none"), tmp_path / "i.csv")
    assert subjects(found) == ["a", "a", "b", "c"]


def test_doubtful_pairs_are_listed(tmp_path):
    assign_subjects(APART, line(0, 0.45, 1.0, 3), IdentitySettings(), tmp_path / "i.csv")
    doubts = pd.read_csv(tmp_path / "i.csv", keep_default_na=False).set_index(["video", "track"])["doubt"]
    assert doubts["a", 1] == "the same as others of person001? (0.45)"
    assert doubts["a", 2] == "the same as others of person001? (0.45); perhaps person002? (0.55)"
    assert doubts["c", 1] == ""


def test_corrections_and_names_stay_when_videos_are_added(tmp_path):
    file = tmp_path / "i.csv"
    assign_subjects(APART.iloc[1:], line(0.2, 0.3, 0.9), IdentitySettings(), file)
    table = pd.read_csv(file)
    table.loc[table["video"] == "b", "subject"] = "Ada"
    table.to_csv(file, index=False)
    found = assign_subjects(APART, line(2.0, 0.2, 0.3, 0.9), IdentitySettings(), file)
    assert subjects(found) == ["person003", "person001", "Ada", "person002"]
    again = pd.read_csv(file).set_index(["video", "track"])
    assert again.loc[("b", 1), "assigned"] == "person001"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "lacks the column subject"),
        ("", "cannot be read"),
        (
            "subject,video,track,start,end,segments,doubt,assigned\n,a,1,0,5,1,,person001\n",
            "has no subject for track 1",
        ),
        ("subject,video,track,start,end,segments,doubt,assigned\nx,a,one,0,5,1,,person001\n", "cannot be read"),
    ],
)
def test_a_damaged_table_is_told(tmp_path, text, sentence):
    (tmp_path / "i.csv").write_text(text)
    with pytest.raises(MefusionError, match=sentence):
        read_subjects(tmp_path / "i.csv")
    with pytest.raises(MefusionError, match="run stage=extract first"):
        read_subjects(tmp_path / "none.csv")


def described(image):
    image = np.ascontiguousarray(image)
    return descriptor(image, DlibFaces().landmarks([image])[0])


def test_two_people_are_two_and_two_pictures_of_one_are_one():
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = described(np.asarray(Image.open(file).convert("RGB")))
    (portrait,) = load_portraits(None, 256, built_in=ASTRONAUT)
    faces = [Subject(portrait, seed=derived_seed(0, number)).image for number in (0, 1)]
    known = [described(np.clip(face, 0, 255).astype(np.uint8)) for face in faces]
    astronaut = described(skimage.data.astronaut())
    distances = distances_of(APART, np.array([*known, astronaut, hopper]))
    assert distances[0, 1] < 0.45
    assert distances[2, 3] > 0.6
    assert [*cluster(distances, 0.5)] in ([1, 1, 1, 2], [2, 2, 2, 1])
