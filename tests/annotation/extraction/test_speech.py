import importlib.util

import numpy as np
import pytest
import torch
from fake_conversations import RATE, voice

from mefusion.annotation.extraction import extraction
from mefusion.annotation.extraction.settings import ExtractSettings, VadSettings
from mefusion.annotation.extraction.speech import find_speech, make_detector, require
from mefusion.common.errors import MefusionError

TIMES = np.arange(6 * RATE) / RATE
TALK = np.where((TIMES > 1) & (TIMES < 4), 0.5 - 0.5 * np.cos(2 * np.pi * 4 * TIMES), 0)


def found(sound, **settings):
    chosen = VadSettings(**settings)
    blocks = np.array_split(sound.astype(np.float32), 7)  # of any length
    return find_speech(blocks, make_detector(chosen), chosen)


@pytest.mark.parametrize("settings", [{"name": "silero"}, {"name": "webrtc"}])
def test_speech_is_found_with_its_padding(settings):
    if settings["name"] == "webrtc":
        pytest.importorskip("webrtcvad")
    ((start, end),) = found(voice(TALK), **settings)
    assert start == pytest.approx(0.9, abs=0.15)
    assert end == pytest.approx(4.15, abs=0.2)


def test_silence_noise_and_a_chord_are_no_speech():
    rng = np.random.default_rng(0)
    chord = sum(np.sin(2 * np.pi * pitch * TIMES) for pitch in (262, 330, 392, 523)) / 10
    for sound in (np.zeros(len(TIMES)), 0.1 * rng.standard_normal(len(TIMES)), chord):
        assert found(sound) == []
    assert found(np.zeros(0)) == []


def test_torch_keeps_its_threads():
    torch.set_num_threads(2)
    make_detector(VadSettings())
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch):
    with pytest.raises(MefusionError, match=r"needs the package no_such: pip install 'mefusion\[annotate\]'"):
        require("no_such")
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "silero_vad" else known(name))
    with pytest.raises(MefusionError, match=r"silero_vad: pip install 'mefusion\[annotate\]'"):
        extraction._require_packages(ExtractSettings())
