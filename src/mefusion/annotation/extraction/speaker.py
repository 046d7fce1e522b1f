"""Whose speech it is: each face of a segment gets scores by how its mouth moves with the sound.

`mouth` is a heuristic, and no network: *articulation*, how much a mouth opens and closes as in speech, tells who moves
the mouth at all; *sync*, how well that goes with the sound, tells speakers from those who laugh or chew.
`onnx` is a network that was trained for it, such as LR-ASD (Liao et al. 2023), which the user has exported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from scipy.fft import dct
from scipy.signal import butter, sosfiltfilt

from mefusion.annotation.extraction.media import RATE
from mefusion.annotation.extraction.settings import Speaker, SpeakerSettings
from mefusion.annotation.extraction.speech import require
from mefusion.common.errors import MefusionError, first_line
from mefusion.faces.alignment import eye_centres

CURVE_RATE = 100  # Hz, of the curves of mouth and sound
ARTICULATION_BAND = (1.5, 8.0)  # Hz
SYNC_BAND = (1.0, 6.0)  # Hz
VOICE_BAND = (250.0, 3500.0)  # Hz
QUIET = 1e-4  # power by the segment's largest, -40 dB; what is quieter is as quiet as this
LAG = 0.2  # s; the largest shift between mouth and sound
FACE_RATE = 25  # Hz, of the pictures that a network sees
FACE_SIDE = 112  # px of these pictures


@dataclass(frozen=True)
class Candidate:
    """A face that may be the speaker's, in one segment.

    Attributes:
        times: of the frames that show it, s from the segment's start.
        landmarks: [frames, 68, 2] px.
        faces: [moments, 112, 112] uint8 grey at 25 Hz over the segment, for a network; None if it needs none.
    """

    times: np.ndarray
    landmarks: np.ndarray
    faces: np.ndarray | None = None


@dataclass(frozen=True)
class Scores:
    """Scores of a face in a segment.

    Attributes:
        articulation: how far the outer lips move, RMS, of the inter-ocular distance.
        sync: correlation of the inner lips' speed with the sound's loudness, -1..1.
        network: mean score of a network; NaN without one.
    """

    articulation: float
    sync: float
    network: float = float("nan")


class SpeakerScorer(Protocol):
    """Scores the faces of a segment, and chooses the speaker.

    Attributes:
        sees_faces: whether a candidate has to have its pictures.
    """

    sees_faces: bool

    def scores(self, candidate: Candidate, sound: np.ndarray) -> Scores:
        """Scores of one face; `sound` is the segment's, float32 at `RATE`."""
        ...

    def choose(self, scores: Mapping[int, Scores]) -> int | None:
        """The track of the speaker, among tracks with their scores; None if nobody speaks."""
        ...


def make_scorer(settings: SpeakerSettings) -> SpeakerScorer:
    """Make the scorer of settings.

    Raises:
        MefusionError: a network cannot be loaded.
    """
    return NetworkScorer(settings) if settings.name == Speaker.onnx else MouthScorer(settings)


class MouthScorer:
    """The heuristic by the motion of the mouth."""

    sees_faces = False

    def __init__(self, settings: SpeakerSettings):
        self.settings = settings

    def scores(self, candidate: Candidate, sound: np.ndarray) -> Scores:
        """See `SpeakerScorer.scores`."""
        moments = np.arange(len(sound) * CURVE_RATE // RATE) / CURVE_RATE
        return Scores(
            articulation(candidate.times, candidate.landmarks, moments),
            sync(candidate.times, candidate.landmarks, sound, moments),
        )

    def choose(self, scores: Mapping[int, Scores]) -> int | None:
        """See `SpeakerScorer.choose`: of those who articulate, the one of the highest sync."""
        speaking = {k: each for k, each in scores.items() if each.articulation >= self.settings.articulation}
        return max(speaking, key=lambda track: speaking[track].sync, default=None)


class NetworkScorer:
    """A network for active speaker detection: `audio [1, 4T, 13]`, `visual [1, T, 112, 112]` -> `score [T]`.

    Raises:
        MefusionError: onnxruntime is not installed, or the file is no such network.
    """

    sees_faces = True

    def __init__(self, settings: SpeakerSettings):
        runtime = require("onnxruntime", "pip install onnxruntime", setting="speaker=onnx")
        self.settings, self._mouth = settings, MouthScorer(settings)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(settings.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors have no common class
            raise MefusionError(f"speaker.path={settings.path} cannot be loaded: {first_line(error)}") from error
        names = {each.name for each in self._session.get_inputs()}
        if names != {"audio", "visual"}:
            raise MefusionError(
                f"speaker.path={settings.path} has the inputs {', '.join(sorted(names))}: export a network with the "
                "inputs audio [1, 4T, 13] and visual [1, T, 112, 112], and the output score [T]"
            )

    def scores(self, candidate: Candidate, sound: np.ndarray) -> Scores:
        """See `SpeakerScorer.scores`."""
        assert candidate.faces is not None
        features = mfcc(sound)
        count = min(len(candidate.faces), len(features) // 4)
        inputs = {
            "audio": features[None, : 4 * count].astype(np.float32),
            "visual": candidate.faces[None, :count].astype(np.float32),
        }
        (found, *_) = self._session.run(None, inputs)
        mouth = self._mouth.scores(candidate, sound)
        return Scores(mouth.articulation, mouth.sync, float(np.mean(found)))

    def choose(self, scores: Mapping[int, Scores]) -> int | None:
        """See `SpeakerScorer.choose`: the highest mean score that is high enough."""
        speaking = {track: each for track, each in scores.items() if each.network >= self.settings.score}
        return max(speaking, key=lambda track: (speaking[track].network, speaking[track].sync), default=None)


def articulation(times: np.ndarray, landmarks: np.ndarray, moments: np.ndarray) -> float:
    """RMS of the outer lips' opening at 1.5 to 8 Hz, of the inter-ocular distance.

    Args:
        times: of the frames, s.
        landmarks: [frames, 68, 2] px.
        moments: at which the curve is taken, at `CURVE_RATE`.
    """
    curve = _opening(times, landmarks, moments, upper=51, lower=57)
    return float(np.sqrt(np.mean(_band(curve, ARTICULATION_BAND) ** 2)))


def sync(times: np.ndarray, landmarks: np.ndarray, sound: np.ndarray, moments: np.ndarray) -> float:
    """Largest correlation, within 0.2 s, of the inner lips' speed with the loudness of the voice, both at 1 to 6 Hz.

    The speed has a sign: it is positive while the lips part.

    Args:
        times: of the frames, s from the sound's start.
        landmarks: [frames, 68, 2] px.
        sound: float32 at `RATE`.
        moments: at which the curves are taken, at `CURVE_RATE`.
    """
    speed = np.gradient(_opening(times, landmarks, moments, upper=62, lower=66))
    mouth, voice = _band(speed, SYNC_BAND), _band(loudness(sound, len(moments)), SYNC_BAND)
    shifts = range(-round(LAG * CURVE_RATE), round(LAG * CURVE_RATE) + 1)
    return max(
        _correlation(mouth[max(s, 0) : len(mouth) + min(s, 0)], voice[max(-s, 0) : len(voice) - max(s, 0)])
        for s in shifts
    )


def loudness(sound: np.ndarray, count: int) -> np.ndarray:
    """Log power of a sound at 250 to 3500 Hz, at `CURVE_RATE`.

    Args:
        sound: float32 at `RATE`.
        count: number of values.
    """
    voice = sosfiltfilt(butter(4, VOICE_BAND, "bandpass", fs=RATE, output="sos"), sound)
    hop = RATE // CURVE_RATE
    power = np.pad(voice**2, (0, max(count * hop - len(voice), 0)))[: count * hop].reshape(count, hop).mean(axis=1)
    return np.log(np.maximum(power, max(QUIET * power.max(), 1e-12)))


def face_picture(grey: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """What LR-ASD sees of a face: the middle half of a picture with 0.4 of the face's size around it.

    Args:
        grey: [H, W] uint8.
        box: of the face, px.

    Returns:
        [112, 112] uint8.
    """
    left, top, right, bottom = box
    half = max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    # The network's authors cut (y - half .. y + 1.8 half, x +- 1.4 half), make it 224 px large and keep the middle.
    wide, tall = 0.7 * half, 0.7 * half
    middle = y + 0.4 * half
    scale_x, scale_y = FACE_SIDE / (2 * wide), FACE_SIDE / (2 * tall)
    matrix = np.array([[scale_x, 0, -scale_x * (x - wide)], [0, scale_y, -scale_y * (middle - tall)]])
    size = (FACE_SIDE, FACE_SIDE)
    return cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderValue=110)


def mfcc(sound: np.ndarray) -> np.ndarray:
    """13 mel-frequency cepstral coefficients at 100 Hz, with the settings of python_speech_features.

    Args:
        sound: float32 at `RATE`.

    Returns:
        [n, 13].
    """
    signal = 32768.0 * np.asarray(sound, np.float64)
    signal = np.append(signal[:1], signal[1:] - 0.97 * signal[:-1])
    count = 1 + max(int(np.ceil((len(signal) - 400) / 160)), 0)
    signal = np.pad(signal, (0, max(160 * (count - 1) + 400 - len(signal), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(signal, 400)[::160][:count]
    power = np.abs(np.fft.rfft(frames, 512)) ** 2 / 512
    tiny = np.finfo(float).eps
    bands = np.log(np.maximum(power @ _mel_filters().T, tiny))
    found = dct(bands, type=2, axis=1, norm="ortho")[:, :13]
    found *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    found[:, 0] = np.log(np.maximum(power.sum(axis=1), tiny))
    return found


def _mel_filters() -> np.ndarray:
    """26 triangular filters [26, 257] at equal distances in mel."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = np.floor(513 * 700 * (10 ** (np.linspace(0, highest, 28) / 2595) - 1) / RATE)
    bins = np.arange(257)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.where((bins >= low) & (bins < middle), rising, np.where((bins >= middle) & (bins < high), falling, 0.0))


def _opening(times: np.ndarray, landmarks: np.ndarray, moments: np.ndarray, *, upper: int, lower: int) -> np.ndarray:
    """Distance of two points of the lips at moments, of the segment's inter-ocular distance."""
    eyes = [float(np.linalg.norm(np.subtract(*eye_centres(points)))) for points in landmarks]
    opening = np.linalg.norm(landmarks[:, upper] - landmarks[:, lower], axis=1) / max(float(np.median(eyes)), 1e-6)
    return np.interp(moments, times, opening)


def _band(curve: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    sections = butter(2, band, "bandpass", fs=CURVE_RATE, output="sos")
    return sosfiltfilt(sections, curve, padlen=min(len(curve) - 1, CURVE_RATE))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size > 0 else 0.0
