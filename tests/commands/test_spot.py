import json
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import av
import numpy as np
import pandas as pd
import pytest
from fake_recordings import Event, write_recording
from fake_videos import write_sound, write_video

from mefusion.clips.stream import Stream
from mefusion.commands.predict import main as predict
from mefusion.commands.recording import process
from mefusion.commands.spot import KEPT, split_arguments
from mefusion.commands.spot import main as spot
from mefusion.spotting.event_table import EVENT_COLUMNS
from mefusion.spotting.settings import SpottingSettings

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


def test_what_was_drawn_is_not_drawn_again(videos, tmp_path, capsys, monkeypatch):
    line = [videos / "face.mp4", "--output", tmp_path]
    assert ran(spot, *line) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    drawn = []
    monkeypatch.setattr("mefusion.report.recording.result.write_page", lambda path, *rest: drawn.append(path.name))
    monkeypatch.setattr("mefusion.report.recording.result.write_overlay", lambda path, *rest: drawn.append(path.name))
    assert ran(spot, *line) == 0
    assert capsys.readouterr().out.splitlines() == [said]
    assert drawn == []
    (tmp_path / "face" / "overlay.mp4").unlink()
    assert ran(spot, *line, "--no-overlay") == 0
    assert drawn == []
    assert ran(spot, *line) == 0
    assert drawn == ["page.html", "overlay.mp4"]


@pytest.fixture
def named(videos, tmp_path, monkeypatch):
    """Name the events of a recording by a network, None for none; the overlay says whose names it shows."""

    def recognise(network, stream, spotted, say):
        return spotted.events[[*EVENT_COLUMNS]].assign(prediction=network.described), []

    monkeypatch.setattr("mefusion.inference.events.recognise_events", recognise)
    monkeypatch.setattr(
        "mefusion.report.recording.result.write_overlay",
        lambda path, frames, table, events: path.write_text(events["prediction"][0]),
    )
    folder = tmp_path / "face"

    def named(name, *, overlay=True):
        network = SimpleNamespace(described=name, facts={"checksum": name}) if name else None
        process(
            Stream(videos / "face.mp4"), folder, SpottingSettings(), network,
            command="", overlay=overlay, shown=lambda stage: nullcontext(lambda seconds: None),
        )  # fmt: skip
        return folder

    return named


def test_of_another_network_neither_names_nor_the_overlay_are_left(named):
    assert (named("net_a") / "overlay.mp4").read_text() == "net_a"
    assert not (named("net_b", overlay=False) / "overlay.mp4").exists()
    assert (named("net_b") / "overlay.mp4").read_text() == "net_b"
    folder = named(None, overlay=False)
    assert [*pd.read_csv(folder / "events.csv")] == [*EVENT_COLUMNS]
    assert "net_b" not in (folder / "page.html").read_text()


def test_after_an_interruption_the_names_are_those_of_the_network_that_is_asked(named, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    named("net_a", overlay=False)
    with monkeypatch.context() as patch:
        patch.setattr("mefusion.report.recording.result.write_overlay", stop)
        with pytest.raises(KeyboardInterrupt):
            named("net_b")
    events = pd.read_csv(named("net_a", overlay=False) / "events.csv")
    assert events["prediction"].tolist() == ["net_a"]


def test_a_recording_that_is_cut_off_is_used_as_far_as_it_goes_and_told(tmp_path, capsys):
    rng = np.random.default_rng(0)
    video = write_video(tmp_path / "a.mkv", rng.integers(0, 255, (90, 64, 64, 3), dtype=np.uint8))
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):  # the second time, it is read from disk
        assert ran(spot, video, "--no-overlay", "--output", tmp_path / "out") == 1
        printed = capsys.readouterr()
        assert printed.err.startswith(f"mefusion-spot: {video} is damaged or cut off: it ends after 1.")
        assert printed.err.count("\n") == 1
        assert "no face in any frame" in printed.out
    frames = pd.read_parquet(tmp_path / "out" / "a" / "frames.parquet")
    assert 10 < len(frames) < 80


@pytest.mark.parametrize(
    ("codec", "form", "shape"),
    [("ffv1", "gray", (33, 65)), ("ffv1", "bgr0", (33, 65, 3)), ("libx264", "yuv420p10le", (48, 64, 3))],
)
def test_grey_odd_and_deep_pictures_are_recordings(tmp_path, capsys, codec, form, shape):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream(codec, rate=30)
        (stream.height, stream.width), stream.pix_fmt = shape[:2], form
        picture = np.full(shape, 80, np.uint8)
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(picture, format="gray" if len(shape) == 2 else "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert ran(spot, tmp_path / "a.mkv", "--output", tmp_path) == 0
    assert "no face in any frame" in capsys.readouterr().out
    with av.open(str(tmp_path / "a" / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5


def test_a_single_frame_is_a_recording_and_names_do_not_collide(tmp_path, capsys):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "a.mp4", np.zeros((1, 48, 64, 3), np.uint8))
    assert ran(spot, tmp_path / "x", tmp_path / "y", "--face", "7", "--output", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all("in 0.0 s; face 7 in no frame; " in line for line in lines)
    pages = [path.read_text() for path in (tmp_path / "out").glob("a-*/page.html")]
    assert len(pages) == 2
    assert all("Face 7 was not found in this recording" in page for page in pages)


STOPPED = """
import os, signal, sys
from mefusion.commands.spot import main
from mefusion.spotting import recording

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background

def spot_part(*arguments, whole=recording._spot_part):
    part = whole(*arguments)
    os.kill(os.getpid(), signal.SIGINT)
    return part

recording._spot_part = spot_part
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_after_ctrl_c_the_same_command_goes_on(tmp_path, capsys):
    video = write_video(tmp_path / "long.mkv", np.zeros((520, 32, 64, 3), np.uint8), 4.0)
    line = [str(video), "--no-overlay", "--output", str(tmp_path)]
    stopped = subprocess.run([sys.executable, "-c", STOPPED, *line], capture_output=True, text=True, check=False)
    err, part = stopped.stderr, tmp_path / "long" / ".parts" / "00000.json"
    assert stopped.returncode == 130
    assert err == f"mefusion-spot: stopped by Ctrl-C; {KEPT}\n"
    assert part.exists()
    assert ran(spot, *line) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("long.mkv: 0 micro- and 0 macro-expressions in 129.8 s; no face")
    assert len(pd.read_parquet(tmp_path / "long" / "frames.parquet")) == 520
    assert json.loads((tmp_path / "long" / "recording.json").read_text())["complete"]


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
    given = ["spotting.rate=60", "+spotting.rate=60", "++spotting.rate=60", "~spotting.rate=60"]
    paths, settings = split_arguments(["a=b.mp4", *given, "talk.mp4"])
    assert [path.name for path in paths] == ["a=b.mp4", "talk.mp4"]
    assert settings == given


def test_the_folder_of_the_results_is_the_option_or_the_setting_and_is_no_expression(videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr("mefusion.commands.spot.spot_one", lambda path, folder, *rest: asked.append(str(folder)) or [])
    face = videos / "face.mp4"
    lines = {
        (): "outputs/spot",
        ("output_dir=mine",): "mine",
        ("--output", "1_000"): "1_000",
        ("--output", "results (final)"): "results (final)",
        ("output_dir=mine", "--output", "other"): "other",
    }
    for line in lines:
        assert ran(spot, face, *line) == 0
    assert asked == [f"{folder}/face" for folder in lines.values()]
    asked.clear()
    assert ran(predict, face) == ran(predict, face, "output_dir=mine") == 0
    assert asked == ["outputs/predict/face", "mine/face"]


def test_predict_needs_recordings_or_clips(tmp_path):
    assert "give recordings" in str(ran(predict))
    assert "holds no video" in str(ran(predict, tmp_path))
    assert "give recordings" in str(ran(predict, tmp_path, "a.mp4", "--clips", "manifest.csv"))
    assert "a.mp4 is not there: give recordings" in str(ran(predict, "a.mp4"))


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
