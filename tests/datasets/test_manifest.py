import os

import pytest

from mefusion.common.errors import MefusionError
from mefusion.datasets.manifest import ManifestSource, read_manifest

HEADER = "clip_id,subject,path,emotion"


def write(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "manifest.csv").write_text(text)
    return folder / "manifest.csv"


def failure(manifest):
    with pytest.raises(MefusionError) as error:
        read_manifest(manifest, dataset="mine")
    sentence = str(error.value)
    assert "\n" not in sentence
    assert str(manifest) in sentence
    return sentence


def test_a_manifest_is_read(tmp_path):
    manifest = write(
        tmp_path,
        "clip_id, subject ,path,emotion,onset,apex,offset,action_units,fps,remark\n"
        "c1,s1,frames/a,Happiness,3,7,12,l6 + 12+soft,200,x\n"
        "c2, s2 ,b.mp4, disgust ,,,,,,\n",
    )
    table = read_manifest(manifest, dataset="mine")
    first, second = table.dropna(axis=1, how="all").to_dict("records")
    assert first == {
        "dataset": "mine",
        "subject": "mine/s1",
        "clip_id": "c1",
        "path": str((tmp_path / "frames/a").resolve()),
        "onset": 3,
        "apex": 7,
        "offset": 12,
        "emotion": "happiness",
        "action_units": "L6+12",
        "action_unit_remarks": "soft",
        "fps": 200,
        "root": str(tmp_path.resolve()),
    }
    assert (second["subject"], second["emotion"]) == ("mine/s2", "disgust")
    assert table[["onset", "apex", "offset", "action_units", "fps"]].iloc[1].isna().all()


def test_ids_with_leading_zeros_and_odd_words_stay_text(tmp_path):
    manifest = write(tmp_path, f"{HEADER}\n001,006,a,surprise\n1e3,NA,b,surprise\n")
    table = read_manifest(manifest, dataset="samm")
    assert table["subject"].tolist() == ["samm/006", "samm/NA"]
    assert table["clip_id"].tolist() == ["001", "1e3"]


def test_a_row_may_name_its_dataset(tmp_path):
    manifest = write(tmp_path, f"{HEADER},dataset\nc1,1,a,surprise,casme2\nc1,1,b,surprise,\n")
    assert read_manifest(manifest, dataset="mine")["subject"].tolist() == ["casme2/1", "mine/1"]


def test_excel_and_its_byte_order_mark_are_read(tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\nc1,1,a,surprise\r\n".encode())
    assert read_manifest(manifest, dataset="mine")["clip_id"].tolist() == ["c1"]


def test_a_missing_column_is_named(tmp_path):
    assert "lacks the column subject, emotion" in failure(write(tmp_path, "clip_id,path\nc1,a\n"))


def test_a_missing_file_says_what_data_root_is(tmp_path):
    assert "data.root" in failure(tmp_path / "manifest.csv")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "No columns"),
        (f"{HEADER}\nc1,s1,a,b,c,d\nc2,s1,a,b,c,d,e\n", "line 3"),
        (f'{HEADER}\n"c1,s1,a\n', "EOF inside string"),
    ],
)
def test_what_is_no_csv_is_one_sentence(tmp_path, text, part):
    message = failure(write(tmp_path, text))
    assert part in message
    assert "save it as CSV in UTF-8" in message


def test_an_excel_file_is_one_sentence(tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_bytes(b"PK\x03\x04\xff\xfe\x00\x81" * 40)
    assert "save it as CSV in UTF-8" in failure(manifest)


def test_a_manifest_without_rows_is_an_error(tmp_path):
    assert "lists no clip" in failure(write(tmp_path, f"{HEADER}\n"))


def test_a_clip_twice_is_named(tmp_path):
    assert "mine/s1/c1 twice" in failure(write(tmp_path, f"{HEADER}\nc1,s1,a,x\nc1,s1,b,x\n"))


@pytest.mark.parametrize("column", ["onset", "apex", "offset", "fps"])
@pytest.mark.parametrize("value", ["abc", "3.x"])
def test_a_bad_number_is_named_with_its_clip(tmp_path, column, value):
    sentence = failure(write(tmp_path, f"{HEADER},{column}\nc1,s1,a,x,{value}\n"))
    for part in (column, "c1", f"'{value}'"):
        assert part in sentence


@pytest.mark.parametrize(("column", "value"), [("fps", "inf"), ("fps", "nan"), ("onset", "9" * 30)])
def test_a_number_that_no_clip_has_is_one_sentence(tmp_path, column, value):
    assert value in failure(write(tmp_path, f"{HEADER},{column}\nc1,s1,a,x,{value}\n"))


@pytest.mark.parametrize("column", range(4))
def test_an_empty_value_is_named(tmp_path, column):
    values = ["c1", "s1", "a", "x"]
    values[column] = ""
    assert HEADER.split(",")[column] in failure(write(tmp_path, f"{HEADER}\n{','.join(values)}\n"))


@pytest.mark.parametrize("path", ["../outside", "/etc", "a/../../outside", "link", "link/deeper"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, path):
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    sentence = failure(write(root, f"{HEADER}\nc1,s1,{path},x\n"))
    assert f"'{path}'" in sentence
    assert "leaves" in sentence


@pytest.mark.parametrize("column", ["path", "landmarks"])
@pytest.mark.parametrize("path", ["loop", "loop/frames"])
def test_a_path_that_cannot_be_is_one_sentence(tmp_path, column, path):
    (tmp_path / "loop").symlink_to(tmp_path / "back")
    (tmp_path / "back").symlink_to(tmp_path / "loop")
    values = {"clip_id": "c1", "subject": "s1", "path": "a", "emotion": "x", "landmarks": "b"} | {column: path}
    sentence = failure(write(tmp_path, f"{','.join(values)}\n{','.join(values.values())}\n"))
    assert f"the {column} of clip c1: " in sentence
    assert "is no usable path" in sentence


def test_a_root_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(MefusionError, match="loop' is no usable path"):
        ManifestSource(root=str(tmp_path / "loop")).identity()


def test_a_path_may_wander_inside_the_folder(tmp_path):
    manifest = write(tmp_path, f"{HEADER}\nc1,s1,a/../b,x\n")
    assert read_manifest(manifest, dataset="mine")["path"][0] == str((tmp_path / "b").resolve())


def test_a_root_behind_a_link_is_the_same_data(tmp_path):
    write(tmp_path / "real", f"{HEADER}\nc1,s1,a,x\n")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    linked, real = (ManifestSource(root=str(tmp_path / name), name="mine") for name in ("link", "real"))
    assert linked.identity() == real.identity()
    assert linked.table().equals(real.table())


def test_a_row_of_more_values_than_columns_is_refused(tmp_path):
    sentence = failure(write(tmp_path, f"{HEADER}\nc1,s1,a,surprise, and joy\n"))
    assert "more values than its header has columns" in sentence


def test_a_column_that_is_there_twice_is_refused_unless_nobody_reads_it(tmp_path):
    assert "has the column subject twice" in failure(write(tmp_path, f"{HEADER}, subject \nc1,1,a,surprise,2\n"))
    manifest = write(tmp_path, f"{HEADER},remark,remark,,\nc1,1,a,surprise,x,y,,\n")
    assert read_manifest(manifest, dataset="mine")["clip_id"].tolist() == ["c1"]


@pytest.mark.parametrize("row", ["c\0x,1,a,surprise", "c2,1\0,a,surprise", "c2,1,a\0b,surprise"])
def test_a_nul_is_refused_with_its_line(tmp_path, row):
    sentence = failure(write(tmp_path, f"{HEADER}\nc1,1,a,surprise\n{row}\n"))
    assert "has a NUL character in line 3" in sentence
    assert "\0" not in sentence


def test_a_path_that_is_too_long_is_one_sentence_with_its_clip(tmp_path):
    assert "the path of clip c1: " in failure(write(tmp_path, f"{HEADER}\nc1,1,{'a' * 5000},surprise\n"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "manifest.csv")
    assert "is no regular file" in failure(tmp_path / "manifest.csv")
    assert ManifestSource(root=str(tmp_path)).digest() is None
