"""Small downloads with rendered faces in the official layouts, read back without mefusion's readers."""

from collections import Counter

import numpy as np
import openpyxl
import pytest
from imitations import full_plan
from PIL import Image

from mefusion.common.errors import MefusionError
from mefusion.datasets.synthetic import SyntheticSource
from mefusion.synthetic.layouts import LAYOUTS
from mefusion.synthetic.rendered_download import write_rendered_download
from mefusion.synthetic.scene import SyntheticSettings

SMALL = SyntheticSettings(subjects=2, clips_per_class=1, frames=(4, 5), size=64)
MANY = SyntheticSettings(subjects=17)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda folder: write_rendered_download("casme", folder / "new", SMALL), "data.layout=casme"),
        (lambda folder: write_rendered_download("smic", folder / "new", MANY), "data.subjects=17"),
        (lambda folder: SyntheticSource(root="x", layout="samm"), "data.write_to=None"),
        (lambda folder: SyntheticSource(root="x", layout="samm", write_to="y").digest(), "cannot be trained on"),
        (lambda folder: write_rendered_download("samm", folder, SMALL), "is not empty"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, call, named):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(MefusionError) as error:
        call(tmp_path)
    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert files(tmp_path) == {"mine.txt"}


def test_a_rendered_download_is_the_layout_with_faces(tmp_path):
    following = write_rendered_download("casme2", tmp_path / "new", SMALL, workers=1)
    assert following == f"mefusion-prepare data=casme2 data.root={tmp_path / 'new'} data.allow_partial=true faces=dlib"
    (table,) = (tmp_path / "new").glob("CASME2-coding-*.xlsx")
    rows = list(openpyxl.load_workbook(table).worksheets[0].iter_rows(min_row=2, values_only=True))
    emotions = ("others", "disgust", "happiness", "repression", "surprise")
    assert Counter(row[6] for row in rows) == dict.fromkeys(emotions, 2)
    for subject, clip, onset, apex, offset, units, _ in rows:
        folder = tmp_path / "new/CASME2_RAW_selected/CASME2_RAW_selected" / f"sub{subject}" / clip
        assert {path.name for path in folder.iterdir()} == {f"img{number}.jpg" for number in range(onset, offset + 1)}
        assert onset < apex <= offset
        assert units
        with Image.open(folder / f"img{apex}.jpg") as image:
            picture = np.asarray(image)
        assert picture.shape == (64, 64, 3)
        assert picture.std() > 20


@pytest.mark.parametrize("layout", sorted({*LAYOUTS} - {"flow_images"}))
def test_a_layout_has_all_subjects(layout):
    assert set(LAYOUTS[layout].subjects) == {row.subject for row in full_plan(layout)}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_renders(tmp_path, layout):
    write_rendered_download(layout, tmp_path, SMALL, workers=1)
    pictures = sorted(path for path in tmp_path.rglob("*") if path.suffix in {".jpg", ".png"})
    clips = 2 * len(LAYOUTS[layout].acted)
    assert len(pictures) == clips if layout == "flow_images" else 4 * clips <= len(pictures) <= 5 * clips
    with Image.open(pictures[-1]) as image:
        assert image.size == ((28, 28) if layout == "flow_images" else (64, 64))
        assert np.asarray(image).std() > 5
    if layout == "flow_images":
        with Image.open(pictures[0]) as image:
            assert np.ptp(np.asarray(image), axis=(0, 1)).min() > 20  # there is motion in each channel
