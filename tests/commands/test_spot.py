import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from fake_recordings import Event, write_recording
from fake_videos import write_sound

from mefusion.commands.predict import main as predict
from mefusion.commands.spot import main as spot
from mefusion.commands.spot import split_arguments

EVENTS = [Event(1, 20, 25, 31, ("mouth_lower",), 4.0)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder with a recording, one without a picture, and one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    write_recording(folder, EVENTS, np.arange(60) / 30)
    (folder / "frames.parquet").unlink()
    write_sound(folder / "sound.mp4")
    (folder / "text.mp4").write_text("no video")
    return folder


def ran(main, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return ended.value.code


def test_the_recordings_of_a_folder_are_spotted_and_bad_ones_are_told(videos, tmp_path, capsys):
    assert ran(spot, videos, "--output", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith(
        "face.mp4: 1 micro- and 0 macro-expressions in 2.0 s; a face in 100% of 60 frames; "
    )
    assert [line.partition(": ")[2] for line in printed.err.splitlines()] == [
        f"{videos / 'sound.mp4'} has no picture, only sound or data: give a video of a face",
        f"{videos / 'text.mp4'} cannot be read as a video: replace the file",
    ]
    result = tmp_path / "out" / "face"
    assert {path.name for path in result.iterdir()} == {
        *("events.csv", "frames.parquet", "overlay.mp4", "page.html", "recording.json")
    }
    assert len(pd.read_csv(result / "events.csv")) == 1
    assert not (tmp_path / "out" / "text").exists()


def test_quiet_prints_errors_only(videos, tmp_path, capsys):
    assert ran(spot, videos / "face.mp4", "--quiet", "--no-overlay", "--output", tmp_path) == 0
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "face" / "overlay.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--face", "nobody"], "face=nobody: give largest, all, or the number of a track from 1 up"),
        (["spotting.low_pass=40"], "spotting.low_pass=40"),
        (["spotting.speed=2"], "spotting.speed"),
        (["--method", "magic"], "spotting=magic"),
    ],
)
def test_a_wrong_setting_is_one_sentence(videos, capsys, arguments, sentence):
    code = ran(spot, videos / "face.mp4", *arguments)
    assert sentence in str(code)
    assert "\n" not in str(code).strip()


def test_settings_and_files_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.mp4").touch()
    paths, settings = split_arguments(["a=b.mp4", "spotting.rate=60", "talk.mp4"])
    assert [path.name for path in paths] == ["a=b.mp4", "talk.mp4"]
    assert settings == ["spotting.rate=60"]


def test_predict_needs_recordings_or_clips(tmp_path):
    assert "give recordings" in str(ran(predict, tmp_path))
    assert "give recordings" in str(ran(predict, tmp_path, "a.mp4", "--clips", "manifest.csv"))
    assert "is no bundle" in str(ran(predict, tmp_path, "a.mp4"))


@pytest.mark.slow
@pytest.mark.parametrize("program", ["spot", "predict", "export", "demo"])
def test_help_answers_without_torch(program):
    code = (
        f"import sys; sys.argv = ['mefusion-{program}', '--help']\n"
        f"from mefusion.commands.{program} import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'pandas', 'hydra', 'gradio'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: mefusion-" in done.stdout
