import pytest
from PIL import Image

from mefusion.common.errors import MefusionError
from mefusion.spotting.listing import list_recordings
from mefusion.spotting.settings import SpottingSettings, Thresholds


def test_files_folders_and_images_are_recordings(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("b.mp4", "a.MOV", "notes.txt", "cover.png"):
        (tmp_path / "videos" / name).touch()
    (tmp_path / "frames").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "frames" / "img1.png")
    found = list_recordings([tmp_path / "videos", tmp_path / "frames", tmp_path / "videos" / "b.mp4"])
    assert {name: path.name for name, path in found.items()} == {"a": "a.MOV", "b": "b.mp4", "frames": "frames"}


def test_recordings_of_one_name_get_folders_of_their_own(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "talk.mp4").touch()
    names = [*list_recordings([tmp_path / "x", tmp_path / "y"])]
    assert len({name.casefold() for name in names}) == 2
    assert all(name.startswith("talk-") for name in names)
    assert names == [*list_recordings([tmp_path / "x", tmp_path / "y"])]


def test_no_recording_is_one_sentence(tmp_path):
    from pathlib import Path

    with pytest.raises(MefusionError, match="holds no video"):
        list_recordings([tmp_path])
    with pytest.raises(MefusionError, match="there is no recording"):
        list_recordings([])
    with pytest.raises(MefusionError, match="- stands for standard input"):
        list_recordings([Path("-")])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("face", "0"), ("face", "both"), ("low_pass", 15), ("low_pass", 0), ("shortest", 7), ("peak", 1), ("extend", 0)],
)
def test_settings_that_make_no_sense_are_refused_by_name(setting, value):
    with pytest.raises(MefusionError, match=f"{setting}={value}"):
        SpottingSettings(**{setting: value})


@pytest.mark.parametrize(("name", "value"), [("brow", 0), ("keep", -1), ("noise", -1), ("nose", float("nan"))])
def test_thresholds_that_make_no_sense_are_refused_by_name(name, value):
    with pytest.raises(MefusionError, match=f"spotting.thresholds.{name}={value}"):
        SpottingSettings(thresholds=Thresholds(**{name: value}))
