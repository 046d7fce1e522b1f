import sys
from types import SimpleNamespace

import numpy as np
import pytest
from fake_conversations import RATE, write_media

from mefusion.annotation.extraction.settings import TranscriptSettings
from mefusion.annotation.extraction.transcripts import read_subtitles, transcribe, words_of
from mefusion.common.errors import MefusionError

SRT = """1
00:00:01,000 --> 00:00:02,500
Well <i>hello</i>
there.

2
00:00:03,000 --> 00:00:04,000
Ünd so on.
"""
VTT = "WEBVTT\n\n00:01.000 --> 00:02.500\nWell hello there.\n\n00:03.000 --> 00:04.000\nÜnd so on.\n"


@pytest.mark.parametrize(("suffix", "text"), [(".srt", SRT), (".vtt", VTT)])
def test_the_words_of_a_segment_are_those_of_the_subtitles_in_it(tmp_path, suffix, text):
    (tmp_path / f"talk{suffix}").write_text(text, encoding="utf-8")
    settings = TranscriptSettings(name="files")
    found = transcribe(tmp_path / "talk.mp4", [(0.9, 2.6), (2.8, 6.0), (0.0, 9.0), (6.0, 9.0)], settings)
    assert found == ["Well hello there.", "Ünd so on.", "Well hello there. Ünd so on.", ""]
    assert transcribe(tmp_path / "talk.mp4", [(0.9, 2.6)], TranscriptSettings()) == [""]


def test_a_video_without_subtitles_has_no_words_and_bad_ones_are_told(tmp_path):
    assert read_subtitles(tmp_path / "other.mp4") == []
    (tmp_path / "bad.srt").write_bytes(b"\0\1\2")
    with pytest.raises(MefusionError, match=r"bad\.srt"):
        read_subtitles(tmp_path / "bad.mp4")


def test_a_subtitle_belongs_where_its_middle_is():
    cues = [(0.0, 4.0, "long"), (5.0, 6.0, "")]
    assert words_of(cues, (0.0, 1.9)) == ""
    assert words_of(cues, (1.9, 8.0)) == "long"


def test_faster_whisper_hears_the_segments_sound(tmp_path, monkeypatch):
    heard = []

    class WhisperModel:
        def __init__(self, model, *, device, compute_type):
            if model == "broken":
                raise RuntimeError("no such model")
            assert (device, compute_type) == ("cpu", "int8")

        def transcribe(self, sound, *, language):
            heard.append((len(sound), language))
            return iter([SimpleNamespace(text=" Good "), SimpleNamespace(text=" day.")]), None

    settings = TranscriptSettings(name="faster_whisper", language="en")
    path = write_media(tmp_path / "a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 20, np.zeros(2 * RATE), fps=10)
    monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace(WhisperModel=WhisperModel))
    assert transcribe(path, [(0.5, 1.5)], settings) == ["Good day."]
    assert heard == [(RATE, "en")]
    with pytest.raises(MefusionError, match=r"transcript\.model=broken cannot be loaded: no such model"):
        transcribe(path, [(0.5, 1.5)], TranscriptSettings(name="faster_whisper", model="broken"))
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(MefusionError, match="pip install faster-whisper"):
        transcribe(path, [(0.5, 1.5)], settings)
