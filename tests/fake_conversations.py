"""Rendered conversations with sound: whose mouth opens when is known, and the sound is that mouth's."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from scipy.signal import lfilter

from mefusion.synthetic.recordings import Recording, RecordingSettings
from mefusion.synthetic.recordings.timeline import Span, opening

RATE = 16_000
TICKS = Fraction(1, 90_000)
OPENED = 1.6  # a mouth by what it is by default, which is near the least articulation of a speaker
VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))  # Hz
WIDTHS = (80, 90, 120)  # Hz


def voice(loud: np.ndarray, *, pitch: float = 120.0, seed: int = 0) -> np.ndarray:
    """Something like speech, which silero takes for it: a buzz through the formants of vowels that change.

    Args:
        loud: [n] at `RATE`, 0..1.
        pitch: Hz.
        seed: of the vowels.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(len(loud)) / RATE
    melody = pitch * (1 + 0.12 * np.sin(2 * np.pi * 0.6 * times) + 0.03 * np.sin(2 * np.pi * 2.3 * times))
    phase = np.cumsum(melody) / RATE
    buzz = np.diff(np.floor(phase), prepend=0.0) + 0.02 * rng.standard_normal(len(loud))
    source = lfilter([1], [1, -0.9], buzz)
    step, sound, states = RATE // 100, np.zeros(len(loud)), [np.zeros(2) for _ in WIDTHS]
    knots = np.arange(0, len(loud) + RATE, RATE // 5)
    chosen = np.array(VOWELS)[rng.integers(len(VOWELS), size=len(knots))]
    for start in range(0, len(loud), step):
        part = source[start : start + step]
        for number, width in enumerate(WIDTHS):
            centre = np.interp(start, knots, chosen[:, number])
            radius, angle = np.exp(-np.pi * width / RATE), 2 * np.pi * centre / RATE
            poles = [1, -2 * radius * np.cos(angle), radius**2]
            part, states[number] = lfilter([sum(poles)], poles, part, zi=states[number])
        sound[start : start + step] = part
    sound *= loud
    return (0.3 * sound / max(float(np.abs(sound).max()), 1e-9)).astype(np.float32)


def babble(seconds: float, *, seed: int = 0) -> np.ndarray:
    """A voice without pauses and without a face."""
    times = np.arange(round(25 * seconds) + 3) / 25
    opened = opening(times, Span("speech", 1, len(times) - 3), np.random.default_rng(seed))
    return voice(np.interp(np.arange(round(seconds * RATE)) / RATE, times[1 : len(opened) + 1], opened), seed=seed)


def converse(
    turns: Sequence[tuple[int, float, float]], settings: RecordingSettings, *, seed: int = 0
) -> tuple[Recording, np.ndarray]:
    """A recording whose faces speak in turns, and its sound.

    Args:
        turns: face, start and end (s) of each turn.
        settings: of the recording; what its faces do by themselves should be off.
        seed: of the speech.
    """
    recording = Recording(settings)
    rng = np.random.default_rng(seed)
    for actor in recording.actors:
        actor._mouth *= OPENED
    times = np.append(recording.times, recording.times[-1] + 1 / settings.fps)
    moments = np.arange(round(times[-1] * RATE)) / RATE
    sound = np.zeros(len(moments), np.float32)
    for number, (face, start, end) in enumerate(turns):
        first, last = np.searchsorted(times, [start, end])
        span = Span("speech", int(first), int(last))
        opened = opening(times, span, rng)
        recording.actors[face]._speech[span.onset : span.offset + 1] = opened
        loud = np.interp(moments, times[span.onset : span.offset + 1], opened, left=0, right=0)
        sound += voice(loud, pitch=110 + 60 * face, seed=seed + number)
    return recording, sound


def quiet_settings(**changes: object) -> RecordingSettings:
    """Two faces that do nothing by themselves but blink and sway."""
    still = {"micro_per_minute": 0, "macro_per_minute": 0, "speech_per_minute": 0}
    return RecordingSettings(**({"faces": 2, "fps": 25.0, "width": 640, "height": 320} | still | changes))


def monologue(path: Path, *, seed: int = 0, **changes: object) -> Path:
    """One face that speaks from 0.3 to 3 s."""
    small = {"faces": 1, "width": 320, "height": 240, "face_size": 224, "seconds": 3.4, "head_motion": 0.3}
    return write_media(path, *converse([(0, 0.3, 3.0)], quiet_settings(**(small | changes)), seed=seed))


def write_media(
    path: Path,
    pictures: Sequence[np.ndarray] | Recording,
    sound: np.ndarray | None,
    *,
    fps: float = 25.0,
    sound_start: float = 0.0,
    pixels: str = "yuv420p",
    plain: bool = False,
) -> Path:
    """Write H.264 and AAC.

    Args:
        path: of the file.
        pictures: [H, W, 3] uint8 each, or a recording.
        sound: at `RATE`; None means no sound.
        fps: of pictures.
        sound_start: time stamp of the first sample, s.
        pixels: yuv444p allows odd sizes.
        plain: whether the codecs are the older ones of AVI.
    """
    times = pictures.times if isinstance(pictures, Recording) else np.arange(len(pictures)) / fps
    images = (frame.image for frame in pictures.frames()) if isinstance(pictures, Recording) else iter(pictures)
    with av.open(str(path), "w") as container:
        options = {} if plain else {"crf": "16", "preset": "ultrafast"}
        video = container.add_stream("mpeg4" if plain else "libx264", rate=round(fps), options=options)
        codec = "pcm_s16le" if plain else "aac"
        audio = None if sound is None else container.add_stream(codec, rate=RATE, layout="mono")
        done = 0
        for number, image in enumerate(images):
            if number == 0:
                video.height, video.width, video.pix_fmt = *image.shape[:2], pixels
                video.codec_context.time_base = Fraction(1, round(fps)) if plain else TICKS  # AVI has no time stamps
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            base = video.codec_context.time_base
            frame.pts, frame.time_base = round(times[number] / base), base
            container.mux(video.encode(frame))
            if audio is not None:  # beside the picture that it belongs to
                until = round((times[number] - sound_start) * RATE)
                done = _encode(container, audio, sound, done, until, sound_start)
        if audio is not None:
            _encode(container, audio, sound, done, len(sound), sound_start)
            container.mux(audio.encode())
        container.mux(video.encode())
    return path


def _encode(container, audio, sound, done, until, start):
    while done < min(until, len(sound)):
        block = sound[done : done + 1024]
        frame = av.AudioFrame.from_ndarray(block[None].astype(np.float32), format="fltp", layout="mono")
        frame.rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = done + round(start * RATE)
        container.mux(audio.encode(frame))
        done += len(block)
    return done
