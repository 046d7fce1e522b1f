"""Long videos: each layout with its quirks, and what cannot be used is told."""

import shutil

import pytest
from imitations import full_plan, write_download
from imitations.cas_me_3 import MACRO_TABLE, write_macro_table
from imitations.plan import Row
from imitations.samm import write_documents as write_samm_table
from imitations.samm_long import Coded, write_samm_long

from mefusion.common.errors import MefusionError
from mefusion.datasets.reading.recordings import frame_number
from mefusion.datasets.recordings.cas_me_2_long import CasmeSquaredRecordings
from mefusion.datasets.recordings.cas_me_3_long import CasmeCubedRecordings
from mefusion.datasets.recordings.samm_long import SammLongRecordings


def read(source):
    table, events = source.recordings()
    assert table["recording"].is_unique
    assert set(events["recording"]) <= set(table["recording"])
    return table, events


def problem(source, part):
    """The only problem with this text; counts that differ are left out, since the imitations are small."""
    (found,) = [text for text in source.problems if part in text]
    return found


def others(source):
    """Problems beside counts that differ from the official ones."""
    return [text for text in source.problems if "where the official download has" not in text]


# SAMM Long Videos.


def samm(tmp_path, *rows, **options):
    write_samm_long(tmp_path, rows, options.pop("recordings", {"006_1": range(1, 301)}), **options)
    return SammLongRecordings(root=str(tmp_path))


def test_samm_frame_numbers_become_indices(tmp_path):
    recordings = {"006_1": range(1, 301), "007_3": range(5001, 5050)}
    rows = (
        Coded("006_1_2", 101, 120, 150),
        Coded("006_1_3", 200.0, 230, 300, "Macro", "12"),
        Coded("007_3_1", 5001, 5001, 5049, "Micro - 1/2", "L14+17"),
    )
    source = samm(tmp_path, *rows, recordings=recordings)
    table, events = read(source)
    assert table["recording"].tolist() == ["006_1", "007_3"]
    assert table["subject"].tolist() == ["samm_long/006", "samm_long/007"]
    assert table["frames"].tolist() == [300, 49]
    assert table["fps"].tolist() == [200, 200]
    assert events[["recording", "kind", "onset", "apex", "offset", "action_units"]].to_numpy().tolist() == [
        ["006_1", "micro", 100, 119, 149, "4+7"],
        ["006_1", "macro", 199, 229, 299, "12"],
        ["007_3", "micro", 0, 0, 48, "L14+17"],
    ]
    assert events["emotion"].isna().all()
    assert others(source) == []
    assert problem(source, "recordings") == "samm_long: 2 recordings where the official download has 147"
    assert problem(source, "macro") == "samm_long: 1 macro where the official download has 343"


def test_samm_recordings_without_an_expression_are_listed(tmp_path):
    source = samm(tmp_path, Coded("006_1_2", 1, 2, 3), recordings={"006_1": range(1, 9), "006_2": range(1, 5)})
    table, _ = read(source)
    assert table["recording"].tolist() == ["006_1", "006_2"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (Coded("006_1_2", 10, 20, -1), "its onset is '10' and its offset '-1'"),
        (Coded("006_1_2", -1, 20, 30), "its onset is '-1' and its offset '30'"),
        (Coded("006_1_2", 30, 20, 10), "its offset 10 lies before its onset 30"),
        (Coded("006_9_1", 10, 20, 30), "the download has no recording 006_9"),
        (Coded("006_1_2", 400, 410, 420), "none of its frames 400 to 420 is there"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_and_told(tmp_path, row, told):
    source = samm(tmp_path, row, Coded("006_1_1", 50, 60, 70))
    _, events = read(source)
    assert events["onset"].tolist() == [49]
    assert others(source) == [f"samm_long: {row.expression} (onset {row.onset}): {told}; it is left out"]


def test_an_apex_of_minus_one_is_unknown(tmp_path):
    source = samm(tmp_path, Coded("006_1_2", 10, -1, 30), Coded("006_1_3", 50, 90, 70))
    _, events = read(source)
    assert events["apex"].isna().all()
    assert events["offset"].tolist() == [29, 69]
    (told,) = others(source)
    assert told.endswith("its apex 90 is not in 50..70, and is treated as unknown")


def test_an_offset_past_the_last_frame_ends_there(tmp_path):
    source = samm(tmp_path, Coded("006_1_2", 250, 260, 320, "Macro"))
    _, events = read(source)
    assert events["offset"].tolist() == [299]
    assert "its offset 320 lies past the last frame 300" in others(source)[0]


def test_missing_frames_shift_the_indices_after_them(tmp_path):
    numbers = [*range(1, 101), *range(151, 301)]
    source = samm(tmp_path, Coded("006_1_2", 120, 130, 170), recordings={"006_1": numbers}, digits=5)
    _, events = read(source)
    # Frames 120 to 150 are missing: it begins with 151, the 101st, and ends with 170, the 120th.
    assert events[["onset", "apex", "offset"]].to_numpy().tolist() == [[100, 100, 119]]


def test_a_kind_that_is_not_known_goes_by_the_duration(tmp_path):
    source = samm(tmp_path, Coded("006_1_2", 1, 50, 100, "Other"), Coded("006_1_3", 101, 150, 201, ""))
    _, events = read(source)
    assert events["kind"].tolist() == ["micro", "macro"]  # 100 and 101 frames at 200 fps
    (told,) = others(source)
    assert told.endswith("its type 'Other' is neither micro nor macro: micro by its duration")


def test_samm_emotions_come_from_the_table_of_its_micro_expressions(tmp_path):
    source = samm(tmp_path, Coded("006_1_2", 10, 20, 30), Coded("006_1_3", 50, 60, 170, "Macro"))
    write_samm_table(tmp_path, [Row("006", name, "Anger", 1, 2, 3, "4") for name in ("006_1_2", "006_1_3")], "raw")
    _, events = read(source)
    assert events["emotion"].fillna("-").tolist() == ["anger", "-"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_all_versions_of_the_table_are_read(tmp_path, version):
    _, events = read(samm(tmp_path, Coded("006_1_2", 10, 20, 30), version=version))
    assert len(events) == 1


def test_recordings_nested_twice_are_found(tmp_path):
    source = samm(tmp_path, Coded("006_1_2", 10, 20, 30))
    folder = tmp_path / "SAMM_longvideos" / "006_1"
    shutil.move(folder, tmp_path / "frames")
    shutil.move(tmp_path / "frames", folder / "006_1")
    table, events = read(source)
    assert table["frames"].tolist() == [300]
    assert events["onset"].tolist() == [9]


def test_a_folder_without_frames_is_no_recording(tmp_path):
    source = samm(tmp_path, Coded("006_1_2", 10, 20, 30), Coded("006_2_1", 10, 20, 30))
    (tmp_path / "SAMM_longvideos" / "006_2").mkdir()
    table, events = read(source)
    assert table["recording"].tolist() == ["006_1"]
    assert events["recording"].tolist() == ["006_1"]
    told = others(source)
    assert "006_2 holds no numbered images" in told[0]
    assert "the download has no recording 006_2; it is left out" in told[1]


def test_a_download_without_recordings_or_table_is_one_sentence(tmp_path):
    with pytest.raises(MefusionError, match="no long videos"):
        SammLongRecordings(root=str(tmp_path)).recordings()
    source = samm(tmp_path, Coded("006_1_2", 10, 20, 30))
    (tmp_path / "SAMM_LongVideos_V3_Release.xlsx").unlink()
    with pytest.raises(MefusionError, match=r"SAMM_LongVideos_V3_Release\.xlsx"):
        source.recordings()
    with pytest.raises(MefusionError, match="is no folder"):
        SammLongRecordings(root=str(tmp_path / "gone")).recordings()


@pytest.mark.parametrize(
    ("cell", "number"), [("12", 12), ("12.0", 12), (" 7 ", 7), ("-1", None), ("/", None), ("", None)]
)
def test_numbers_of_frames(cell, number):
    assert frame_number(cell) == number


# CAS(ME)^2.


def squared_plan():
    """The expressions of two subjects, with the quirks of the official table, made to fit small recordings."""
    return [row for row in full_plan("cas_me_2") if row.subject in ("s15", "s16")]


def squared(tmp_path, variant="rawpic"):
    plan = squared_plan()
    write_download("cas_me_2", tmp_path, plan, variant="rawpic")
    return plan, CasmeSquaredRecordings(root=str(tmp_path))


def test_expressions_of_cas_me_2_lie_in_their_recordings(tmp_path):
    plan, source = squared(tmp_path)
    table, events = read(source)
    assert {*table["subject"]} == {"cas_me_2_long/s15", "cas_me_2_long/s16"}
    assert len(events) == len(plan)
    assert events["kind"].value_counts().to_dict() == {
        kind: sum(row.cells["type"].startswith(kind) for row in plan) for kind in ("micro", "macro")
    }
    pinned = events[events["recording"] == "15_0401girlcrashing"]
    # Its folder has frames 550 to 562 and 600 to 639.
    assert pinned[["kind", "onset", "offset", "emotion"]].to_numpy().tolist()[:2] == [
        ["micro", 0, 12, "negative"],
        ["macro", 13, 52, "negative"],
    ]
    assert {row.emotion for row in plan} == {*events["emotion"]}


def test_an_offset_that_was_not_coded_is_guessed_and_told(tmp_path):
    plan = [row for row in full_plan("cas_me_2") if row.cells.get("offset") == 0][:1]
    write_download("cas_me_2", tmp_path, plan, variant="rawpic")
    source = CasmeSquaredRecordings(root=str(tmp_path))
    _, events = read(source)
    assert events["offset"].tolist() == [plan[0].length - 1]
    assert "offset 0 means that it was not coded" in others(source)[0]


def test_videos_are_taken_where_there_are_no_frames(tmp_path):
    plan, source = squared(tmp_path)
    shutil.rmtree(tmp_path / "rawpic")
    (tmp_path / "rawvideo" / "s15").mkdir(parents=True)
    (tmp_path / "rawvideo" / "s15" / "15_0401girlcrashing.avi").touch()
    table, events = read(source)
    assert table["path"].tolist() == [str(tmp_path / "rawvideo" / "s15" / "15_0401girlcrashing.avi")]
    assert table["frames"].isna().all()
    assert events["onset"].tolist()[:2] == [549, 599]  # the table counts from 1
    left_out = [text for text in others(source) if text.endswith("the download has no recording of it; it is left out")]
    assert len(left_out) == len(plan) - len(events)


# CAS(ME)^3.


def cubed(tmp_path, variant="part_A", *, header=0):
    plan = [row for row in full_plan("cas_me_3") if row.subject in ("spNO.14", "spNO.40", "spNO.149")]
    write_download("cas_me_3", tmp_path, plan, variant=variant)
    if header is not None:
        first = min((row for row in plan if row.subject == "spNO.40"), key=lambda row: (row.clip, row.onset))
        rows = [("spNO.40", first.clip, first.onset, first.onset + 1, first.offset, "12", "Happy")]
        write_macro_table(tmp_path, rows, header=header)
    return plan, CasmeCubedRecordings(root=str(tmp_path))


@pytest.mark.parametrize("variant", ["part_A", "nested"])
@pytest.mark.parametrize("header", [0, 1])
def test_expressions_of_cas_me_3_come_from_two_tables(tmp_path, variant, header):
    plan, source = cubed(tmp_path, variant, header=header)
    table, events = read(source)
    assert {*table["subject"]} == {"cas_me_3_long/spNO.14", "cas_me_3_long/spNO.40", "cas_me_3_long/spNO.149"}
    assert {*table["recording"]} == {f"{row.subject}_{row.clip}" for row in plan}
    assert events["kind"].value_counts().to_dict() == {"micro": len(plan), "macro": 1}
    (macro,) = events[events["kind"] == "macro"].itertuples()
    assert (macro.onset, macro.apex, macro.emotion, macro.action_units) == (0, 1, "happy", "12")
    # The frames of a recording are those of its micro-expressions, so that they fill it without gaps.
    for recording, part in events[events["kind"] == "micro"].groupby("recording"):
        frames = table.set_index("recording")["frames"][recording]
        assert part["onset"].tolist() == [0, *(part["offset"][:-1] + 1)]
        assert part["offset"].iloc[-1] == frames - 1


def test_corrections_of_the_table_are_used_and_told(tmp_path):
    _, source = cubed(tmp_path)
    read(source)
    assert "apex 83 corrected to 160" in problem(source, "spNO.149/d_112")
    assert "offset 0 corrected to 1845" in problem(source, "spNO.40/e_1812")
    assert len(others(source)) == 3


def test_without_the_table_of_macro_expressions_this_is_told(tmp_path):
    plan, source = cubed(tmp_path, header=None)
    _, events = read(source)
    assert len(events) == len(plan)
    assert "without it no macro-expression is known" in problem(source, MACRO_TABLE)


def test_a_table_of_macro_expressions_without_its_columns_is_refused(tmp_path):
    _, source = cubed(tmp_path)
    write_macro_table(tmp_path, [])
    book = tmp_path / MACRO_TABLE
    book.unlink()
    write_samm_table(tmp_path, [], "plain")
    shutil.move(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", book)
    with pytest.raises(MefusionError, match="subject or sub, filename or seq, onset, offset"):
        source.recordings()
