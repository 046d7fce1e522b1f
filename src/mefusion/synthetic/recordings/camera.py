"""How heads move before the camera of a rendered recording, and how its light changes."""

from collections.abc import Sequence

import numpy as np

from mefusion.synthetic.recordings.settings import RecordingSettings
from mefusion.synthetic.recordings.timeline import Span, smooth, waves

DRIFT = (3.1, 5.3, 9.7, 17.0)  # periods of what drifts slowly, s
TURNS = 4  # a minute: the head goes elsewhere, stays, and comes back
LIGHTS = 2  # a minute: the light goes up or down, and stays so
WALK = 0.8  # a face takes this long to leave or to come back, s


def heads(
    settings: RecordingSettings, number: int, times: np.ndarray, away: Sequence[Span], rng: np.random.Generator
) -> np.ndarray:
    """Similarity from the patch of a face to the picture in every frame, [frames, 2, 3].

    Args:
        settings: of the recording.
        number: of the face, from 0; faces stand side by side.
        times: of the frames, s.
        away: frames between which the face is out of the picture.
        rng: source of all that is random.
    """
    size, force = settings.face_size, settings.head_motion
    unit = force * size / 256  # what is a pixel at a face size of 256
    turns = _turns(times, rng, per_minute=TURNS)

    def motion(drift: float, turn: float) -> np.ndarray:
        reached = rng.uniform(-turn, turn, (len(turns), 1))  # by each turn
        return drift * waves(times, rng, periods=DRIFT) + (reached * turns).sum(0)

    x, y, angle = unit * motion(1.5, 8), unit * motion(1.2, 5), np.deg2rad(force * motion(0.6, 2))
    scale = 1 + force * motion(0.006, 0)
    centre = settings.width * (number + 0.5) / settings.faces
    gone = np.zeros_like(times)
    for span in away:
        start, end = times[span.onset], times[span.offset]
        gone = np.maximum(gone, smooth(np.clip(np.minimum(times - start, end - times) / WALK, 0, 1)))
    # The outer faces leave by the side, others downwards, so that nobody walks through a neighbour.
    if number == 0:
        x -= gone * (centre + size)
    elif number == settings.faces - 1:
        x += gone * (settings.width - centre + size)
    else:
        y += gone * (settings.height / 2 + size)
    return _similarities(size, angle, scale, centre + x, settings.height / 2 + y)


def _similarities(size: int, angle: np.ndarray, scale: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rotate and scale a patch about its centre, which then comes to lie at (x, y); [frames, 2, 3]."""
    cos, sin, middle = scale * np.cos(angle), scale * np.sin(angle), (size - 1) / 2
    rows = [[cos, -sin, x - cos * middle + sin * middle], [sin, cos, y - sin * middle - cos * middle]]
    return np.array(rows).transpose(2, 0, 1)


def _turns(times: np.ndarray, rng: np.random.Generator, *, per_minute: float) -> np.ndarray:
    """How far each turn of a head has gone in every frame, 0..1, [turns, frames]."""
    count = round(per_minute * times[-1] / 60)
    starts = rng.uniform(0, times[-1], (count, 1))
    there, stay, back = (rng.uniform(*range_, (count, 1)) for range_ in ((0.4, 1.0), (0.5, 3.0), (0.4, 1.0)))
    going, coming = (times - starts) / there, (times - starts - there - stay) / back
    return smooth(np.clip(going, 0, 1)) - smooth(np.clip(coming, 0, 1))


def lights(settings: RecordingSettings, times: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Brightness factor of every frame [frames]; and by how much it is larger on the right than on the left [frames].

    Lamps flicker, daylight drifts, and now and then the light goes up or down within a second, and stays so.
    """
    count = round(LIGHTS * times[-1] / 60)
    starts, lasts = rng.uniform(0, times[-1], (count, 1)), rng.uniform(0.1, 1.0, (count, 1))
    jumps = smooth(np.clip((times - starts) / lasts, 0, 1)) * np.where(np.arange(count) % 2, -1, 1)[:, None]
    level = 0.02 * waves(times, rng, periods=DRIFT) + (jumps * rng.uniform(-0.12, 0.12)).sum(0)
    flicker = 0.003 * rng.standard_normal(len(times))
    side = 0.05 * waves(times, rng, periods=DRIFT)
    return 1 + settings.light * (level + flicker), settings.light * side
