import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from fake_conversations import monologue
from fake_videos import write_video

from mefusion.annotation.extraction.extraction import read_segments
from mefusion.commands.annotate import main
from mefusion.common.files import try_lock
from mefusion.configuration.cli import configuration_folder


def ran(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["stage=extract"], "there is no recording: give source.path=DIR"),
        (["stage=guess"], "stage=guess: choose from all, extract, label, export, evaluate"),
        (["source.path=none", "stage=extract"], "source.path=none is not there"),
        (["vad=magic"], "vad=magic"),
        (["vad.threshold=2"], "vad.threshold=2.0: give a number between 0 and 1"),
        (["segments.longest=1"], "segments.longest=1.0: give seconds above segments.shortest"),
        (["speaker=onnx"], "speaker=onnx needs the network's file: give speaker.path=FILE"),
        (["speaker=onnx", "speaker.path=none.onnx", "source.path=.", "stage=extract"], "speaker.path=none.onnx"),
        (["identity.doubtful=0.9"], "identity.doubtful=0.9"),
        (["export.window_s=0"], "export.window_s=0"),
        (["export.speed=1"], "export.speed"),
        (["workers=0", "source.path=videos", "stage=extract"], "workers=0: give a number above 0"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    code = str(ran(*arguments, f"output_dir={tmp_path / 'out'}"))
    assert sentence in code
    assert "\n" not in code.strip()


GROUPS = sorted(configuration_folder("conf").glob("annotate/*/*.yaml"))


@pytest.mark.parametrize("file", GROUPS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_option_of_a_group_can_be_chosen(file, tmp_path):
    chosen = [f"{file.parent.name}={file.stem}", *(["speaker.path=none.onnx"] if file.stem == "onnx" else [])]
    assert "has no extracted video" in str(ran(*chosen, f"output_dir={tmp_path}", "stage=export"))


def test_two_processes_do_not_annotate_in_one_folder(tmp_path):
    with try_lock(tmp_path):
        assert "another process annotates in" in str(ran(f"output_dir={tmp_path}", "stage=export"))


def test_quiet_prints_errors_only(tmp_path, capfd):
    write_video(tmp_path / "mute.mp4", [monochrome() for _ in range(5)])
    assert (
        ran(f"source.path={tmp_path}", f"output_dir={tmp_path / 'out'}", "stage=extract", "--quiet", "workers=1") == 0
    )
    assert capfd.readouterr() == ("", "")
    assert pd.read_csv(tmp_path / "out" / "rejected.csv")["reason"].tolist() == ["no sound"]


def monochrome():
    import numpy as np

    return np.zeros((64, 64, 3), np.uint8)


def test_help_answers_without_torch():
    code = (
        "import sys; sys.argv = ['mefusion-annotate', '--help']\n"
        "from mefusion.commands.annotate import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'pandas', 'hydra', 'av'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: mefusion-annotate" in done.stdout


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(2):
        monologue(videos / f"{number}.mp4", seed=number)
    command = [
        sys.executable,
        "-m",
        "mefusion.commands.annotate",
        f"source.path={videos}",
        "stage=extract",
        "workers=1",
    ]
    killed = subprocess.Popen([*command, f"output_dir={tmp_path / 'out'}"], env=os.environ)
    first = tmp_path / "out" / "videos" / "0" / "DONE"
    wait_for(lambda: first.exists(), killed)
    wait_for(lambda: (tmp_path / "out" / "videos" / "1").exists(), killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "out" / "videos" / "1" / "DONE").exists()
    before = first.stat().st_mtime_ns
    assert ran(*command[3:], f"output_dir={tmp_path / 'out'}") == 0
    assert first.stat().st_mtime_ns == before
    assert ran(*command[3:], f"output_dir={tmp_path / 'whole'}") == 0
    assert read_segments(tmp_path / "out") == read_segments(tmp_path / "whole")
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]
    assert left == []


def wait_for(true, process):
    limit = time.monotonic() + 200
    while not true():
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
