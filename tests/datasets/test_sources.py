"""Official downloads: their counts from full-size copies, and their quirks one at a time."""

from pathlib import Path

import openpyxl
import pytest
import yaml
from hydra.utils import instantiate
from imitations import full_plan, write_download
from PIL import Image

from mefusion.clips.table import clip_notes
from mefusion.common.errors import MefusionError
from mefusion.configuration.cli import compose
from mefusion.datasets.cas_me_2 import CasmeSquaredSource
from mefusion.datasets.cas_me_3 import CasmeCubedSource
from mefusion.datasets.casme2 import Casme2Source
from mefusion.datasets.flow_images import FlowImagesSource
from mefusion.datasets.labels import label_clips
from mefusion.datasets.reading.counts import differences
from mefusion.datasets.reading.tables import read_table
from mefusion.datasets.samm import SammSource
from mefusion.datasets.schemes import DatasetLabels, Scheme
from mefusion.datasets.smic import SmicSource

CONF = Path(__file__).parents[2] / "conf" / "labels"


def scheme(name):
    content = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    own = {dataset: DatasetLabels(**labels) for dataset, labels in content.pop("datasets", {}).items()}
    return Scheme(**content, datasets=own)


def workbook(path, *sheets):
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(f"renamed {number}")
        for row in rows:
            sheet.append(row)
    book.save(path)


def frames(folder, *names, size=(8, 8)):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", size).save(folder / name)
    return folder


def failure(source):
    with pytest.raises(MefusionError) as error:
        source.table()
    sentence = str(error.value)
    assert "\n" not in sentence
    assert str(source.root) in sentence
    return sentence


def rows_of(table):
    """Rows as plain values, None where one is missing."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def only(table):
    (row,) = rows_of(table)
    return row


def limits(table):
    return [[row[name] for name in ("onset", "apex", "offset")] for row in rows_of(table)]


# Whole downloads.

VARIANTS = [
    ("casme2", "raw", Casme2Source, {}),
    ("casme2", "plain", Casme2Source, {}),
    ("casme2", "cropped", Casme2Source, {"frames": "cropped"}),
    ("samm", "raw", SammSource, {}),
    ("samm", "plain", SammSource, {}),
    ("smic", "raw", SmicSource, {}),
    ("smic_vis", "raw", SmicSource, {"modality": "VIS"}),
    ("smic_nir", "raw", SmicSource, {"modality": "NIR"}),
    ("cas_me_3", "part_A", CasmeCubedSource, {}),
    ("cas_me_3", "nested", CasmeCubedSource, {}),
    ("cas_me_3", "clip_pack", CasmeCubedSource, {"frames": "clips"}),
]
SCHEMES = {
    "casme2": {"three": (145, 24), "three_wide": (156, 25), "five": (246, 26), "seven": (255, 26)},
    "samm": {"three": (133, 28), "three_wide": (133, 28), "five": (136, 27), "objective": (159, 29)},
    "smic": {"three": (164, 16), "three_wide": (164, 16)},
    "smic_vis": {"three": (71, 8), "three_wide": (71, 8)},
    "smic_nir": {"three": (71, 8), "three_wide": (71, 8)},
    "cas_me_3": {
        **{"three": (699, 88), "three_wide": (699, 88)},
        **{"four": (860, 94), "seven": (860, 94), "objective": (860, 94)},
    },
}


@pytest.mark.parametrize(("layout", "variant", "kind", "options"), VARIANTS, ids=lambda value: str(value)[:12])
def test_a_whole_download_has_the_published_counts(tmp_path, layout, variant, kind, options):
    write_download(layout, tmp_path, full_plan(layout), variant=variant, frames_per_clip=2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    source = kind(root=str(tmp_path), **options)
    table = source.table()
    assert list(source.official) == [layout]
    assert set(source.official[layout]) == set(SCHEMES[layout]) - {"objective"}
    assert set(table["dataset"]) == {layout}
    assert all(Path(path).is_dir() for path in table["path"])
    for name, (clips, subjects) in SCHEMES[layout].items():
        labelled = label_clips(table, scheme(name))
        assert (len(labelled), labelled["subject"].nunique()) == (clips, subjects), name
        assert differences(labelled, scheme=name, datasets=source.official) == []
    assert source.digest() == kind(root=str(tmp_path), **options).digest()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before  # nothing is written


@pytest.mark.parametrize(("variant", "kind"), [("rawpic", "raw"), ("selectedpic", "selected"), ("cropped", "cropped")])
def test_cas_me_2_has_its_micro_expressions(tmp_path, variant, kind):
    plan = full_plan("cas_me_2")
    write_download("cas_me_2", tmp_path, plan, variant=variant, frames_per_clip=2)
    source = CasmeSquaredSource(root=str(tmp_path), frames=kind)
    table = source.table()
    assert len(table) == sum(row.cells["type"].startswith("micro") for row in plan)
    assert table["subject"].nunique() == 22
    assert all(Path(path).is_dir() for path in table["path"])
    assert (table["onset"] <= table["apex"]).all()
    assert (table["apex"] <= table["offset"]).all()
    for name in ("three", "four"):
        assert differences(label_clips(table, scheme(name)), scheme=name, datasets=source.official) == []


def test_the_composite_has_442_clips_of_68_subjects(tmp_path):
    for layout in ("casme2", "samm", "smic"):
        write_download(layout, tmp_path / layout, full_plan(layout), frames_per_clip=2)
    roots = [f"data.sources.{name}.root={tmp_path / name}" for name in ("casme2", "samm", "smic")]
    source = instantiate(compose(["data=megc2019", *roots]).data)
    labelled = label_clips(source.table(), scheme("three"))
    assert labelled["label"].value_counts().to_dict() == {"negative": 250, "positive": 109, "surprise": 83}
    assert labelled["subject"].nunique() == 68
    assert differences(labelled, scheme="three", datasets=source.official) == []
    assert source.root == tmp_path

    write_download("flow_images", tmp_path / "flow", full_plan("flow_images"))
    images = FlowImagesSource(root=str(tmp_path / "flow"))
    flow = label_clips(images.table(), scheme("three"))
    assert differences(flow, scheme="three", datasets=images.official) == []
    assert set(flow["subject"]) == set(labelled["subject"])  # a subject has one name in every source

    (tmp_path / "samm" / "SAMM_Micro_FACS_Codes_v2.xlsx").unlink()
    assert source.digest() is None


def test_cas_me_3_is_sound_once_it_is_mended(tmp_path):
    write_download("cas_me_3", tmp_path, full_plan("cas_me_3"), frames_per_clip=2)
    table = CasmeCubedSource(root=str(tmp_path)).table()
    assert (table["onset"] <= table["apex"]).all()
    assert (table["apex"] <= table["offset"]).all()
    assert (table["offset"] - table["onset"] + 1 < 8).sum() == 18
    assert (table["apex"] == table["onset"]).sum() == 55
    assert table.groupby("subject")["path"].nunique().sum() == 463
    assert len(clip_notes(table)) == 6


def test_a_copy_without_some_clips_differs(tmp_path):
    write_download("smic", tmp_path, full_plan("smic"), variant="cropped", frames_per_clip=2)
    source = SmicSource(root=str(tmp_path), frames="cropped")
    assert differences(label_clips(source.table(), scheme("three")), scheme="three", datasets=source.official) == [
        "smic: surprise 42 of 43 clips (1 missing)",
        "smic: smic/s18 6 of 7 clips (1 missing)",
    ]


# Tables.

CASME2 = (
    *("Subject", "Filename", None, "OnsetFrame ", "ApexFrame", "OffsetFrame", None),
    *("Action Units", "Estimated Emotion"),
)


def casme2(root, *rows, header=CASME2, table="CASME2-coding-20140508.xlsx", **options):
    """CASME II of a table; rows are (subject, clip, onset, apex, offset, action units, emotion)."""
    workbook(root / table, [header, *((s, c, None, *numbers, None, au, e) for s, c, *numbers, au, e in rows)])
    for subject, clip, *_ in rows:
        frames(root / "CASME2_RAW_selected" / Casme2Source.subject(str(subject)) / clip, "img46.jpg")
    return Casme2Source(root=str(root), **options)


ROW = ("01", "EP02_01f", 46, 59, 86, "12", "happiness")


def test_a_row_becomes_a_clip(tmp_path):
    assert only(casme2(tmp_path, ROW).table()) == {
        "dataset": "casme2",
        "subject": "casme2/sub01",
        "clip_id": "EP02_01f",
        "path": str(tmp_path / "CASME2_RAW_selected/sub01/EP02_01f"),
        "onset": 46,
        "apex": 59,
        "offset": 86,
        "emotion": "happiness",
        "objective_class": None,
        "action_units": "12",
        "action_unit_remarks": None,
        "fps": 200,
        "landmarks": None,
        "root": str(tmp_path),
        "notes": None,
    }


@pytest.mark.parametrize("cell", ["01", "1", 1, 1.0, " 01 ", "sub01"])
def test_subjects_are_one_however_the_cell_is_written(tmp_path, cell):
    assert casme2(tmp_path, (cell, *ROW[1:])).table()["subject"].tolist() == ["casme2/sub01"]


@pytest.mark.parametrize("cell", ["/", None, "", "?", "n/a"])
def test_an_apex_that_is_no_number_is_left_open(tmp_path, cell):
    table = casme2(tmp_path, ("04", "EP12_01f", 10, cell, 21, "?", "disgust")).table()
    assert limits(table) == [[10, None, 21]]
    assert table["notes"][0] == f"apex '{(cell or '').strip()}' is not in 10..21: it is treated as unknown"
    assert table["action_unit_remarks"][0] == "?"


@pytest.mark.parametrize("apex", [10, 21])
def test_an_apex_at_an_end_stays(tmp_path, apex):
    table = casme2(tmp_path, ("05", "EP09_05f", 10, apex, 21, 4, "disgust")).table()
    assert limits(table) == [[10, apex, 21]]
    assert clip_notes(table) == []


def test_an_apex_outside_is_left_open(tmp_path):
    table = casme2(tmp_path, ("05", "EP09_05f", 10, 9, 20, 4, "disgust")).table()
    assert limits(table) == [[10, None, 20]]
    assert clip_notes(table) == ["casme2/sub05/EP09_05f: apex '9' is not in 10..20: it is treated as unknown"]


def test_an_onset_that_is_no_number_is_left_open(tmp_path):
    row = only(casme2(tmp_path, ("05", "EP09_05f", "x", 9, 20, 4, "disgust")).table())
    assert (row["onset"], row["apex"], row["offset"]) == (None, 9, 20)
    assert "onset 'x'" in row["notes"]


@pytest.mark.parametrize("number", [-5, 1.5, 10**12, "1e3"])
@pytest.mark.parametrize("place", [2, 4])
def test_a_number_that_no_frame_has_is_refused(tmp_path, place, number):
    sentence = failure(casme2(tmp_path, (*ROW[:place], number, *ROW[place + 1 :])))
    assert (
        f"CASME2-coding-20140508.xlsx: sub01/EP02_01f: its {'onset' if place == 2 else 'offset'} {number}" in sentence
    )


def test_a_row_without_emotion_is_refused(tmp_path):
    assert "sub01/EP02_01f: its emotion is empty" in failure(casme2(tmp_path, (*ROW[:6], None)))


@pytest.mark.parametrize(("place", "name"), [(0, "Subject"), (1, "Filename")])
def test_a_row_that_lacks_a_name_is_refused(tmp_path, place, name):
    source, lacking = casme2(tmp_path, ROW), [*ROW[:2], None, *ROW[2:5], None, *ROW[5:]]
    lacking[place] = None
    workbook(tmp_path / "CASME2-coding-20140508.xlsx", [CASME2, lacking])
    assert f"has a row without {name}, with" in failure(source)


def test_the_header_is_found_below_an_explanation(tmp_path):
    explanation = [["Micro-movements of", "the subjects"], ["Subject", "who"], [None], [1, 2]]
    rows = [["Subject", "Filename", "Onset"], [6, "006_1_2", 3.0], [None], ["Notes", None, None]]
    workbook(tmp_path / "t.xlsx", [*explanation, *rows])
    columns = {"subject": "subject", "FileName": "clip", "Onset": "onset"}
    assert read_table(tmp_path / "t.xlsx", columns) == [{"subject": "6", "clip": "006_1_2", "onset": "3"}]


def test_the_newest_table_is_read(tmp_path):
    casme2(tmp_path, ROW)
    source = casme2(tmp_path, (*ROW[:6], "disgust"), table="CASME2-coding-20190701.xlsx")
    assert source.table()["emotion"].tolist() == ["disgust"]


def test_a_missing_table_is_named(tmp_path):
    source = casme2(tmp_path, ROW)
    (tmp_path / "CASME2-coding-20140508.xlsx").unlink()
    assert "CASME2-coding-20190701.xlsx or CASME2-coding-20140508.xlsx" in failure(source)
    assert source.digest() is None


def test_a_renamed_column_is_named(tmp_path):
    renamed = [name if name != "ApexFrame" else "Peak" for name in CASME2]
    assert "lacks the column ApexFrame: it has Subject" in failure(casme2(tmp_path, ROW, header=renamed))


def test_a_table_without_a_header_is_one_sentence(tmp_path):
    assert "has no header" in failure(casme2(tmp_path, ROW, header=[None] * 9))


def test_a_table_without_rows_is_one_sentence(tmp_path):
    source = casme2(tmp_path, ROW)
    workbook(tmp_path / "CASME2-coding-20140508.xlsx", [CASME2])
    assert "CASME2-coding-20140508.xlsx lists no clip" in failure(source)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"<html>login</html>"])
def test_an_unreadable_table_is_one_sentence(tmp_path, content):
    source = casme2(tmp_path, ROW)
    (tmp_path / "CASME2-coding-20140508.xlsx").write_bytes(content)
    assert "cannot be read as an Excel workbook" in failure(source)


def test_a_clip_that_is_listed_twice_is_named(tmp_path):
    assert "casme2/sub01/EP02_01f twice" in failure(casme2(tmp_path, ROW, ROW))


def test_a_subject_without_a_number_is_named():
    with pytest.raises(MefusionError, match="'total' is no subject of samm"):
        SammSource.subject("total")


def test_the_digest_changes_with_the_table_and_the_identity_with_the_options(tmp_path):
    source = casme2(tmp_path, ROW)
    digest = source.digest()
    casme2(tmp_path, (*ROW[:6], "disgust"))
    assert source.digest() != digest
    assert source.identity() != casme2(tmp_path, ROW, frames="cropped").identity()
    assert source.identity() == casme2(tmp_path, ROW, allow_partial=True).identity()


def test_another_correction_is_another_digest(tmp_path):
    (tmp_path / CasmeCubedSource.tables[0]).write_bytes(b"table")
    more = type("More", (CasmeCubedSource,), {"corrections": CasmeCubedSource.corrections[:-1]})
    assert more(root=str(tmp_path)).digest() != CasmeCubedSource(root=str(tmp_path)).digest()


# Folders.


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert "is no folder" in failure(Casme2Source(root=str(tmp_path / "nowhere")))


def test_a_wrong_folder_is_named(tmp_path):
    assert "no folders of subjects with raw frames" in failure(Casme2Source(root=str(tmp_path)))


def test_cropped_frames_are_never_taken_for_raw_ones(tmp_path):
    source = casme2(tmp_path, ROW)
    (tmp_path / "CASME2_RAW_selected").rename(tmp_path / "Cropped")
    assert "it has those of data.frames=cropped" in failure(source)
    assert len(Casme2Source(root=str(tmp_path), frames="cropped").table()) == 1


def test_frames_of_an_unknown_kind_are_refused(tmp_path):
    with pytest.raises(MefusionError, match=r"data\.frames=tiny: choose from cropped, raw"):
        casme2(tmp_path, ROW, frames="tiny").table()
    with pytest.raises(MefusionError, match=r"data\.frames=cropped: choose from raw, clips"):
        CasmeCubedSource(root=str(tmp_path), frames="cropped")


@pytest.mark.parametrize("nested", ["", "a/b", "CASME2_RAW_selected", "CASME2-RAW/CASME2-RAW", "raw/sub01/sub01/.."])
def test_frames_are_found_however_they_are_nested(tmp_path, nested):
    source = casme2(tmp_path, ROW)
    folder = tmp_path / nested
    if nested != "CASME2_RAW_selected":
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "CASME2_RAW_selected" / "sub01").rename(folder.resolve() / "sub01")
        (tmp_path / "CASME2_RAW_selected").rmdir()
    (path,) = source.table()["path"]
    assert (Path(path) / "img46.jpg").exists()


def test_of_two_copies_the_fuller_is_taken(tmp_path):
    source = casme2(tmp_path, ROW, ("02", *ROW[1:]))
    frames(tmp_path / "A_RAW_test" / "sub01" / "EP02_01f", "img46.jpg")
    assert all("CASME2_RAW_selected" in path for path in source.table()["path"])


def test_names_of_folders_may_differ_in_case_and_zeros(tmp_path):
    source = casme2(tmp_path, ROW)
    tree = tmp_path / "CASME2_RAW_selected"
    (tree / "sub01" / "EP02_01f").rename(tree / "sub01" / "ep02_01F")
    (tree / "sub01").rename(tree / "Sub1")
    assert source.table()["path"].tolist() == [str(tree / "Sub1" / "ep02_01F")]


def test_a_clip_without_frames_keeps_its_place(tmp_path):
    source = casme2(tmp_path, ROW)
    folder = tmp_path / "CASME2_RAW_selected" / "sub01" / "EP02_01f"
    (folder / "img46.jpg").unlink()
    folder.rmdir()
    assert source.table()["path"].tolist() == [str(folder)]


@pytest.mark.parametrize("link", ["", "sub01", "sub01/EP02_01f"])
def test_a_link_that_leaves_the_root_is_refused(tmp_path, link):
    source = casme2(tmp_path / "root", ROW)
    place = tmp_path / "root" / "CASME2_RAW_selected" / link
    place.rename(tmp_path / "outside")
    place.symlink_to(tmp_path / "outside")
    assert "is a link that leaves" in failure(source)


def test_a_root_behind_a_link_is_the_same_data(tmp_path):
    source = casme2(tmp_path / "root", ROW)
    (tmp_path / "link").symlink_to(tmp_path / "root")
    linked = Casme2Source(root=str(tmp_path / "link"))
    assert linked.identity() == source.identity()
    assert linked.digest() == source.digest()
    assert linked.table()["clip_id"].equals(source.table()["clip_id"])


# SAMM.


def samm(root, *rows):
    header = (
        *("Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration"),
        *("Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes"),
    )
    cells = [(s, c, 1, *numbers, 9, "Micro", au, e, o, None) for s, c, *numbers, au, e, o in rows]
    workbook(root / "SAMM_Micro_FACS_Codes_v2.xlsx", [["Text"]] * 13 + [header] + cells)
    for subject, clip, *_ in rows:
        frames(root / "SAMM" / f"{int(subject):03d}" / clip, "006_05562.jpg")
    return SammSource(root=str(root))


def test_samm_is_read(tmp_path):
    row = only(samm(tmp_path, (6, "006_1_2", 5562, 5579, 5588, "R14+17+soft focus", "Anger ", "iii")).table())
    assert (row["subject"], row["clip_id"], row["emotion"]) == ("samm/006", "006_1_2", "anger")
    assert (row["objective_class"], row["action_units"], row["action_unit_remarks"]) == ("III", "R14+17", "soft focus")


def test_samm_leaves_an_apex_outside_open(tmp_path):
    table = samm(tmp_path, ("028", "028_4_1", 100, 250, 140, "4", "Surprise", 2)).table()
    assert limits(table) == [[100, None, 140]]
    assert table["objective_class"].tolist() == ["2"]


# SMIC.


def smic(root, *clips, camera="HS", kind="raw", numbers=(90823, 90824, 90826), **options):
    prefix, suffix = ("image", "jpg") if kind == "raw" else ("reg_image", "bmp")
    for clip in clips:
        word = {"ne": "negative", "po": "positive", "sur": "surprise"}[clip.split("_")[1]]
        folder = root / f"SMIC_all_{kind}" / camera / clip.split("_")[0] / "micro" / word / clip
        frames(folder, *(f"{prefix}{number:06d}.{suffix}" for number in numbers))
    return SmicSource(root=str(root), frames=kind, modality=camera, **options)


def test_smic_takes_labels_from_folders_and_has_no_apex(tmp_path):
    source = smic(tmp_path, "s1_ne_01", "s03_po_02", "s3_sur_01")
    frames(tmp_path / "SMIC_all_raw/HS/s1/non_micro/s1_non_01", "image000001.jpg")
    frames(tmp_path / "SMIC_all_raw/VIS/s1/micro/negative/s1_ne_09", "image000001.jpg")
    table = source.table()
    assert table["subject"].tolist() == ["smic/s1", "smic/s3", "smic/s3"]
    assert table["clip_id"].tolist() == ["s1_ne_01", "s3_po_02", "s3_sur_01"]
    assert table["emotion"].tolist() == ["negative", "positive", "surprise"]
    assert limits(table) == [[90823, None, 90826]] * 3
    assert set(table["fps"]) == {100}


def test_cameras_of_smic_share_their_subjects_and_no_dataset(tmp_path):
    high, visible = smic(tmp_path, "s11_ne_01"), smic(tmp_path, "s11_ne_01", camera="VIS")
    assert list(visible.official) == ["smic_vis"]
    assert high.table()["subject"].tolist() == visible.table()["subject"].tolist() == ["smic/s11"]
    assert visible.table()["dataset"].tolist() == ["smic_vis"]
    assert "/VIS/" in visible.table()["path"][0]


def test_smic_without_the_camera_is_one_sentence(tmp_path):
    smic(tmp_path, "s11_ne_01")
    assert "no folders of subjects" in failure(SmicSource(root=str(tmp_path), modality="NIR"))
    with pytest.raises(MefusionError, match=r"data\.modality=UV: choose from HS, VIS, NIR"):
        SmicSource(root=str(tmp_path), modality="UV")


def test_smic_refuses_a_clip_in_the_wrong_folder(tmp_path):
    source = smic(tmp_path, "s1_ne_01")
    folder = tmp_path / "SMIC_all_raw/HS/s1/micro"
    (folder / "negative").rename(folder / "positive")
    assert "is a clip of negative by its name" in failure(source)


def test_an_empty_clip_of_smic_stays_without_numbers(tmp_path):
    row = only(smic(tmp_path, "s1_ne_01", numbers=()).table())
    assert (row["onset"], row["apex"], row["offset"]) == (None,) * 3


def test_the_digest_of_smic_changes_with_its_clips(tmp_path):
    source = smic(tmp_path, "s1_ne_01")
    digest = source.digest()
    smic(tmp_path, "s1_ne_02")
    assert source.digest() != digest


# CAS(ME)^2.


def cas_me_2(root, *codes, frames_kind="selected", folders=()):
    rules = [["15", "s15", 1], ["16", "s16", 2]], [["0401", "anger1"], [101, "disgust1"]]
    workbook(root / "CAS(ME)^2code_final.xlsx", codes, *rules)
    for folder in folders:
        frames(root / folder, "img557.jpg")
    return CasmeSquaredSource(root=str(root), frames=frames_kind)


MICRO = ("4+7", "negative", "micro-expression", "anger")


def test_cas_me_2_names_a_clip_by_its_onset_too(tmp_path):
    codes = [(1, "anger1_1", 557, 562, 572, *MICRO), (1, "anger1_1", 600, 604, 610, *MICRO)]
    macro = (2, "anger1_1", 1, 20, 40, "4", "negative", "macro-expression", "anger")
    table = cas_me_2(tmp_path, *codes, macro, folders=["selectedpic/s15/anger1_1"]).table()
    assert table["subject"].tolist() == ["cas_me_2/s15"] * 2
    assert table["clip_id"].tolist() == ["anger1_1_557", "anger1_1_600"]
    assert set(table["path"]) == {str(tmp_path / "selectedpic/s15/anger1_1")}


@pytest.mark.parametrize(
    ("numbers", "mended", "note"),
    [
        ((10, 14, 0), [10, 14, 14], "offset 0 means that it was not coded: the apex 14 is used"),
        ((10, 0, 20), [10, None, 20], "apex '0' is not in 10..20: it is treated as unknown"),
    ],
)
def test_cas_me_2_mends_what_was_not_coded(tmp_path, numbers, mended, note):
    table = cas_me_2(tmp_path, (1, "anger1_1", *numbers, *MICRO), folders=["selectedpic/s15/anger1_1"]).table()
    assert limits(table) == [mended]
    assert note in table["notes"][0]


def test_cas_me_2_without_apex_and_offset_is_left_open(tmp_path):
    table = cas_me_2(tmp_path, (1, "anger1_1", 10, 0, 0, *MICRO), folders=["selectedpic/s15/anger1_1"]).table()
    assert table[["apex", "offset"]].isna().all(axis=None)
    assert table["onset"].tolist() == [10]


@pytest.mark.parametrize(
    ("kind", "folder"),
    [("raw", "rawpic/s15/15_0401girlcrashing"), ("cropped", "cropped/15/anger1_1")],
)
def test_cas_me_2_has_other_frames_too(tmp_path, kind, folder):
    folders = [folder, "rawpic/s15/15_0101disgustingteeth", "selectedpic/s15/anger1_1"]
    source = cas_me_2(tmp_path, (1, "anger1_1", 557, 562, 572, *MICRO), frames_kind=kind, folders=folders)
    assert source.table()["path"].tolist() == [str(tmp_path / folder)]


def test_cas_me_2_needs_its_naming_rules(tmp_path):
    source = cas_me_2(tmp_path, (9, "anger1_1", 557, 562, 572, *MICRO), folders=["selectedpic/s15/anger1_1"])
    assert "no subject of index 9" in failure(source)
    workbook(tmp_path / "CAS(ME)^2code_final.xlsx", [(1, "anger1_1")])
    assert "two sheets of naming rules" in failure(source)


# CAS(ME)^3.

PART_A = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")


def cas_me_3(root, *rows, **options):
    """CAS(ME)^3 of rows (subject, letter, onset, apex, offset)."""
    coded = [(*row, "R4+L12", "Disgust", "Others") for row in rows]
    workbook(root / "part_A/annotation/cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx", [PART_A, *coded], [], [])
    workbook(root / "cas(me)3_part_A_ME_label_JpgIndex_v1.xlsx", [PART_A, *coded, ("spNO.9", "a", 1, 2, 3, 4, "", "x")])
    for subject, letter, *_ in rows:
        frames(root / "part_A/data" / subject / letter.lower() / "color", "166.jpg")
        frames(root / "part_B/data" / subject / letter.lower() / "color", "166.jpg")
        frames(root / "part_B/data/spNO.999/a/color", "166.jpg")
    return CasmeCubedSource(root=str(root), **options)


def test_cas_me_3_reads_the_second_table_of_part_a(tmp_path):
    rows = ("spNO.14", "J", 10, 12, 20), ("spNO.14", "j", 30, 32, 40), ("spNO.1", "a", 5, 6, 9)
    table = cas_me_3(tmp_path, *rows).table()
    assert table["subject"].tolist() == ["cas_me_3/spNO.1", "cas_me_3/spNO.14", "cas_me_3/spNO.14"]
    assert table["clip_id"].tolist() == ["a_5", "j_10", "j_30"]
    assert table["path"].tolist()[1:] == [str(tmp_path / "part_A/data/spNO.14/j/color")] * 2
    assert set(table["emotion"]) == {"others"}
    assert set(table["objective_class"]) == {"disgust"}
    assert set(table["action_units"]) == {"R4+L12"}


CORRECTED = [
    (("spNO.149", "d", 112, 83, 200), [112, 160, 200]),
    (("spNO.216", "d", 3647, 2660, 2694), [2647, 2660, 2694]),
    (("spNO.40", "e", 1812, 1830, 0), [1812, 1830, 1845]),
    (("spNO.40", "e", 2327, 2350, 0), [2327, 2350, 2403]),
    (("spNO.214", "c", 5, 20, 3460), [5, 20, 34]),
    (("spNO.216", "e", 0, 0, 9), [1, 1, 9]),
]


@pytest.mark.parametrize(("row", "mended"), CORRECTED)
def test_known_errors_are_mended_and_told(tmp_path, row, mended):
    table = cas_me_3(tmp_path, row).table()
    assert limits(table) == [mended]
    assert table["clip_id"].tolist() == [f"{row[1]}_{row[2]}"]  # named as in the table
    assert "corrected to" in clip_notes(table)[0]


def test_every_correction_is_tried():
    listed = {known.clip for known in CasmeCubedSource.corrections}
    assert {f"{subject}/{letter}_{onset}" for (subject, letter, onset, *_), _ in CORRECTED} == listed


def test_a_value_that_is_right_already_is_not_corrected(tmp_path):
    table = cas_me_3(tmp_path, ("spNO.149", "d", 112, 150, 200)).table()
    assert limits(table) == [[112, 150, 200]]
    assert clip_notes(table) == []


def test_the_clip_pack_is_named_by_the_onset_before_it_is_mended(tmp_path):
    source = cas_me_3(tmp_path, ("spNO.216", "e", 0, 0, 9), ("spNO.1", "a", 355, 360, 370), frames="clips")
    pack = tmp_path / "Part_A_ME_clip/frame"
    frames(pack / "spNO.216_e_0", "1.jpg")
    frames(pack / "spNo.1_a_355", "355.jpg")
    assert source.table()["path"].tolist() == [str(pack / "spNo.1_a_355"), str(pack / "spNO.216_e_0")]


# Flow images.

LISTED = (
    "dataset,sub,filename_o,apex,label\r\n"
    "casme2,sub01,EP02_01f,3,1\r\n,,,,\r\nsamm,6,006_1_2,3,0\r\nsmic,s01,s01_ne_03,3,2\r\n"
)
PICTURES = ("sub01_EP02_01f .png", "006_006_1_2 .png", "s01_s01_ne_03.png")


def flow_images(root, listed=LISTED, pictures=PICTURES):
    frames(root / "images", *pictures, size=(28, 28))
    (root / "combined.csv").write_text(listed)
    return FlowImagesSource(root=str(root))


def test_flow_images_are_matched_with_their_rows(tmp_path):
    table = flow_images(tmp_path).table()
    assert table["subject"].tolist() == ["casme2/sub01", "samm/006", "smic/s1"]
    assert table["clip_id"].tolist() == ["EP02_01f", "006_1_2", "s1_ne_03"]
    assert table["emotion"].tolist() == ["positive", "negative", "surprise"]
    assert [Path(path).name for path in table["path"]] == [*PICTURES]


@pytest.mark.parametrize(
    ("listed", "pictures", "parts"),
    [
        (LISTED, PICTURES[:2], ["lists s01_s01_ne_03", "no s01_s01_ne_03.png"]),
        (LISTED, [*PICTURES, "sub02_EP01_01.png"], ["no row for 1 images", "sub02_EP01_01.png"]),
        (LISTED, [*PICTURES, "sub01_EP02_01f.png"], ["show the same clip"]),
        (LISTED.replace("filename_o", "clip"), PICTURES, ["lacks the column filename_o"]),
        (LISTED.replace(",1\r", ",7\r"), PICTURES, ["'casme2' with label '7'"]),
        (LISTED.replace("smic,", "smoc,"), PICTURES, ["'smoc'"]),
        ("", PICTURES, ["cannot be read as a CSV"]),
    ],
)
def test_flow_images_fail_loudly(tmp_path, listed, pictures, parts):
    sentence = failure(flow_images(tmp_path, listed, pictures))
    for part in parts:
        assert part in sentence


def test_flow_images_need_one_csv(tmp_path):
    source = flow_images(tmp_path)
    assert source.digest() is not None
    (tmp_path / "other.csv").write_text(LISTED)
    assert "combined.csv, other.csv" in failure(source)
    assert source.digest() is None
    assert "is no folder" in failure(FlowImagesSource(root=str(tmp_path / "nowhere")))
