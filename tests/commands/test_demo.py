"""`mefusion-demo`: the page in a real browser, and how the command ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, browser
from fake_recordings import Event, write_recording
from fake_videos import write_video

from mefusion.commands import demo
from mefusion.commands.demo import main
from mefusion.commands.demo_page import describe

EVENTS = [Event(1, 20, 25, 31, ("mouth_lower",), 4.0)]


def test_without_gradio_a_sentence_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(demo.os, "environ", {"GRADIO_SHARE": "True", "https_proxy": "http://proxy", "HOME": "/"})
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path)])
    assert ended.value.code == "mefusion-demo: the page needs gradio: pip install 'mefusion[demo]'"
    assert demo.os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not {"GRADIO_SHARE", "https_proxy"} & {*demo.os.environ}


@pytest.mark.parametrize("option", ["--share", "--host=0.0.0.0", "--port=80", "--port=x"])
def test_faces_stay_on_this_machine(option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bundle", option])
    assert ended.value.code == 2


def test_a_port_in_use_is_told(tmp_path):
    gradio = pytest.importorskip("gradio")
    with socket.socket() as taken, gradio.Blocks(analytics_enabled=False) as page:
        taken.bind((demo.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(demo.MefusionError, match=f"port {port} cannot be used: give another one"):
            demo.launch(gradio, page, port)

    def launch(**options):
        raise OSError

    with pytest.raises(demo.MefusionError, match="port 65535 cannot be used: give another one, such as --port 7860"):
        demo.launch(gradio, SimpleNamespace(launch=launch), 65535)


def test_the_table_has_each_event_with_probabilities_and_warnings():
    events = pd.DataFrame(
        {
            "event": [1, 2],
            "kind": ["micro", "macro"],
            "onset_time": [1.0, 62.5],
            "offset_time": [1.25, 64.0],
            "blink": [0.0, 0.5],
            "speech": [False, True],
            "prediction": ["happy & <b>", None],
            "probability_happy & <b>": [0.75, np.nan],
            "probability_sad": [0.25, np.nan],
            "warnings": ["", "not recognised: too short"],
        }
    )
    text = describe("a<b.mp4", 70.04, events, ["c < d"], ("happy & <b>", "sad"))
    assert "<b>" not in text
    assert "a&lt;b.mp4: 1 micro- and 1 macro-expressions in 70.0 s." in text
    assert "<p>c &lt; d</p>" in text
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in text.split("<tr>")]
    assert rows[-2] == ["1", "0:01.00 to 0:01.25", "micro", "happy &amp; &lt;b&gt;", "0.75", "0.25", ""]
    warning = "A blink hides 50 % of its frames. It looks like speech. not recognised: too short."
    assert rows[-1] == ["2", "1:02.50 to 1:04.00", "macro", "", "", "", warning]


def test_the_table_has_the_action_units_above_a_half_in_one_cell():
    events = pd.DataFrame(
        {
            "event": [1, 2],
            "kind": "micro",
            "onset_time": 1.0,
            "offset_time": 1.25,
            "blink": 0.0,
            "speech": False,
            "prediction": ["happy", None],
            "probability_happy": [1.0, np.nan],
            "unit_6": [0.7, np.nan],
            "unit_9": [0.5, np.nan],
            "unit_12": [0.9, np.nan],
            "warnings": ["", "not recognised: too short"],
        }
    )
    text = describe("a.mp4", 2.0, events, [], ("happy",))
    assert re.findall(r"<th>(.*?)</th>", text)[-2:] == ["units above .5", "warnings"]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in text.split("<tr>")]
    assert (rows[-2][-2:], rows[-1][-2]) == (["6+12", ""], "")
    assert "units above" not in describe("a.mp4", 2.0, events.drop(columns=["unit_6", "unit_9", "unit_12"]), [], ())


def free_port():
    with socket.socket() as found:
        found.bind((demo.HOST, 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def bundle(tiny, tmp_path_factory):
    from inference.trained import train_study

    from mefusion.inference.export import export_study

    folder = tmp_path_factory.mktemp("demo")
    return export_study(train_study(folder, tiny, "protocol=all", "model=ststnet"), to=folder / "bundle")


STARTED = """
import signal
from mefusion.commands.demo import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
main()
"""


@pytest.fixture
def served(bundle, tmp_path):
    """The command in a process of its own; gives the process, the address and its folder of temporary files."""
    temporary, port = tmp_path / "temporary", free_port()
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", STARTED, str(bundle), "--port", str(port)],
        env=os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", "GRADIO_SHARE": "True"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline().startswith(f"mefusion-demo: open http://127.0.0.1:{port}")
        yield process, f"http://127.0.0.1:{port}", temporary
    finally:
        process.kill()
        process.communicate()


BUTTON = "[...document.querySelectorAll('button')].find(b => b.textContent.includes('Find and name'))"
PRESS = f"{BUTTON}.click()"
TEXT = "document.querySelector('#summary').innerText"


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM or sys.platform == "win32", reason="needs the browser chromium")
def test_a_video_goes_in_and_its_events_come_out(served, tmp_path):
    pytest.importorskip("gradio")
    process, address, temporary = served
    video = write_recording(tmp_path / "recording", EVENTS, np.arange(60) / 30).video
    grey = write_video(tmp_path / "grey.mp4", [np.full((64, 64, 3), 99, np.uint8)] * 8)
    with browser(tmp_path / "profile") as tab:
        tab.open(address)
        tab.wait(
            f"document.querySelector('input[type=file]') && {BUTTON} ? true : false"
        )  # the page grows part by part
        tab.run(PRESS)
        tab.wait(f"{TEXT}.includes('Give a video first')")
        tab.choose_file("input[type=file]", grey)
        tab.wait("document.querySelector('video')?.src.includes('grey.mp4')")
        tab.run(PRESS)
        tab.wait(f"{TEXT}.includes('grey.mp4 shows no face')")
        tab.run("document.querySelector('[aria-label=Clear]').click()")
        tab.wait("document.querySelector('input[type=file]') !== null")
        tab.choose_file("input[type=file]", video)
        tab.wait("document.querySelector('video')?.src.includes('face.mp4')")
        tab.run(PRESS)
        tab.wait(f"{TEXT}.includes('1 micro- and 0 macro-expressions')")
        cells = tab.run("[...document.querySelectorAll('#summary td')].map(cell => cell.innerText)")
        assert cells[2] == "micro"
        assert cells[3] in ("negative", "positive", "surprise")
        assert sum(map(float, cells[4:7])) == pytest.approx(1, abs=0.02)
        shown = tab.wait("document.querySelector('#page iframe')?.srcdoc")
        assert "face.mp4: spotted expressions" in shown
        tab.wait(
            "['events.csv', 'page.html', 'overlay.mp4'].every(name => document.body.innerText.replace(/\\s/g, '')"
            ".includes(name))"
        )
        assert {request.split("/")[2] for request in tab.requests if request.startswith("http")} == {address[7:]}
        assert tab.messages == []
        tab.run("fetch('https://example.org/').catch(error => 0)")
        assert "violates the document's Content Security Policy" in tab.wait_for_message()
    assert [*temporary.glob("mefusion-demo-*/uploads/*/face.mp4")]
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "mefusion-demo: stopped by Ctrl-C; what was uploaded is removed"
    assert "Traceback" not in told
    assert [*temporary.glob("mefusion-demo-*")] == []
