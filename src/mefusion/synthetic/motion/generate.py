"""A set of rendered motion, subject by subject."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mefusion.synthetic.expressions import BLINK, displacement
from mefusion.synthetic.mixtures import MIXTURES, draw_expression
from mefusion.synthetic.motion.faces import FramedFace, Framing, random_face
from mefusion.synthetic.motion.nuisances import GRID, as_images, measured
from mefusion.synthetic.motion.settings import SCHEME, MotionSettings
from mefusion.synthetic.portraits import ASTRONAUT, load_portraits

PORTRAIT_SIZE = 256
CROPS = 2  # of each subject
TILT, SHIFT = 0.03, 0.02
BLINKS, BLINK_REACH = 0.35, 0.96  # share of clips; largest motion of the lids, up or down
FAR_SKIN = (0.0, 1.0)  # how much of its motion skin far from the features shows, from clip to clip


@dataclass(frozen=True)
class SubjectMotion:
    """The clips of a pseudo-subject.

    Attributes:
        emotions: of each clip, [n].
        action_units: of each clip, [n].
        exact: flow of the expressions alone, [n, 2, G, G] float32 px; the landmark that moves most moves by
            `settings.amplitude`.
        flow: the same with blink, head and errors of measurement, [n, 2, G, G] float32 px.
        images: [n, S, S, 3] uint8: flow to the right, flow downwards, strain, each stretched to 0..255.
    """

    emotions: Sequence[str]
    action_units: Sequence[tuple[int, ...]]
    exact: np.ndarray
    flow: np.ndarray
    images: np.ndarray


def subject_motion(settings: MotionSettings, number: int) -> SubjectMotion:
    """Make the clips of one subject of a set; every call gives the same clips."""
    rng = np.random.default_rng((settings.seed, number))
    portraits = load_portraits(settings.portraits, PORTRAIT_SIZE, built_in=ASTRONAUT)
    landmarks = random_face(portraits[number % len(portraits)].landmarks, rng, size=PORTRAIT_SIZE)
    emotions = [emotion for emotion in settings.emotions for _ in range(settings.clips_per_class)]
    expressions = [draw_expression(MIXTURES[SCHEME][emotion], rng) for emotion in emotions]
    motion = np.stack([expression.motion for expression in expressions])
    size = max(GRID, settings.size)
    crops = [
        FramedFace(landmarks, _framing(settings, rng), portrait_size=PORTRAIT_SIZE, size=size) for _ in range(CROPS)
    ]
    faces = [crops[clip % CROPS] for clip in range(len(emotions))]
    exact = settings.amplitude * np.concatenate(
        [face.flow(each[None]) for face, each in zip(faces, motion, strict=True)]
    )
    flow = add_nuisances(exact, faces, rng, noise=settings.noise)
    return SubjectMotion(
        emotions=emotions,
        action_units=[expression.action_units for expression in expressions],
        exact=exact,
        flow=flow,
        images=as_images(flow, size=settings.size),
    )


def add_nuisances(
    exact: np.ndarray, faces: Sequence[FramedFace], rng: np.random.Generator, *, noise: float
) -> np.ndarray:
    """Add to the flow of expressions [n, 2, S, S] px what lids, skin, head and optical flow do; 0 adds nothing."""
    if not noise:
        return exact
    blinks = (rng.random(len(exact)) < BLINKS) * rng.uniform(-BLINK_REACH, BLINK_REACH, len(exact))
    closing = {id(face): face.flow(displacement(BLINK)[None])[0] for face in faces}
    lids = np.stack([closing[id(face)] for face in faces])
    near = np.stack([face.features for face in faces])[:, None]
    far = rng.uniform(*FAR_SKIN, (len(exact), 1, 1, 1)).astype(np.float32)
    shown = 1 - min(noise, 1) * (1 - far) * (1 - near)
    return measured((exact + noise * blinks.astype(np.float32)[:, None, None, None] * lids) * shown, rng, level=noise)


def _framing(settings: MotionSettings, rng: np.random.Generator) -> Framing:
    eyes, mouth, interocular = (
        rng.uniform(low, high) for low, high in (settings.eyes, settings.mouth, settings.interocular)
    )
    return Framing(eyes, mouth, interocular, tilt=rng.normal(0, TILT), shift=rng.normal(0, SHIFT))
