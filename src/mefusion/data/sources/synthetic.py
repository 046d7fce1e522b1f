"""The synthetic source: pseudo-subjects acting emotions, written to disk as any download would be."""

import contextlib
import functools
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mefusion.data.cache import load_arrays, settings_hash
from mefusion.data.parallel import parallel_map
from mefusion.data.sources.base import Source
from mefusion.data.sources.manifest import manifest_digest, read_manifest
from mefusion.data.synthetic.action_units import EMOTIONS
from mefusion.data.synthetic.portraits import load_portraits, portrait_digests
from mefusion.data.synthetic.render import Clip, Subject, act
from mefusion.errors import MefusionError
from mefusion.files import write_table

RENDERING = 1  # raise it when the same settings come to give other frames
JPEG_QUALITY = 92
FPS = 50


@dataclass(frozen=True)
class SyntheticSettings:
    """What a synthetic set is made from; equal settings give equal files.

    Attributes:
        scheme: which emotions are acted, a key of `EMOTIONS`.
        subjects: number of pseudo-subjects.
        clips_per_class: clips of each emotion a subject acts.
        amplitude: motion of the most moved landmark at apex, px on the aligned 128 crop.
        frames: fewest and most frames a clip.
        size: side of the frames, px.
        seed: of subjects and clips.
        portraits: folder of photographs with one face each; None is scikit-image's public-domain portrait.
    """

    scheme: str = "three"
    subjects: int = 6
    clips_per_class: int = 6
    amplitude: float = 2.5
    frames: Sequence[int] = (16, 23)
    size: int = 256
    seed: int = 0
    portraits: str | None = None

    def __post_init__(self) -> None:
        for name, kind in (("subjects", int), ("clips_per_class", int), ("size", int), ("amplitude", (int, float))):
            value = getattr(self, name)
            if not isinstance(value, kind) or not 0 < value < math.inf:
                raise MefusionError(f"data.{name}={value}: give a number above 0")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise MefusionError(f"data.seed={self.seed}: give a whole number from 0 up")
        if self.scheme not in EMOTIONS:
            raise MefusionError(
                f"the synthetic set has no emotions for labels={self.scheme}: choose from {', '.join(EMOTIONS)}"
            )
        try:
            fewest, most = map(int, self.frames)
        except (TypeError, ValueError) as error:
            raise MefusionError(
                f"data.frames={self.frames}: give two numbers, the fewest and the most, as [16,23]"
            ) from error
        if not 2 <= fewest <= most:
            raise MefusionError(f"data.frames={[fewest, most]}: give the fewest and the most frames, at least 2")
        object.__setattr__(self, "frames", (fewest, most))


@dataclass(frozen=True)
class SyntheticClip:
    """Which clip of a synthetic set: subject and emotion by their numbers, and the how-manieth."""

    subject: int
    emotion: int
    take: int

    @property
    def subject_name(self) -> str:
        """As `sub01`."""
        return f"sub{self.subject + 1:02d}"

    def name(self, settings: SyntheticSettings) -> str:
        """Id of the clip, as `sub01_surprise_02`."""
        emotion = list(EMOTIONS[settings.scheme])[self.emotion]
        return f"{self.subject_name}_{emotion}_{self.take + 1:02d}"


class SyntheticSource(Source):
    """A synthetic set, rendered under `root` where it is not there yet.

    Args:
        root: folder of synthetic sets, which each have a folder of their own there.
        name: of the dataset.
        layout: a dataset whose official download is to be written instead, with rendered faces in it.
        write_to: where that download goes.
        settings: see `SyntheticSettings`.

    Raises:
        MefusionError: a setting makes no sense, or one of layout and write_to is given without the other.
    """

    faces = "dlib"

    def __init__(
        self,
        *,
        root: str,
        name: str = "synthetic",
        layout: str | None = None,
        write_to: str | None = None,
        **settings: Any,
    ):
        self.name, self.root = name, Path(root)
        self.layout, self.write_to = layout, write_to
        self.settings = SyntheticSettings(**settings)
        if (layout is None) != (write_to is None):
            raise MefusionError(
                f"data.layout={layout} with data.write_to={write_to}: give both to write a download, or neither"
            )

    def identity(self) -> dict[str, object]:
        """See `Source.identity`."""
        return {"synthetic": synthetic_folder(self.root, self.settings).name}

    def digest(self) -> str | None:
        """See `Source.digest`."""
        if self.layout is not None:
            raise MefusionError(
                f"data.layout={self.layout} writes a download and is nothing to train on: "
                "leave it out, or choose the dataset's own data=..."
            )
        return manifest_digest(synthetic_folder(self.root, self.settings) / "manifest.csv")

    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """Clip table.

        Raises:
            MefusionError: the portraits cannot be used or the amplitude is too large.
        """
        return read_manifest(
            write_synthetic(self.root, self.settings, workers=workers) / "manifest.csv", dataset=self.name
        )

    def write_download(self, *, workers: int | None = None) -> str:
        """Write the download that `layout` names; returns the command that prepares it.

        Raises:
            MefusionError: the layout is not known, or `write_to` is not empty.
        """
        from mefusion.data.sources.rendered_download import write_rendered_download

        assert self.layout is not None
        assert self.write_to is not None
        return write_rendered_download(self.layout, Path(self.write_to), self.settings, workers=workers)

    def against_truth(self, index: pd.DataFrame, folder: Path) -> list[str]:
        """Lines that tell how far prepared landmarks and flow are from the exact ones."""
        from mefusion.data.synthetic.truth import compare

        whole = index[index["offset"] - index["onset"] + 1 == index["n_frames"]]  # not those interpolated in time
        first = whole.groupby(["subject", "emotion"], as_index=False).first()
        if first.empty:
            return []
        clips = {clip.name(self.settings): clip for clip in list_clips(self.settings)}
        pairs = (
            (make_clip(self.settings, clips[row.clip_id]), load_arrays(folder / row.file), row.stride)
            for row in first.itertuples()
        )
        return compare(pairs)


def write_synthetic(root: Path, settings: SyntheticSettings, *, workers: int | None = None) -> Path:
    """Render a synthetic set as folders of JPEG frames and a manifest.

    Returns:
        The set's folder: `<root>/<hash of the settings>`. Its manifest is written last, so a set that was
        interrupted is completed by the next call.

    Raises:
        MefusionError: the portraits cannot be used, or the amplitude folds the face.
    """
    folder = synthetic_folder(root, settings)
    if (folder / "manifest.csv").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(asdict(settings), indent=2))
    clips = list_clips(settings)
    done = parallel_map(
        functools.partial(_write_clip, folder, settings), clips, description="Rendering", workers=workers
    )
    rows = pd.DataFrame([row for _, row in done]).sort_values("clip_id")
    write_table(folder / "manifest.csv", rows)
    return folder


def synthetic_folder(root: Path, settings: SyntheticSettings) -> Path:
    """Where a set with these settings stands; photographs count by their content."""
    content = asdict(settings) | {"portraits": portrait_digests(settings.portraits), "rendering": RENDERING}
    return root / f"{settings.scheme}-{settings_hash(content)}"


def list_clips(settings: SyntheticSettings) -> list[SyntheticClip]:
    """Every clip of a set, a subject's clips together."""
    emotions = range(len(EMOTIONS[settings.scheme]))
    takes = range(settings.clips_per_class)
    return [SyntheticClip(s, e, t) for s in range(settings.subjects) for e in emotions for t in takes]


@functools.lru_cache(maxsize=2)
def make_subject(settings: SyntheticSettings, number: int) -> Subject:
    """Pseudo-subject of a set; photographs are taken in turn."""
    portraits = load_portraits(settings.portraits, settings.size)
    return Subject(portraits[number % len(portraits)], seed=derived_seed(settings.seed, number))


def make_clip(settings: SyntheticSettings, clip: SyntheticClip) -> Clip:
    """One clip of a set with its exact truth, the same whenever it is asked for."""
    seed = derived_seed(settings.seed, clip.subject, clip.emotion, clip.take)
    fewest, most = settings.frames
    return act(
        make_subject(settings, clip.subject),
        list(EMOTIONS[settings.scheme].values())[clip.emotion],
        frames=int(np.random.default_rng(seed).integers(fewest, most + 1)),
        amplitude=settings.amplitude,
        seed=seed,
    )


def derived_seed(*numbers: int) -> int:
    """A seed from several numbers, as of the set, the subject and the clip."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _write_clip(folder: Path, settings: SyntheticSettings, clip: SyntheticClip) -> dict[str, object]:
    made, name = make_clip(settings, clip), clip.name(settings)
    target = folder / "frames" / clip.subject_name / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent) as folder_name:
            partial = Path(folder_name) / name
            partial.mkdir()
            for t in range(len(made)):
                Image.fromarray(render_frame(made, t, settings)).save(
                    partial / f"img{t + 1:03d}.jpg", quality=JPEG_QUALITY
                )
            with contextlib.suppress(OSError):  # another process may have written the same clip meanwhile
                partial.rename(target)
    return {
        "clip_id": name,
        "subject": clip.subject_name,
        "path": os.fspath(target.relative_to(folder)),
        "emotion": list(EMOTIONS[settings.scheme])[clip.emotion],
        "onset": 1,
        "apex": made.apex + 1,
        "offset": len(made),
        "action_units": "+".join(map(str, sorted(made.action_units))),
        "fps": FPS,
    }


def render_frame(clip: Clip, t: int, settings: SyntheticSettings) -> np.ndarray:
    """Frame t of a clip, [S, S, 3] uint8 RGB.

    Raises:
        MefusionError: the amplitude is too large for the face.
    """
    try:
        return clip.frame(t)
    except ArithmeticError as error:
        raise MefusionError(f"data.amplitude={settings.amplitude} folds the face: choose a smaller one") from error
