"""When things happen in a rendered recording: the times of its frames, and what each face does in which of them.

Expressions, stretches of speech and absences of one face never overlap, and between two of them its face rests for a
second at least. Blinks come at any time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mefusion.common.errors import MefusionError
from mefusion.evaluation.spotting import MICRO_SECONDS
from mefusion.synthetic.recordings.settings import RecordingSettings

TICKS = 90_000
"""Times are multiples of 1 / TICKS s, as in video files."""

REST = 1.0  # shortest time between two spans, s
LENGTHS = {  # s
    "micro": (0.1, MICRO_SECONDS),
    "macro": (MICRO_SECONDS, 4.0),
    "speech": (1.0, 4.0),
    "away": (3.0, 5.0),
    "blink": (0.1, 0.3),
}


@dataclass(frozen=True)
class Span:
    """Frames `onset` to `offset`, both included, in which a face does one thing, a key of `LENGTHS`."""

    kind: str
    onset: int
    offset: int


def frame_times(settings: RecordingSettings) -> np.ndarray:
    """Time of each frame from the first, and of the end of the last one, s; float64 [frames + 1]."""
    steps = np.ones(settings.length)
    if settings.variable_rate:
        rng = np.random.default_rng((settings.seed, settings.subject, settings.take, 1))
        steps = rng.uniform(0.8, 1.2, settings.length)
        steps[rng.random(settings.length) < 0.03] *= 2  # a frame that the camera dropped
        steps /= steps.mean()
    times = np.concatenate([[0], np.cumsum(steps)]) / settings.fps
    return np.rint(times * TICKS) / TICKS


def plan_spans(settings: RecordingSettings, rng: np.random.Generator) -> list[Span]:
    """Expressions, speech and absences of one face, in the order of time.

    Raises:
        MefusionError: the recording is too short for them.
    """
    minutes = settings.seconds / 60
    counts = {
        "micro": round(settings.micro_per_minute * minutes),
        "macro": round(settings.macro_per_minute * minutes),
        "speech": round(settings.speech_per_minute * minutes),
        "away": settings.leaves,
    }
    kinds = rng.permutation([kind for kind, count in counts.items() for _ in range(count)])
    lengths = [_length(str(kind), settings.fps, rng) for kind in kinds]
    rest = int(np.ceil(REST * settings.fps))
    free = settings.length - sum(lengths) - rest * (len(lengths) + 1)
    if free < 0 and lengths:
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        raise MefusionError(
            f"seconds={settings.seconds:g} is too short for {told} with a second between them: "
            f"give {settings.seconds - free / settings.fps:.0f} s or more, or fewer of them"
        )
    # Where they lie is uniform among all ways to share the free frames out.
    before = np.sort(rng.integers(0, free + 1, len(lengths)))
    ahead = np.concatenate([[0], np.cumsum(lengths)])
    starts = [rest * (i + 1) + int(before[i] + ahead[i]) for i in range(len(lengths))]
    return [
        Span(str(kind), start, start + length - 1) for kind, start, length in zip(kinds, starts, lengths, strict=True)
    ]


def plan_blinks(settings: RecordingSettings, rng: np.random.Generator) -> list[Span]:
    """Blinks of one face in the order of time; one that would begin before another has ended is left out."""
    count = round(settings.blinks_per_minute * settings.seconds / 60)
    spans: list[Span] = []
    for onset in np.sort(rng.integers(1, max(settings.length - int(settings.fps), 2), count)):
        length = _length("blink", settings.fps, rng)
        if (not spans or onset > spans[-1].offset + 1) and onset + length < settings.length:
            spans.append(Span("blink", int(onset), int(onset) + length - 1))
    return spans


def _length(kind: str, fps: float, rng: np.random.Generator) -> int:
    """A random number of frames, at least three, for onset, apex and offset."""
    shortest, longest = (seconds * fps for seconds in LENGTHS[kind])
    first = int(shortest) + 1 if kind == "macro" else int(np.ceil(shortest))  # one of 0.5 s is a micro-expression
    return max(int(rng.integers(first, max(int(longest), first), endpoint=True)), 3)


def strengths(times: np.ndarray, span: Span, *, rise: float, hold: float) -> tuple[int, np.ndarray]:
    """Strength of a motion in each frame of a span: it rises smoothly to 1, holds, and falls.

    It is 0 in the frame before the onset and in the one after the offset, and above 0 in all between.

    Args:
        times: of all frames, s.
        span: its frames.
        rise, hold: shares of its frames in which it rises, and holds.

    Returns:
        The apex, the first frame of strength 1; and the strengths [frames of the span].
    """
    frames = span.offset - span.onset + 1
    apex = span.onset + min(max(round(rise * frames), 1), frames - 1) - 1
    held = min(apex + round(hold * frames), span.offset - 1)
    knots = times[[span.onset - 1, apex, max(held, apex), span.offset + 1]]
    if held <= apex:
        knots, levels = knots[[0, 1, 3]], [0, 1, 0]
    else:
        levels = [0, 1, 1, 0]
    return apex, smooth(np.interp(times[span.onset : span.offset + 1], knots, levels))


def smooth(share: np.ndarray) -> np.ndarray:
    """A motion that starts and ends slowly: 0..1 to 0..1."""
    return 3 * share**2 - 2 * share**3


def opening(times: np.ndarray, span: Span, rng: np.random.Generator) -> np.ndarray:
    """How far the mouth of a speaker is open, 0..1, in each frame of a span: 3 to 6 openings a second."""
    at = times[span.onset : span.offset + 1] - times[span.onset - 1]
    end = times[span.offset + 1] - times[span.onset - 1]
    knots = np.arange(0, end + 1, 0.5)
    rate = np.interp(np.arange(0, end, 0.01), knots, rng.uniform(3, 6, len(knots)))
    phase = np.interp(at, np.arange(0, end, 0.01), np.cumsum(rate) * 0.01)
    sizes = rng.uniform(0.4, 1.0, int(phase.max()) + 1)  # of each opening
    fade = np.clip(np.minimum(at, end - at) / 0.15, 0, 1)
    return fade * sizes[phase.astype(int)] * (0.5 - 0.5 * np.cos(2 * np.pi * phase))


def waves(times: np.ndarray, rng: np.random.Generator, *, periods: Sequence[float]) -> np.ndarray:
    """A slow random motion [frames]: the sum of a sine for each period (s), of standard deviation 1 or so."""
    angles = 2 * np.pi * times / np.asarray(periods)[:, None] + rng.uniform(0, 2 * np.pi, (len(periods), 1))
    return (rng.standard_normal((len(periods), 1)) * np.sin(angles)).sum(0) * np.sqrt(2 / len(periods))
