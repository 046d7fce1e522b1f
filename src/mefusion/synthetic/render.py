"""Pseudo-subjects made from portraits, and the clips that they act.

Frame t shows the subject's picture S, moved first by the expression and then by the head: the point x of S
is at A_t(x + c_t E(x) + b_t B(x) + r_t R(x)) in frame t. E is the displacement of the clip's expression and
c_t its strength, which rises from onset to apex and falls to offset; B and b_t are those of the eyelids, R and
r_t those of a head that turns to a side, up or down; the similarity A_t is the position of the head. So the
landmarks of every frame, and the flow between any two frames, are known exactly.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from mefusion.faces.alignment import LANDMARK_MIRROR, alignment_matrix, eye_centres, transform
from mefusion.synthetic.expressions import BLINK, CONTROL_MIRROR, displacement
from mefusion.synthetic.mixtures import Expression
from mefusion.synthetic.warps import invert, pixel_grid, sample, spline_basis, steepest

FACE_HEIGHTS = 4.6  # side of the picture, in inter-ocular distances: shows the whole head, and space around it

SKIN = 3e-4  # smoothing of the spline of motion, so that it does not tear lips and eyelids apart where points are close
NOSE = slice(27, 31)  # its ridge, from the eyes to the tip
STEEPEST = 0.85  # largest slope of expression and eyelids together; with 1 the skin folds
BLINKS, HALF_CLOSED = 0.25, 0.35  # shares of clips: with a blink; with lids that open or close a little and stay
TURN = np.deg2rad(0.8)  # of the head, standard deviation of each of its waves
LIGHT, LIGHT_SIDE, FLICKER = 0.015, 0.04, 0.003  # standard deviations of changes of light, as shares of it


@dataclass(frozen=True)
class Portrait:
    """Square picture of one face: `image` [S, S, 3] uint8 RGB, `landmarks` [68, 2] px."""

    image: np.ndarray
    landmarks: np.ndarray


def crop_portrait(image: np.ndarray, landmarks: np.ndarray, *, size: int) -> Portrait:
    """Cut the head out of a photograph [H, W, 3] and resize it to `size` px."""
    left, right = eye_centres(landmarks)
    scale = size / (FACE_HEIGHTS * np.linalg.norm(right - left))
    centre = (landmarks.min(0) + landmarks.max(0)) / 2 - (0, 0.25 * np.linalg.norm(right - left))
    matrix = np.array([[scale, 0, size / 2 - scale * centre[0]], [0, scale, size / 2 - scale * centre[1]]])
    picture = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Portrait(picture, landmarks * scale + matrix[:, 2])


def control_points(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Control points: the 72 that action units move, then points on the picture's border, which do not move."""
    cheeks = [(landmarks[a] + landmarks[b] + landmarks[c]) / 3 for a, b, c in ((36, 31, 4), (45, 35, 12))]
    up = np.array(eye_centres(landmarks)).mean(0) - landmarks[33]
    foreheads = [landmarks[brow] + 0.6 * up for brow in (19, 24)]
    edge = np.linspace(0, size - 1, 5)
    border = np.array([(x, y) for x in edge for y in edge if x in edge[[0, -1]] or y in edge[[0, -1]]])
    return np.concatenate([landmarks, cheeks, foreheads, border])


class Subject:
    """A pseudo-subject: a portrait with another shape of the face, skin, light and camera.

    Attributes:
        image: neutral picture [S, S, 3] float32, 0..255.
        landmarks: exact landmarks [68, 2] px.
    """

    def __init__(self, portrait: Portrait, *, seed: int):
        rng = np.random.default_rng(seed)
        size = len(portrait.image)
        landmarks, image = portrait.landmarks, portrait.image
        if rng.random() < 0.5:
            image = image[:, ::-1]
            landmarks = (landmarks * (-1, 1) + (size - 1, 0))[LANDMARK_MIRROR]
        self.size = size
        self.landmarks = landmarks + random_identity(landmarks, rng)
        backward = spline_basis(control_points(self.landmarks, size), pixel_grid(size).reshape(-1, 2), scale=size)
        shift = np.zeros((backward.shape[1], 2), np.float32)
        shift[:68] = landmarks - self.landmarks
        source = pixel_grid(size) + (backward @ shift).reshape(size, size, 2)
        warped = cv2.remap(np.ascontiguousarray(image), source, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        self.image = _appearance(warped, rng)
        self._skin = spline_basis(
            control_points(self.landmarks, size), pixel_grid(size).reshape(-1, 2), scale=size, smoothing=SKIN
        )

    def field(self, motion: np.ndarray) -> np.ndarray:
        """Displacement [S, S, 2] px of every pixel if the 72 control points move by `motion` [72, 2] px."""
        dense = self._skin[:, : len(motion)] @ motion.astype(np.float32)
        return dense.reshape(self.size, self.size, 2)

    def to_pixels(self, motion: np.ndarray) -> np.ndarray:
        """Rotate displacements [72, 2] from face coordinates to the picture, as the face may be tilted."""
        left, right = eye_centres(self.landmarks)
        along = (right - left) / np.linalg.norm(right - left)
        return motion @ np.array([along, (-along[1], along[0])])

    @property
    def crop_scale(self) -> float:
        """Scale from the picture to the aligned crop of 128 px: crop pixels for each pixel of the picture."""
        return float(np.linalg.norm(alignment_matrix(self.landmarks, size=144)[0, :2]))


def random_identity(landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth random displacement [68, 2] px: similar for neighbouring landmarks, and mostly symmetric."""
    left, right = eye_centres(landmarks)
    unit = np.linalg.norm(right - left)
    distance = np.linalg.norm(landmarks[:, None] - landmarks[None], axis=-1) / unit
    covariance = np.exp(-0.5 * (distance / 0.6) ** 2) + 1e-6 * np.eye(68)
    field = np.linalg.cholesky(covariance) @ rng.standard_normal((68, 2))
    symmetric = (field + field[LANDMARK_MIRROR] * (-1, 1)) / 2
    return unit * (0.06 * symmetric + 0.02 * field)


def _appearance(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change skin and light at random: gamma, colour, light from one side, and blur."""
    size = len(image)
    picture = 255 * (image / 255.0) ** rng.uniform(0.7, 1.4) * rng.uniform(0.9, 1.1, size=3)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    ramp = (pixel_grid(size) / size - 0.5) @ np.array([np.cos(angle), np.sin(angle)])
    lit = picture * (1 + strength * 2 * ramp)[..., None]
    blurred = cv2.GaussianBlur(lit.astype(np.float32), (0, 0), rng.uniform(0.3, 0.9))
    return np.clip(blurred, 0, 255)


@dataclass(frozen=True)
class Clip:
    """One acted expression: all that is needed to compute its frames and their exact landmarks and flow.

    Attributes:
        action_units: the action units of the expression.
        apex: index of the apex frame.
        expression, blink, turn: displacements of every pixel at full strength, [S, S, 2] px. The blink closes the
            eyes; the turn is by 1 rad.
        course, blink_course, turn_course: their strengths in every frame [n]; `course` is 0..1, with 1 at the apex.
        head: similarity of every frame, [n, 2, 3].
        gains: brightness factor of every frame, [n].
        sides: how much brighter the right and the lower edge are than the opposite one, as shares, [n, 2].
        noise_seed: seed of the sensor noise.
    """

    subject: Subject
    action_units: tuple[int, ...]
    apex: int
    expression: np.ndarray
    blink: np.ndarray
    turn: np.ndarray
    course: np.ndarray
    blink_course: np.ndarray
    turn_course: np.ndarray
    head: np.ndarray
    gains: np.ndarray
    sides: np.ndarray
    noise_seed: int

    def __len__(self) -> int:
        return len(self.course)

    def displacement(self, t: int) -> np.ndarray:
        """Displacement of the face in frame t, before the similarity of the head, [S, S, 2] px."""
        skin = self.course[t] * self.expression + self.blink_course[t] * self.blink
        return skin + self.turn_course[t] * self.turn

    def landmarks(self, t: int) -> np.ndarray:
        """Exact landmarks [68, 2] px of frame t."""
        return self._forward(self.subject.landmarks.astype(np.float32), t)

    def _origins(self, t: int) -> np.ndarray:
        """For every pixel of frame t, the point of the neutral picture that it shows, [S, S, 2] px."""
        unmoved = cv2.transform(pixel_grid(self.subject.size), cv2.invertAffineTransform(self.head[t]))
        return invert(self.displacement(t), unmoved.astype(np.float32))

    def _forward(self, points: np.ndarray, t: int) -> np.ndarray:
        return transform(points + sample(self.displacement(t), points), self.head[t])

    def flow(self, first: int, second: int) -> np.ndarray:
        """Exact flow [2, S, S] px (right, down) from frame `first` to frame `second`, for each pixel of `first`."""
        seen = self._forward(self._origins(first), second)
        return (seen - pixel_grid(self.subject.size)).transpose(2, 0, 1)

    def frame(self, t: int) -> np.ndarray:
        """Frame t as from a camera, with changing light and sensor noise, [S, S, 3] uint8 RGB."""
        picture = cv2.remap(
            self.subject.image, self._origins(t), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        rng = np.random.default_rng((self.noise_seed, t))
        noise = rng.standard_normal((*picture.shape[:2], 1), dtype=np.float32)
        light = self.gains[t] + (pixel_grid(self.subject.size) / self.subject.size - 0.5) @ self.sides[t]
        return np.clip(light[..., None] * picture + 2.0 * noise + 0.5, 0, 255).astype(np.uint8)


def act(subject: Subject, expression: Expression, *, frames: int, amplitude: float, seed: int) -> Clip:
    """Make a clip in which a subject shows an expression once.

    Args:
        subject: the subject.
        expression: what is shown.
        frames: number of frames from onset to offset.
        amplitude: how far the landmark that moves most goes from onset to apex, in px of the aligned crop of
            128 px.
        seed: seed of all other random choices.
    """
    rng = np.random.default_rng(seed)
    moved = subject.field(subject.to_pixels(expression.motion))
    reach = np.linalg.norm(sample(moved, subject.landmarks), axis=-1).max()
    moved *= np.float32(amplitude / subject.crop_scale / reach)
    lids = subject.landmarks[[40, 41]].mean(0) - subject.landmarks[[37, 38]].mean(0)
    blink = subject.field(subject.to_pixels(displacement(BLINK)) * np.linalg.norm(lids))
    deepest = max(STEEPEST - steepest(moved), 0) / steepest(blink)
    apex = round(frames * rng.uniform(0.35, 0.6))
    drift = _waves(4, frames, rng)
    light = _waves(3, frames, rng)
    return Clip(
        subject=subject,
        action_units=expression.action_units,
        apex=apex,
        expression=moved,
        blink=blink,
        turn=subject.field(_turn(subject, angle=rng.uniform(0, 2 * np.pi))),
        course=_course(frames, apex, rng).astype(np.float32),
        blink_course=np.clip(_blink_course(frames, apex, rng), -deepest, deepest).astype(np.float32),
        turn_course=(TURN * _waves(1, frames, rng)[0]).astype(np.float32),
        head=_head(drift, subject.size),
        gains=1 + LIGHT * light[0] + FLICKER * rng.standard_normal(frames),
        sides=(LIGHT_SIDE * light[1:].T).astype(np.float32),
        noise_seed=int(rng.integers(2**31)),
    )


def _turn(subject: Subject, *, angle: float) -> np.ndarray:
    """Displacement [72, 2] px of the control points for each rad that the head turns towards `angle` of the picture.

    The face is half an ellipsoid with a nose on it: what is nearer to the camera goes further.
    """
    points = control_points(subject.landmarks, subject.size)[: len(CONTROL_MIRROR)]
    left, right = eye_centres(subject.landmarks)
    unit = np.linalg.norm(right - left)
    x, y = ((points - subject.landmarks[29]) / unit).T
    depth = 1.3 * np.sqrt(np.clip(1 - (x / 1.4) ** 2 - (y / 1.9) ** 2, 0, 1))
    depth[NOSE] += np.linspace(0.05, 0.3, 4)
    return unit * depth[:, None] * np.array([np.cos(angle), np.sin(angle)])


def _course(frames: int, apex: int, rng: np.random.Generator) -> np.ndarray:
    """Strength of the expression [n]: 0 at onset, 1 at apex, and between 0 and 0.3 at offset."""
    rest = rng.uniform(0, 0.3)
    rising = np.linspace(0, 1, apex + 1)
    falling = np.linspace(1, 0, frames - apex)[1:]
    smooth = [3 * u**2 - 2 * u**3 for u in (rising, falling)]
    return np.concatenate([smooth[0], rest + (1 - rest) * smooth[1]])


def _blink_course(frames: int, apex: int, rng: np.random.Generator) -> np.ndarray:
    """How far the eyes are closed [n], 1 fully, below 0 wide open: a blink, lids that move and stay, or zeros."""
    kind, time = rng.random(), np.arange(frames)
    centre, depth, rest = rng.uniform(0, frames), rng.uniform(0.3, 0.8), rng.uniform(-0.35, 0.35)
    if kind < BLINKS:
        return depth * np.exp(-0.5 * ((time - centre) / 1.5) ** 2)
    if kind < BLINKS + HALF_CLOSED:
        return rest * np.clip(time / apex, 0, 1)
    return np.zeros(frames)


def _waves(count: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Slow random courses [count, n], with a standard deviation of about 1 over a clip."""
    time = np.linspace(0, 1, frames)
    waves = [
        rng.standard_normal((count, 1)) * np.sin(np.pi * k * time + rng.uniform(0, 2 * np.pi, (count, 1))) / k
        for k in (1, 2, 3)
    ]
    return np.sum(waves, axis=0)


def _head(drift: np.ndarray, size: int) -> np.ndarray:
    """Similarity of the head from its drift [4, n]: to [n, 2, 3], a pixel or two, half a degree, half a per cent."""
    dx, dy = 1.2 * drift[0], 1.2 * drift[1]
    angle, scale = np.deg2rad(0.5) * drift[2], 1 + 0.005 * drift[3]
    cos, sin, centre = scale * np.cos(angle), scale * np.sin(angle), (size - 1) / 2
    rows = [
        [cos, -sin, centre - cos * centre + sin * centre + dx],
        [sin, cos, centre - sin * centre - cos * centre + dy],
    ]
    return np.array(rows).transpose(2, 0, 1)
