"""A synthetic set: its pseudo-subjects, the list of their clips, and how each clip is made."""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mefusion.clips.cache import settings_hash
from mefusion.common.errors import MefusionError
from mefusion.synthetic.mixtures import MIXTURES, Mixture, draw_expression
from mefusion.synthetic.portraits import load_portraits, portrait_digests
from mefusion.synthetic.render import Clip, Subject, act

JPEG_QUALITY = 92  # of frames on disk
MIN_SIZE = 16  # px
RENDERING = 2  # raise it when a change of the code makes the same settings give other frames


@dataclass(frozen=True)
class SyntheticSettings:
    """Settings of a synthetic set; equal settings give equal files.

    Attributes:
        scheme: which emotions the subjects act, a key of `MIXTURES`.
        subjects: number of pseudo-subjects.
        clips_per_class: number of clips of each emotion for each subject.
        amplitude: motion of the landmark that moves most, from onset to apex, px of the aligned crop of 128 px: a
            number, or the smallest and the largest of a set whose clips differ.
        frames: smallest and largest number of frames of a clip.
        size: side of the frames, px.
        seed: seed of subjects and clips.
        portraits: folder of photographs with one face each; None means two public-domain portraits in turn.
    """

    scheme: str = "three"
    subjects: int = 6
    clips_per_class: int = 4
    amplitude: float | Sequence[float] = (1, 2)
    frames: Sequence[int] = (12, 16)
    size: int = 256
    seed: int = 0
    portraits: str | None = None

    def __post_init__(self) -> None:
        for name, kind in (("subjects", int), ("clips_per_class", int), ("size", int)):
            value = getattr(self, name)
            if not isinstance(value, kind) or not 0 < value < math.inf:
                raise MefusionError(f"data.{name}={value}: give a number above 0")
        object.__setattr__(self, "amplitude", _amplitude(self.amplitude))
        if not isinstance(self.seed, int) or self.seed < 0:
            raise MefusionError(f"data.seed={self.seed}: give a whole number from 0 up")
        if self.size < MIN_SIZE:
            raise MefusionError(
                f"data.size={self.size}: give at least {MIN_SIZE} px, since smaller pictures show no face"
            )
        if not isinstance(self.portraits, str | None):
            raise MefusionError(f"data.portraits={self.portraits}: give a folder of photographs, or null")
        if self.scheme not in MIXTURES:
            raise MefusionError(
                f"the synthetic set has no emotions for labels={self.scheme}: choose from {', '.join(MIXTURES)}; with "
                "classes of your own, say which of their emotions are rendered, as data.scheme=seven"
            )
        try:
            fewest, most = map(int, self.frames)
        except (TypeError, ValueError) as error:
            raise MefusionError(
                f"data.frames={self.frames}: give two numbers, the smallest and the largest, such as [16,23]"
            ) from error
        if not 2 <= fewest <= most:
            raise MefusionError(
                f"data.frames={[fewest, most]}: give the smallest and the largest number of frames, at least 2"
            )
        object.__setattr__(self, "frames", (fewest, most))

    @property
    def amplitudes(self) -> tuple[float, float]:
        """Smallest and largest amplitude, px."""
        if isinstance(self.amplitude, int | float):
            return self.amplitude, self.amplitude
        low, high = self.amplitude
        return low, high


def _amplitude(given: float | Sequence[float]) -> float | tuple[float, float]:
    """A number above 0, or two of them in order."""
    numbers = [given] if isinstance(given, int | float) else given
    try:
        low, high = numbers[0], numbers[-1]
        fits = len(numbers) <= 2 and 0 < low <= high < math.inf
    except (TypeError, LookupError):
        fits = False
    if isinstance(given, str) or not fits:
        raise MefusionError(
            f"data.amplitude={given}: give a number above 0, or the smallest and the largest, such as [1,2]"
        )
    return given if isinstance(given, int | float) else (low, high)


@dataclass(frozen=True)
class SyntheticClip:
    """One clip of a synthetic set, by its numbers from 0.

    Attributes:
        subject: number of the subject in the set.
        emotion: number of the emotion in the scheme.
        take: number among the subject's clips of this emotion.
    """

    subject: int
    emotion: int
    take: int

    @property
    def subject_name(self) -> str:
        """Name of the subject, such as `sub01`."""
        return f"sub{self.subject + 1:02d}"

    def name(self, settings: SyntheticSettings) -> str:
        """Id of the clip, such as `sub01_surprise_02`."""
        emotion = list(MIXTURES[settings.scheme])[self.emotion]
        return f"{self.subject_name}_{emotion}_{self.take + 1:02d}"


def synthetic_folder(root: Path, settings: SyntheticSettings) -> Path:
    """Folder of a set with these settings; its name has a hash of the settings and of the photographs' content."""
    content = asdict(settings) | {"portraits": portrait_digests(settings.portraits), "rendering": RENDERING}
    return root / f"{settings.scheme}-{settings_hash(content)}"


def list_clips(settings: SyntheticSettings) -> list[SyntheticClip]:
    """All clips of a set, subject by subject."""
    emotions = range(len(MIXTURES[settings.scheme]))
    takes = range(settings.clips_per_class)
    return [SyntheticClip(s, e, t) for s in range(settings.subjects) for e in emotions for t in takes]


@functools.lru_cache(maxsize=2)
def make_subject(settings: SyntheticSettings, number: int) -> Subject:
    """Make a pseudo-subject of a set; subjects use the photographs in turn."""
    portraits = load_portraits(settings.portraits, settings.size)
    return Subject(portraits[number % len(portraits)], seed=derived_seed(settings.seed, number))


def make_clip(settings: SyntheticSettings, clip: SyntheticClip) -> Clip:
    """Make a clip of a set, with its exact landmarks and flow; every call gives the same clip."""
    seed = derived_seed(settings.seed, clip.subject, clip.emotion, clip.take)
    fewest, most = settings.frames
    mixture = list(MIXTURES[settings.scheme].values())[clip.emotion]
    frames = int(np.random.default_rng(derived_seed(seed, 1)).integers(fewest, most + 1))
    return act_emotion(settings, clip.subject, mixture, frames=frames, seed=seed)


def act_emotion(settings: SyntheticSettings, subject: int, mixture: Mixture, *, frames: int, seed: int) -> Clip:
    """Make a clip in which a subject, by its number, shows an expression of an emotion."""
    rng = np.random.default_rng(seed)
    return act(
        make_subject(settings, subject),
        draw_expression(mixture, rng),
        frames=frames,
        amplitude=rng.uniform(*settings.amplitudes),
        seed=int(rng.integers(2**31)),
    )


def derived_seed(*numbers: int) -> int:
    """Make one seed from several numbers, such as those of the set, the subject and the clip."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def render_frame(clip: Clip, t: int, settings: SyntheticSettings) -> np.ndarray:
    """Render frame t of a clip, [S, S, 3] uint8 RGB.

    Raises:
        MefusionError: the amplitude is too large for the face.
    """
    try:
        return clip.frame(t)
    except ArithmeticError as error:
        raise MefusionError(f"data.amplitude={settings.amplitude} folds the face: choose a smaller one") from error
