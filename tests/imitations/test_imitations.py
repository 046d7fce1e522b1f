"""The imitations, read back without mefusion's readers."""

import csv
import functools
from collections import Counter

import numpy as np
import openpyxl
import pandas as pd
import pytest
from PIL import Image

from imitations import IMITATIONS, Row, full_plan, write_clip, write_download
from imitations.cas_me_2 import TABLE as CAS_ME_2_TABLE
from imitations.cas_me_2 import TABLE_UPDATED
from imitations.cas_me_3 import OLD_TABLE
from imitations.cas_me_3 import TABLE as CAS_ME_3_TABLE
from imitations.casme2 import TABLE as CASME2_TABLE
from imitations.flow_images import TABLE as FLOW_TABLE
from imitations.samm import ODD_UNITS
from imitations.samm import TABLE as SAMM_TABLE


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """`written(layout, variant)` is the folder of a full download with three frames a clip, made once."""

    @functools.cache
    def write(layout, variant=None):
        folder = tmp_path_factory.mktemp(layout)
        write_download(layout, folder, full_plan(layout), variant=variant, frames_per_clip=2)
        return folder

    return write


def sheet(path, *, index=0):
    """All cells of a sheet, as the file has them."""
    book = openpyxl.load_workbook(path)
    return [[cell.value for cell in row] for row in book.worksheets[index].iter_rows()]


def table(path, **options):
    return pd.read_excel(path, dtype=str, keep_default_na=False, **options)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def counts(values):
    return dict(Counter(values))


# CASME II.


def test_casme2_has_the_rows_of_the_official_table(written):
    rows = table(written("casme2") / CASME2_TABLE)
    emotion = rows["Estimated Emotion"]
    assert len(rows) == 255
    assert rows["Subject"].nunique() == 26
    assert counts(emotion) == {
        **{"others": 99, "disgust": 63, "happiness": 32, "repression": 27},
        **{"surprise": 25, "sadness": 7, "fear": 2},
    }
    five = rows[~emotion.isin(["sadness", "fear"])]
    assert (len(five), five["Subject"].nunique()) == (246, 26)
    three = five[five["Estimated Emotion"] != "others"]
    assert len(three) == 147
    keys = three["Subject"] + "/" + three["Filename"]
    left_out = keys.isin(["04/EP12_01f", "05/EP09_05f"])
    megc = three[~left_out]
    assert (len(megc), megc["Subject"].nunique()) == (145, 24)
    assert set(three[left_out]["Estimated Emotion"]) <= {"disgust", "repression"}
    wide = rows[emotion != "others"]
    assert (len(wide), wide["Subject"].nunique()) == (156, 25)


def test_casme2_has_its_quirks(written):
    cells = sheet(written("casme2") / CASME2_TABLE)
    assert cells[0] == [
        *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None),
        *("Action Units", "Estimated Emotion"),
    ]
    rows = {f"sub{row[0]}/{row[1]}": row for row in cells[1:]}
    assert rows["sub01/EP02_01f"][3:6] == [46, 59, 86]
    assert rows["sub04/EP12_01f"][4] == "/"
    at_onset = [key for key, row in rows.items() if row[4] == row[3]]
    at_offset = {key for key, row in rows.items() if row[4] == row[5]}
    assert at_onset == ["sub05/EP09_05f"]
    assert at_offset == {"sub05/EP16_04f", "sub12/EP09_06", "sub20/EP16_01", "sub25/EP18_04f"}
    assert {"sub09/EP09f", "sub07/EP06_02_01", "sub07/EP06_02_02", "sub16/EP01_08"} <= set(rows)
    units = [row[7] for row in rows.values()]
    assert units.count("?") == 5
    assert {type(cell) for cell in units} == {int, str}
    assert {"4+7", "L14", "R12"} <= set(units)
    assert all(isinstance(row[0], str) for row in rows.values())
    lengths = [row[5] - row[3] + 1 for row in rows.values()]
    assert (min(lengths), np.median(lengths), max(lengths)) == (24, 61, 141)


def test_casme2_lays_its_frames_three_ways(written):
    assert "CASME2_RAW_selected/CASME2_RAW_selected/sub01/EP02_01f/img46.jpg" in files(written("casme2"))
    assert "CASME2_RAW_selected/sub01/EP02_01f/img46.jpg" in files(written("casme2", "plain"))
    cropped = files(written("casme2", "cropped"))
    assert "Cropped-updated/Cropped/sub01/EP02_01f/reg_img86.jpg" in cropped
    (incomplete,) = (row for row in full_plan("casme2") if (row.subject, row.clip) == ("sub16", "EP01_08"))
    there = [f"sub16/EP01_08/reg_img{n}.jpg" for n in (incomplete.onset, incomplete.offset)]
    assert [f"Cropped-updated/Cropped/{name}" in cropped for name in there] == [True, False]


# SAMM.


def test_samm_has_the_rows_of_the_official_table(written):
    rows = table(written("samm") / SAMM_TABLE, header=13)
    emotion = rows["Estimated Emotion"].replace("Others", "Other")
    subject = rows["Subject"].str.zfill(3)
    assert (len(rows), subject.nunique()) == (159, 29)
    assert counts(emotion) == {
        **{"Anger": 57, "Other": 26, "Happiness": 26, "Surprise": 15},
        **{"Contempt": 12, "Disgust": 9, "Fear": 8, "Sadness": 6},
    }
    five = emotion.isin(["Anger", "Other", "Happiness", "Surprise", "Contempt"])
    three = emotion != "Other"
    assert (five.sum(), set(subject) - set(subject[five])) == (136, {"024", "036"})
    assert (three.sum(), set(subject) - set(subject[three])) == (133, {"025"})


def test_samm_has_its_quirks(written):
    cells = sheet(written("samm") / SAMM_TABLE)
    assert cells[13] == [
        *("Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration"),
        *("Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes"),
    ]
    assert any("Subject" in str(row[0]) for row in cells[:13])  # in a sentence: the header is not the first to say it
    assert sheet(written("samm", "plain") / SAMM_TABLE)[0] == cells[13]
    rows = {row[1]: row for row in cells[14:]}
    assert {7, "006"} <= {row[0] for row in rows.values()}
    outside = {clip for clip, row in rows.items() if not row[3] <= row[4] <= row[5]}
    assert outside == {"028_4_1", "032_3_1"}
    assert set(ODD_UNITS) <= {row[8] for row in rows.values()}
    assert {"Other", "Others"} <= {row[9] for row in rows.values()}
    lengths = [row[5] - row[3] + 1 for row in rows.values()]
    assert (min(lengths), max(lengths)) == (30, 101)


def test_samm_pads_its_frame_numbers_by_the_source_video(written):
    folder = written("samm")
    names = files(folder)
    assert {"SAMM/006/006_1_2/006_05562.jpg", "SAMM/006/006_2_4/006_0180.jpg"} <= names
    with Image.open(folder / "SAMM/006/006_1_2/006_05562.jpg") as image:
        assert image.mode == "L"


# SMIC.

HS_CLIPS = {
    **{"s1": 6, "s2": 6, "s3": 39, "s4": 19, "s5": 2, "s6": 4, "s8": 13, "s9": 4},
    **{"s11": 7, "s12": 9, "s13": 10, "s14": 10, "s15": 4, "s18": 7, "s19": 2, "s20": 22},
}


def test_smic_has_its_clips(written):
    folder = written("smic")
    clips = [path.relative_to(folder / "SMIC_all_raw/HS").parts for path in folder.glob("SMIC_all_raw/HS/*/micro/*/*")]
    assert counts(subject for subject, *_ in clips) == HS_CLIPS
    assert counts(emotion for _, _, emotion, _ in clips) == {"negative": 70, "positive": 51, "surprise": 43}
    for subject, _, emotion, clip in clips:
        short = {"negative": "ne", "positive": "po", "surprise": "sur"}[emotion]
        assert clip.startswith(f"{subject}_{short}_")
    lengths = [row.length for row in full_plan("smic")]
    assert (min(lengths), max(lengths)) == (16, 58)


@pytest.mark.parametrize("camera", ["VIS", "NIR"])
def test_the_other_cameras_have_their_clips(written, camera):
    folder = written(f"smic_{camera.lower()}")
    clips = list(folder.glob(f"SMIC_all_raw/{camera}/*/micro/*/*"))
    assert len(clips) == 71
    assert len({path.parts[-4] for path in clips}) == 8


def test_smic_has_its_quirks(written):
    raw, cropped = files(written("smic")), files(written("smic", "cropped"))
    widths = {len(name.rsplit("image", 1)[1]) - len(".jpg") for name in raw if "/micro/" in name}
    assert widths == {6, 7, 8}
    assert any("/HS/s1/micro/negative/s1_ne_01/image" in name for name in raw)
    assert any("/non_micro/" in name for name in raw)
    assert not any(name.endswith((".xlsx", ".csv")) for name in raw)
    assert any("/s18_sur_03/" in name for name in raw)
    assert not any("/s18_sur_03/" in name for name in cropped)
    assert all(name.endswith(".bmp") and "/reg_image" in name for name in cropped)


def test_the_cropped_smic_lacks_single_frames(tmp_path):
    row = next(row for row in full_plan("smic") if row.clip.endswith("_ne_04"))
    write_clip("smic", tmp_path, row, variant="cropped")
    assert len(files(tmp_path)) == row.length - 1


# CAS(ME)^2.


def test_cas_me_2_has_codes_and_two_naming_rules(written):
    path = written("cas_me_2") / CAS_ME_2_TABLE
    codes, rule1, rule2 = (sheet(path, index=index) for index in range(3))
    assert openpyxl.load_workbook(path).sheetnames[1:] == ["naming rule1", "naming rule2"]
    assert {len(row) for row in codes} == {9}
    assert {row[0] for row in codes} == set(range(1, 23))
    assert counts(row[7] for row in codes) == {"micro-expression": 57, "macro-expression": 60}
    assert {row[6] for row in codes} == {"positive", "negative", "surprise", "others"}
    assert rule1[0] == [15, "s15", 1]
    assert [401, "anger1"] in rule2
    assert [101, "disgust1"] in rule2
    micro = [row for row in codes if row[7] == "micro-expression"]
    assert sum(row[4] == 0 for row in micro) == 3
    assert sum(row[3] == 0 for row in micro) == 2
    keys = Counter((row[0], row[1]) for row in codes)
    assert keys[(1, "anger1_1")] == 2  # told apart by the onset alone
    assert len({(row[0], row[1], row[2]) for row in codes}) == len(codes)


def test_cas_me_2_lays_its_frames_three_ways(written):
    assert "rawpic/s15/15_0101disgustingteeth/img001.jpg" in files(written("cas_me_2", "rawpic"))
    assert any(name.startswith("selectedpic/s15/anger1_1/img5") for name in files(written("cas_me_2")))
    cropped = files(written("cas_me_2", "cropped"))
    assert any(name.startswith("cropped/15/anger1_1/img5") for name in cropped)
    assert TABLE_UPDATED in cropped


# CAS(ME)^3.


def mended(rows):
    """The official table's rows with its known errors undone."""
    rows = [list(row) for row in rows]
    ends = iter((1845, 2403))
    for row in rows:
        if row[:2] == ["spNO.149", "d"] and row[3] == 83:
            row[3] = 160
        elif row[:3] == ["spNO.216", "d", 3647]:
            row[2] = 2647
        elif row[:2] == ["spNO.40", "e"] and row[4] == 0:
            row[4] = next(ends)
        elif row[:2] == ["spNO.214", "c"] and row[4] == 3460:
            row[4] = 34
        elif row[:3] == ["spNO.216", "e", 0]:
            row[2:4] = [1, 1]
    return rows


def test_cas_me_3_has_the_rows_of_the_official_table(written):
    cells = sheet(written("cas_me_3") / CAS_ME_3_TABLE)
    assert cells[0] == ["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]
    rows = cells[1:]
    assert len(rows) == 860
    assert len({row[0] for row in rows}) == 94
    assert len({(row[0], row[1]) for row in rows}) == 463
    assert counts(row[7].lower() for row in rows) == {
        **{"disgust": 250, "surprise": 187, "others": 161, "fear": 86},
        **{"anger": 64, "sad": 57, "happy": 55},
    }
    three = [row for row in rows if row[7].lower() != "others"]
    assert (len(three), len({row[0] for row in three})) == (699, 88)


def test_cas_me_3_has_its_quirks(written):
    path = written("cas_me_3") / CAS_ME_3_TABLE
    rows = sheet(path)[1:]
    assert sum(row[7] == "Others" for row in rows) == 3
    assert ["spNO.14", "J"] in [row[:2] for row in rows]
    assert sum(row[2] == row[3] for row in rows) == 55
    wrong = [row for row in rows if not row[2] <= row[3] <= row[4]]
    assert counts((row[0], row[1]) for row in wrong) == {
        ("spNO.149", "d"): 1,
        ("spNO.216", "d"): 1,
        ("spNO.40", "e"): 2,
    }
    assert [row[4] for row in rows if row[0] == "spNO.214" and row[1] == "c"].count(3460) == 1
    right = mended(rows)
    assert all(row[2] <= row[3] <= row[4] for row in right)
    assert sum(row[4] - row[2] + 1 < 8 for row in right) == 18
    units = {str(row[5])[0] for row in rows}
    assert {"L", "R", "T", "B"} <= units
    names = openpyxl.load_workbook(path).sheetnames
    assert names[0] == "label"
    assert len(names) == 3
    assert all(not any(map(any, sheet(path, index=index))) for index in (1, 2))
    assert len(sheet(path.with_name(OLD_TABLE))) == 1 + 921


def test_cas_me_3_lays_its_frames_three_ways(written):
    plain, nested, pack = (files(written("cas_me_3", variant)) for variant in (None, "nested", "clip_pack"))
    assert "part_A/spNO.1/a/color/355.jpg" in plain
    assert "part_A/spNO.14/j/color/210.jpg" in plain
    assert "part_A/data/part_A/spNO.1/spNO.1/a/color/355.jpg" in nested
    assert "Part_A_ME_clip/frame/spNo.1_a_355/355.jpg" in pack
    first = {name for name in pack if "/spNO.216_e_0/" in name}  # named by the onset before it is mended
    assert "Part_A_ME_clip/frame/spNO.216_e_0/1.jpg" in first
    assert not any(name.endswith("/0.jpg") for name in first)


# The composite and its flow images.


def test_flow_images_are_beside_a_csv(written):
    folder = written("flow_images")
    with (folder / FLOW_TABLE).open() as stream:
        rows = list(csv.DictReader(stream))
    assert counts(row["dataset"] for row in rows) == {"smic": 164, "casme2": 145, "samm": 133}
    assert counts(row["label"] for row in rows) == {"0": 250, "1": 109, "2": 83}
    assert len({(row["dataset"], row["sub"]) for row in rows}) == 68
    pictures = {name for name in files(folder) if name.endswith(".png")}
    assert {"006_006_1_2 .png", "sub01_EP02_01f .png", "s01_s01_ne_03 .png"} <= pictures
    assert any(not name.endswith(" .png") for name in pictures)
    assert {name.removesuffix(".png").strip() for name in pictures} == {
        f"{row['sub']}_{row['filename_o']}" for row in rows
    }


# Plans.


@pytest.mark.parametrize("layout", IMITATIONS)
def test_a_full_plan_follows_from_its_seed(layout):
    assert full_plan(layout, seed=3) == full_plan(layout, seed=3)
    assert full_plan(layout, seed=3) != full_plan(layout, seed=4)


@pytest.mark.parametrize("layout", IMITATIONS)
def test_no_two_clips_share_a_frame(layout):
    plan, known = full_plan(layout), IMITATIONS[layout]
    for variant in known.variants:
        paths = Counter(
            path
            for row in plan
            for number in range(row.onset, row.offset + 1)
            if (path := known.frame_path(row, number, variant))
        )
        assert max(paths.values()) == 1


def test_all_frames_are_written_where_no_number_is_given(tmp_path):
    row = Row("sub01", "EP01_01", "happiness", 7, 9, 12)
    write_clip("casme2", tmp_path, row, variant="plain")
    names = sorted(path.name for path in tmp_path.rglob("*.jpg"))
    assert names == sorted(f"img{number}.jpg" for number in range(7, 13))
