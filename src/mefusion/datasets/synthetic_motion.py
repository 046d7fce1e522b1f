"""Source of rendered motion: flow images of pseudo-subjects, and a manifest, on disk."""

import functools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from mefusion.clips.cache import settings_hash
from mefusion.clips.video import write_image
from mefusion.common.files import remove_leftovers, told_if_unwritable, write_table, write_text
from mefusion.datasets.manifest import manifest_digest, read_manifest
from mefusion.datasets.reading.source import Source
from mefusion.processes.parallel import parallel_map
from mefusion.synthetic.motion.generate import subject_motion
from mefusion.synthetic.motion.settings import MotionSettings
from mefusion.synthetic.portraits import portrait_digests

GENERATION = 1  # raise it when a change of the code makes the same settings give other images


class SyntheticMotionSource(Source):
    """A set of rendered motion; it is made when its clips are first needed. The path of a clip is its flow image.

    Args:
        root: folder of all sets of rendered motion; each has a folder of its own there.
        name: name of the dataset.
        settings: see `MotionSettings`.

    Raises:
        MefusionError: a setting is not allowed.
    """

    faces = "none"  # a flow image shows no face to find

    def __init__(self, *, root: str, name: str = "synthetic_motion", **settings: Any):
        self.name, self.root = name, Path(root)
        self.settings = MotionSettings(**settings)

    def identity(self) -> dict[str, object]:
        """See `Source.identity`."""
        return {"synthetic_motion": self.folder.name}

    @property
    def folder(self) -> Path:
        """Folder of the set; its name has a hash of the settings and of the photographs' content."""
        portraits = portrait_digests(self.settings.portraits)
        return self.root / settings_hash(asdict(self.settings) | {"portraits": portraits, "generation": GENERATION})

    def digest(self) -> str | None:
        """See `Source.digest`."""
        return manifest_digest(self.folder / "manifest.csv")

    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """Make the clip table, after making the set if it does not exist yet.

        Raises:
            MefusionError: the portraits cannot be used.
        """
        return read_manifest(write_motion(self.folder, self.settings, workers=workers), dataset=self.name)


def write_motion(folder: Path, settings: MotionSettings, *, workers: int | None = None) -> Path:
    """Write a set of rendered motion: a flow image for each clip, and a manifest, which is written last.

    Returns:
        The manifest. If it exists, nothing is written.

    Raises:
        MefusionError: the portraits cannot be used.
    """
    manifest = folder / "manifest.csv"
    if manifest.exists():
        return manifest
    remove_leftovers(folder)
    write_text(folder / "settings.json", json.dumps(asdict(settings), indent=2))
    done = parallel_map(
        functools.partial(_write_subject, folder, settings),
        range(settings.subjects),
        description="Rendering",
        workers=workers,
    )
    write_table(manifest, pd.DataFrame([row for _, rows in done for row in rows]).sort_values("clip_id"))
    return manifest


def _write_subject(folder: Path, settings: MotionSettings, number: int) -> list[dict[str, object]]:
    """Write the flow images of a subject; returns the manifest's rows."""
    motion, subject = subject_motion(settings, number), f"sub{number + 1:03d}"
    target = folder / "flow" / subject
    with told_if_unwritable(target):
        target.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for take, (emotion, units, image) in enumerate(
        zip(motion.emotions, motion.action_units, motion.images, strict=True)
    ):
        name = f"{subject}_{emotion}_{take % settings.clips_per_class + 1:02d}"
        write_image(target / f"{name}.png", Image.fromarray(image), quality=100)
        rows.append(
            {
                "clip_id": name,
                "subject": subject,
                "path": (target / f"{name}.png").relative_to(folder).as_posix(),
                "emotion": emotion,
                "action_units": "+".join(map(str, units)),
            }
        )
    return rows
