import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mefusion.clips.table import CLIP_DTYPES, clip_table, file_name, folder_name
from mefusion.common.errors import MefusionError


def row(subject, clip_id, dataset="d", **columns):
    return {"dataset": dataset, "subject": f"{dataset}/{subject}", "clip_id": clip_id, "path": "p", **columns}


def test_a_clip_table_is_typed_and_sorted():
    table = clip_table([row("2", "b", onset=7), row("10", "a", fps=200), row("2", "a")], origin="x", root="x")
    assert dict(table.dtypes.astype(str)) == {
        name: kind if kind != "string" else str(pd.StringDtype()) for name, kind in CLIP_DTYPES.items()
    }
    assert list(zip(table["subject"], table["clip_id"], strict=True)) == [("d/10", "a"), ("d/2", "a"), ("d/2", "b")]
    assert table["onset"].isna().tolist() == [True, True, False]
    assert table["onset"][2] == 7


def test_two_clips_with_one_id_are_named():
    rows = [row("1", "a"), row("2", "a"), row("1", "a")]
    with pytest.raises(MefusionError, match=r"list\.csv lists the clip d/1/a twice"):
        clip_table(rows, origin="list.csv", root="list.csv")


def test_ids_that_differ_in_case_are_one_file_on_some_systems(monkeypatch):
    rows = [row("s1", "a1"), row("s1", "A1"), row("S1", "b")]
    monkeypatch.setattr("mefusion.clips.table._IGNORES_CASE", False)
    assert len(clip_table(rows, origin="x", root="x")) == 3
    monkeypatch.setattr("mefusion.clips.table._IGNORES_CASE", True)
    with pytest.raises(MefusionError, match="x lists the clip d/s1/A1 twice, in upper or lower case"):
        clip_table(rows, origin="x", root="x")


def test_the_same_id_may_serve_two_subjects_and_two_datasets():
    assert len(clip_table([row("1", "a"), row("2", "a"), row("1", "a", dataset="e")], origin="x", root="x")) == 3


def test_no_clip_is_an_error():
    with pytest.raises(MefusionError, match=r"list\.csv lists no clip"):
        clip_table([], origin="list.csv", root="list.csv")


@given(st.text(min_size=1), st.text(min_size=1))
def test_file_names_are_safe_and_tell_names_apart(one, other):
    for name in (file_name(one), file_name(other)):
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name)
    assert (file_name(one) == file_name(other)) == (one == other)


def test_plain_names_stay():
    assert [file_name(name) for name in ("sub01", "006", "EP02_01f")] == ["sub01", "006", "EP02_01f"]


@pytest.mark.parametrize(
    "text", ["CON", "nul.safetensors", "Com1.avi", "lpt9", "s01.", "...", 'a<b>:"c/d\\|?*', "a b "]
)
def test_on_windows_a_name_is_no_device_and_ends_in_no_dot(text):
    name = file_name(text, windows=True)
    assert re.fullmatch(r"[A-Za-z0-9._-]*[A-Za-z0-9_-]", name)
    assert name.split(".")[0].lower() not in ("con", "nul", "com1", "lpt9")
    assert folder_name(text, windows=True) == name
    assert folder_name(text, windows=False) == text


@given(st.text(max_size=8), st.text(max_size=8))
def test_different_texts_have_different_names_on_windows_too(one, other):
    assert (file_name(one, windows=True) == file_name(other, windows=True)) == (one == other)


@pytest.mark.parametrize("text", ["EP01", "s01.", "CON", "sub01-a_b.c"])
def test_elsewhere_names_stay_as_they_were(text):
    assert file_name(text, windows=False) == text
