"""Where there is speech in a sound."""

import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Protocol

import numpy as np

from mefusion.annotation.extraction.media import RATE
from mefusion.annotation.extraction.segments import Span
from mefusion.annotation.extraction.settings import Vad, VadSettings
from mefusion.common.errors import MefusionError

WINDOW = 512  # samples, 32 ms, for which there is one probability of speech
INSTALL = "pip install 'mefusion[annotate]'"


class SpeechDetector(Protocol):
    """Gives the probability of speech in each window of a sound, one after the other."""

    def __call__(self, window: np.ndarray) -> float:
        """Probability 0..1 of speech in the next window, float32 [WINDOW]."""
        ...


def require(package: str, install: str = INSTALL, *, setting: str = "mefusion-annotate") -> ModuleType:
    """Import a package that is an extra.

    Raises:
        MefusionError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MefusionError(f"{setting} needs the package {package}: {install}") from error


def find_speech(sound: Iterable[np.ndarray], detector: SpeechDetector, settings: VadSettings) -> list[Span]:
    """Stretches of speech in a sound, in the order of time.

    Args:
        sound: blocks of samples at `RATE`, float32.
        detector: of speech.
        settings: of voice activity detection.
    """
    probabilities = [detector(window) for window in _windows(sound)]
    found = _silero().get_speech_timestamps_from_probs(
        probabilities,
        sampling_rate=RATE,
        threshold=settings.threshold,
        min_silence_duration_ms=round(1000 * settings.silence),
        speech_pad_ms=round(1000 * settings.padding),
    )
    return [(each["start"] / RATE, each["end"] / RATE) for each in found]


def make_detector(settings: VadSettings) -> SpeechDetector:
    """Make the speech detector of settings; each sound needs one of its own.

    Raises:
        MefusionError: its package is not installed.
    """
    return _Webrtc(settings.mode) if settings.name == Vad.webrtc else _Silero()


def _windows(sound: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    rest = np.zeros(0, np.float32)
    for block in sound:
        rest = np.concatenate([rest, block])
        whole = len(rest) - len(rest) % WINDOW
        yield from rest[:whole].reshape(-1, WINDOW)
        rest = rest[whole:]
    if len(rest):
        yield np.pad(rest, (0, WINDOW - len(rest)))


def _silero() -> ModuleType:
    """The package silero_vad; its import lets torch use one thread alone, which is undone."""
    torch = require("torch")
    threads = torch.get_num_threads()
    try:
        return require("silero_vad")
    finally:
        torch.set_num_threads(threads)


class _Silero:
    """Silero's network (MIT), whose weights come with its package."""

    def __init__(self) -> None:
        self._torch, self._model = require("torch"), _silero().load_silero_vad()
        self._model.reset_states()

    def __call__(self, window: np.ndarray) -> float:
        with self._torch.inference_mode():
            return float(self._model(self._torch.from_numpy(window), RATE))


class _Webrtc:
    """WebRTC's detector, which knows speech from silence, but not from music."""

    def __init__(self, mode: int) -> None:
        install = "pip install webrtcvad-wheels"
        self._vad = require("webrtcvad", install, setting="vad=webrtc").Vad(mode)

    def __call__(self, window: np.ndarray) -> float:
        whole = (np.clip(window[:480], -1, 1) * 32767).astype("<i2")  # it takes 30 ms
        return float(self._vad.is_speech(whole.tobytes(), RATE))
