"""A rendered recording: its frames, one after the other, and the truth about them.

Each face is a patch: the neutral picture of a pseudo-subject, whose lids close, whose skin moves by the expressions'
splines, and which the head's similarity places in front of a plain background. So landmarks and events are known
exactly. Frames are made one at a time, and nothing is kept but a few numbers for each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from mefusion.evaluation.spotting import kind_of_duration
from mefusion.synthetic.recordings import camera
from mefusion.synthetic.recordings.actor import Actor
from mefusion.synthetic.recordings.settings import RecordingSettings
from mefusion.synthetic.recordings.timeline import frame_times
from mefusion.synthetic.scene import derived_seed


@dataclass(frozen=True)
class RecordingFrame:
    """One frame.

    Attributes:
        number: from 0.
        time: from the first frame, s.
        image: [H, W, 3] uint8 RGB.
        landmarks: exact ones of each face, [faces, 68, 2] px; those of a face that left lie outside the picture.
        present: whether all landmarks of a face lie in the picture, [faces] bool.
    """

    number: int
    time: float
    image: np.ndarray
    landmarks: np.ndarray
    present: np.ndarray


class Recording:
    """A rendered recording; equal settings give the same one.

    Attributes:
        settings: see `RecordingSettings`.
        times: of each frame from the first, s; float64 [frames].
        actors: its faces, from left to right.

    Raises:
        MefusionError: it is too short for its events, or the portraits cannot be used.
    """

    def __init__(self, settings: RecordingSettings):
        self.settings = settings
        times = frame_times(settings)
        self.times = times[:-1]
        self.actors = [Actor(settings, number, times) for number in range(settings.faces)]
        rng = np.random.default_rng(derived_seed(settings.seed, settings.subject, settings.take, 3))
        self._gains, self._sides = camera.lights(settings, self.times, rng)
        self._background = _background(settings, rng)
        self._noise_seed = int(rng.integers(2**31))

    def __len__(self) -> int:
        return len(self.times)

    @property
    def events(self) -> pd.DataFrame:
        """The expressions, a row each.

        Columns: face (from 0), subject, kind (`micro`, `macro`), onset, apex, offset (frames from 0; the frames before
        the onset and after the offset show no expression), emotion (null for a single action unit of no emotion),
        action_units, amplitude (of the landmark that moves most, px of the aligned crop of 128 px).
        """
        columns = ["face", "subject", "kind", "onset", "apex", "offset", "emotion", "action_units", "amplitude"]
        ends = np.append(self.times, self.times[-1] + 1 / self.settings.fps)
        rows = [
            (
                *(actor.number, actor.name, kind_of_duration(ends[each.span.offset + 1] - ends[each.span.onset])),
                *(each.span.onset, each.apex, each.span.offset),
                *(each.emotion, "+".join(map(str, each.action_units)), round(each.amplitude, 3)),
            )
            for actor in self.actors
            for each in actor.expressions
        ]
        return pd.DataFrame(rows, columns=columns)

    @property
    def others(self) -> pd.DataFrame:
        """What happens beside the expressions: face, subject, kind (`blink`, `speech`, `away`), onset, offset."""
        rows = [(a.number, a.name, span.kind, span.onset, span.offset) for a in self.actors for span in a.others]
        return pd.DataFrame(rows, columns=["face", "subject", "kind", "onset", "offset"])

    def landmarks(self, t: int) -> np.ndarray:
        """Exact landmarks of frame t, [faces, 68, 2] px."""
        return np.stack([actor.landmarks(t) for actor in self.actors])

    def present(self, landmarks: np.ndarray) -> np.ndarray:
        """Whether all landmarks [faces, 68, 2] of a face lie in the picture, [faces] bool."""
        size = (self.settings.width - 1, self.settings.height - 1)
        return np.all((landmarks >= 0) & (landmarks <= size), axis=(1, 2))

    def frames(self) -> Iterator[RecordingFrame]:
        """Render the frames in order.

        Raises:
            MefusionError: an amplitude is too large for the face.
        """
        width, height = self.settings.width, self.settings.height
        rng = np.random.default_rng(self._noise_seed)
        # Noise of two pictures, of which each frame takes another part: to draw it anew takes longer than all else.
        pool = np.repeat(rng.standard_normal((2 * height, 2 * width, 1), np.float32), 3, axis=-1)
        ramp = np.repeat(np.linspace(-1, 1, width, dtype=np.float32)[None, :, None], 3, axis=-1)
        for t in range(len(self)):
            picture = self._background.copy()
            for actor in self.actors:
                actor.paint(picture, t)
            picture *= np.float32(self._gains[t]) + np.float32(self._sides[t]) * ramp
            left, top = rng.integers(0, (width, height))
            noise = pool[top : top + height, left : left + width]
            image = cv2.addWeighted(picture, 1, noise, self.settings.noise, 0, dtype=cv2.CV_8U)
            landmarks = self.landmarks(t)
            yield RecordingFrame(t, float(self.times[t]), image, landmarks, self.present(landmarks))


def _background(settings: RecordingSettings, rng: np.random.Generator) -> np.ndarray:
    """A plain wall, a little brighter at one end, [H, W, 3] float32."""
    colour, slope = rng.uniform(90, 170, 3) * (0.5, 0.5, 0.5) + rng.uniform(40, 90), rng.uniform(-15, 15, 2)
    y, x = np.mgrid[-1 : 1 : settings.height * 1j, -1 : 1 : settings.width * 1j]
    return (colour + (slope[0] * x + slope[1] * y)[..., None]).astype(np.float32)
