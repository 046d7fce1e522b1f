"""One face of a rendered recording: what it does in each frame, and how it is painted."""

from dataclasses import dataclass

import cv2
import numpy as np

from mefusion.faces.alignment import transform
from mefusion.synthetic.expressions import ACTION_UNITS, displacement
from mefusion.synthetic.mixtures import MIXTURES, draw_expression, express
from mefusion.synthetic.portraits import ASTRONAUT, load_portraits
from mefusion.synthetic.recordings import camera
from mefusion.synthetic.recordings.eyelids import EYES, Eyelid
from mefusion.synthetic.recordings.settings import RecordingSettings
from mefusion.synthetic.recordings.timeline import (
    Span,
    opening,
    plan_blinks,
    plan_spans,
    strengths,
)
from mefusion.synthetic.render import Subject
from mefusion.synthetic.scene import derived_seed
from mefusion.synthetic.warps import pixel_grid, sample, steepest

SINGLE = 1 / 3  # share of the expressions that are one action unit of no emotion
MOUTH_OPENS = 5.0  # how far the landmark that moves most goes when a speaker's mouth opens, px of the crop of 128 px
SPEECH = 26  # its action unit
SETTLED = 1 / 32  # px; OpenCV rounds the points that it samples to this
STEEPEST = 0.75  # largest slope of a motion; with 1 the skin folds
BORDER = 0.14  # share of the patch over which it fades into the background


@dataclass(frozen=True)
class ActedExpression:
    """One event of a face.

    Attributes:
        span: its frames.
        apex: first frame of its full strength.
        emotion: a key of the scheme's emotions; None for a single action unit of no emotion.
        action_units: in order.
        amplitude: motion of the landmark that moves most, px of the aligned crop of 128 px.
        motion: displacement of the 72 control points at the apex, px of the patch.
    """

    span: Span
    apex: int
    emotion: str | None
    action_units: tuple[int, ...]
    amplitude: float
    motion: np.ndarray


class Actor:
    """One face of a recording. What it shows in a frame is its neutral patch, moved by lids, skin and head in turn.

    Attributes:
        number: of the face in the recording, from 0.
        name: of the pseudo-subject, such as `sub01`.
        subject: the pseudo-subject.
        expressions: its events, in the order of time.
        others: what it does that is no event: blinks, speech, absences.
        heads: similarity from its patch to the picture in every frame, [frames, 2, 3].

    Raises:
        MefusionError: the recording is too short for all that it is to do, or the portraits cannot be used.
    """

    def __init__(self, settings: RecordingSettings, number: int, times: np.ndarray):
        person = settings.subject + number
        self.number, self.name = number, f"sub{person + 1:02d}"
        portraits = load_portraits(settings.portraits, settings.face_size, built_in=ASTRONAUT)
        self.subject = Subject(portraits[person % len(portraits)], seed=derived_seed(settings.seed, person))
        rng = np.random.default_rng(derived_seed(settings.seed, person, settings.take, 2))
        spans, blinks = plan_spans(settings, rng), plan_blinks(settings, rng)
        self.others = sorted(blinks + [s for s in spans if s.kind in ("speech", "away")], key=lambda s: s.onset)
        self.expressions: list[ActedExpression] = []
        frames = settings.length
        self._acted = np.full(frames, -1)  # number of the expression in each frame
        self._strength, self._speech, self._closed = (np.zeros(frames, np.float32) for _ in range(3))
        for span in spans:
            if span.kind in ("micro", "macro"):
                self._plan_expression(span, settings, times, rng)
            elif span.kind == "speech":
                self._speech[span.onset : span.offset + 1] = opening(times, span, rng)
        for span in blinks:
            _, closed = strengths(times, span, rise=0.35, hold=0.2)
            self._closed[span.onset : span.offset + 1] = closed
        away = [span for span in spans if span.kind == "away"]
        self.heads = camera.heads(settings, number, times[:-1], away, rng)
        self._mouth = self.subject.field(_motion(self.subject, displacement(ACTION_UNITS[SPEECH]), MOUTH_OPENS)[0])
        self._lids = [Eyelid.of(self.subject.landmarks, side) for side in (0, 1)]
        self._grid = pixel_grid(settings.face_size)
        fade = np.minimum(self._grid, settings.face_size - 1 - self._grid).min(-1) / (BORDER * settings.face_size)
        # Displacement of the backward warp, right and down, and the share of the patch in the picture.
        self._layer = np.dstack([np.zeros_like(self._grid), cv2.GaussianBlur(np.clip(fade, 0, 1), (0, 0), 3)])
        self._shown: tuple[int, np.ndarray] = (-1, self._mouth)  # number and field of the expression last shown

    def _plan_expression(
        self, span: Span, settings: RecordingSettings, times: np.ndarray, rng: np.random.Generator
    ) -> None:
        emotion: str | None = None
        if rng.random() < SINGLE:
            shown = express([int(rng.choice(list(ACTION_UNITS)))], rng)
        else:
            emotion = str(rng.choice(list(MIXTURES[settings.scheme])))
            shown = draw_expression(MIXTURES[settings.scheme][emotion], rng)
        mean = settings.amplitude if span.kind == "micro" else settings.macro_amplitude
        apex, strength = strengths(times, span, rise=rng.uniform(0.3, 0.5), hold=rng.uniform(0, 0.3))
        motion, amplitude = _motion(self.subject, shown.motion, rng.uniform(0.7, 1.3) * mean)
        self._acted[span.onset : span.offset + 1] = len(self.expressions)
        self._strength[span.onset : span.offset + 1] = strength
        self.expressions.append(ActedExpression(span, apex, emotion, shown.action_units, amplitude, motion))

    def moves(self, t: int) -> bool:
        """Whether an expression or speech moves the skin in frame t."""
        return bool(self._strength[t] > 0 or self._speech[t] > 0)

    def field(self, t: int) -> np.ndarray:
        """Displacement of the skin in frame t, [S, S, 2] px of the patch."""
        number = int(self._acted[t])
        if number < 0:
            return self._speech[t] * self._mouth
        if self._shown[0] != number:
            self._shown = number, self.subject.field(self.expressions[number].motion)
        return self._strength[t] * self._shown[1]

    def landmarks(self, t: int) -> np.ndarray:
        """Exact landmarks of frame t, [68, 2] px of the picture, which they may lie outside of."""
        points = self.subject.landmarks.copy()
        for lid, (upper, _) in zip(self._lids, EYES, strict=True):
            inner = list(upper[1:3])
            points[inner] = lid.moved(points[inner], float(self._closed[t]))
        if self.moves(t):
            points = points + sample(self.field(t), points.astype(np.float32))
        return transform(points, self.heads[t])

    def paint(self, picture: np.ndarray, t: int) -> None:
        """Paint the face of frame t into a picture [H, W, 3] float32. Frames are painted in order."""
        self._solve(t)
        size, (height, width) = self.subject.size, picture.shape[:2]
        corners = transform(np.array([(0, 0), (size, 0), (0, size), (size, size)], float), self.heads[t])
        left, top = np.clip(np.floor(corners.min(0)), 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(0)) + 1, 0, (width, height)).astype(int)
        if left >= right or top >= bottom:
            return
        head = self.heads[t] - np.array([(0, 0, left), (0, 0, top)])
        layer = cv2.warpAffine(self._layer, head, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR)
        back = cv2.invertAffineTransform(head)
        x, y = np.arange(right - left), np.arange(bottom - top)[:, None]
        sources = layer[..., :2]
        sources[..., 0] += (back[0, 0] * x + (back[0, 1] * y + back[0, 2])).astype(np.float32)
        sources[..., 1] += (back[1, 0] * x + (back[1, 1] * y + back[1, 2])).astype(np.float32)
        face = self._show(np.ascontiguousarray(sources))
        self._close_eyes(face, sources, t, head)
        region = picture[top:bottom, left:right]
        region += layer[..., 2:] * (face - region)

    def _solve(self, t: int) -> None:
        """Invert the skin's motion of frame t, beginning with that of the frame before: x + field(x) = target."""
        warp = self._layer[..., :2]
        if not self.moves(t):
            warp[:] = 0
            return
        field, solution = self.field(t), self._grid + warp
        for _ in range(50):  # it converges, since the slopes are below 1
            moved = cv2.remap(field, solution, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            previous, solution = solution, self._grid - moved
            if np.abs(solution - previous).max() < SETTLED:
                break
        warp[:] = solution - self._grid

    def _show(self, sources: np.ndarray) -> np.ndarray:
        """What the neutral patch has at points [h, w, 2] px, [h, w, 3] float32."""
        return cv2.remap(self.subject.image, sources, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    def _close_eyes(self, face: np.ndarray, sources: np.ndarray, t: int, head: np.ndarray) -> None:
        """Paint the upper lids over the eyes of a face [h, w, 3], whose pixels show the points `sources` [h, w, 2]."""
        if self._closed[t] == 0:
            return
        margin = 0.15 * self.subject.size
        for lid, (upper, lower) in zip(self._lids, EYES, strict=True):
            eye = transform(self.subject.landmarks[[*upper, *lower]], head)
            left, top = np.maximum(eye.min(0) - margin, 0).astype(int)
            right, bottom = np.maximum(eye.max(0) + margin, 0).astype(int)
            part = face[top:bottom, left:right]
            if part.size:
                skin, covered = lid.cover(sources[top:bottom, left:right], float(self._closed[t]))
                part += covered[..., None] * (self._show(skin) - part)


def _motion(subject: Subject, motion: np.ndarray, amplitude: float) -> tuple[np.ndarray, float]:
    """Turn displacements [72, 2] in face coordinates into those of the picture, as large as they should be.

    Returns:
        Displacement [72, 2] px; and how far the landmark that moves most goes, px of the aligned crop of 128 px:
        `amplitude`, or what the skin can stand without folding, if that is less (lips that are pressed together,
        narrowed eyes).
    """
    motion = subject.to_pixels(motion)
    field = subject.field(motion)
    reach = np.linalg.norm(sample(field, subject.landmarks), axis=-1).max() * subject.crop_scale
    scale = min(amplitude / reach, STEEPEST / steepest(field))
    return motion * scale, float(scale * reach)
