"""Source of synthetic data: pseudo-subjects who act emotions, rendered to frames and a manifest on disk."""

import contextlib
import functools
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from mefusion.clips.cache import load_arrays
from mefusion.clips.video import write_image
from mefusion.common.errors import MefusionError
from mefusion.common.files import (
    cleared_on_error,
    remove_leftovers,
    temporary_path,
    told_if_unwritable,
    write_table,
    write_text,
)
from mefusion.datasets.manifest import manifest_digest, read_manifest
from mefusion.datasets.reading.source import Source
from mefusion.processes.parallel import parallel_map
from mefusion.synthetic.mixtures import MIXTURES
from mefusion.synthetic.rendered_download import write_rendered_download
from mefusion.synthetic.scene import (
    JPEG_QUALITY,
    SyntheticClip,
    SyntheticSettings,
    list_clips,
    make_clip,
    render_frame,
    synthetic_folder,
)
from mefusion.synthetic.truth import compare

FPS = 50


class SyntheticSource(Source):
    """A synthetic set; it is rendered when its clips are first needed.

    Args:
        root: folder of all synthetic sets; each has a folder of its own there.
        name: name of the dataset.
        layout: name of a dataset; an imitation of its official download is then written instead, with rendered faces.
        write_to: folder of this imitation.
        settings: see `SyntheticSettings`.

    Raises:
        MefusionError: a setting is not allowed, or only one of layout and write_to is given.
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
                f"data.layout={self.layout} only writes a download and cannot be trained on: "
                "leave it out, or choose the dataset with data=..."
            )
        return manifest_digest(synthetic_folder(self.root, self.settings) / "manifest.csv")

    def table(self, *, workers: int | None = None) -> pd.DataFrame:
        """Make the clip table, after rendering the set if it does not exist yet.

        Raises:
            MefusionError: the portraits cannot be used or the amplitude is too large.
        """
        return read_manifest(
            write_synthetic(self.root, self.settings, workers=workers) / "manifest.csv", dataset=self.name
        )

    def write_download(self, *, workers: int | None = None) -> str:
        """Write the imitation of the download that `layout` names; returns the command that prepares it.

        Raises:
            MefusionError: the layout is not known, or `write_to` is not empty.
        """
        assert self.layout is not None
        assert self.write_to is not None
        return write_rendered_download(self.layout, Path(self.write_to), self.settings, workers=workers)

    def compare_with_truth(self, index: pd.DataFrame, folder: Path) -> list[str]:
        """Lines of text with the errors of prepared landmarks, alignment and flow; see `mefusion.synthetic.truth`."""
        whole = index[index["offset"] - index["onset"] + 1 == index["n_frames"]]  # without clips interpolated in time
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
    """Render a synthetic set to folders of JPEG frames and a manifest.

    The manifest is written last. If rendering was interrupted, the next call completes the set.

    Returns:
        The set's folder, see `synthetic_folder`.

    Raises:
        MefusionError: the portraits cannot be used, or the amplitude is too large for the face.
    """
    folder = synthetic_folder(root, settings)
    remove_leftovers(folder)
    if (folder / "manifest.csv").exists():
        return folder
    write_text(folder / "settings.json", json.dumps(asdict(settings), indent=2))
    clips = list_clips(settings)
    done = parallel_map(
        functools.partial(_write_clip, folder, settings), clips, description="Rendering", workers=workers
    )
    with cleared_on_error(folder):
        rows = pd.DataFrame([row for _, row in done]).sort_values("clip_id")
    write_table(folder / "manifest.csv", rows)
    return folder


def _write_clip(folder: Path, settings: SyntheticSettings, clip: SyntheticClip) -> dict[str, object]:
    made, name = make_clip(settings, clip), clip.name(settings)
    target = folder / "frames" / clip.subject_name / name
    if not target.exists():
        partial = temporary_path(target)
        try:
            with told_if_unwritable(target):
                partial.mkdir(parents=True)
            for t in range(len(made)):
                frame = Image.fromarray(render_frame(made, t, settings))
                write_image(partial / f"img{t + 1:03d}.jpg", frame, quality=JPEG_QUALITY)
            with contextlib.suppress(OSError):  # another process may have written the same clip
                partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return {
        "clip_id": name,
        "subject": clip.subject_name,
        "path": target.relative_to(folder).as_posix(),
        "emotion": list(MIXTURES[settings.scheme])[clip.emotion],
        "onset": 1,
        "apex": made.apex + 1,
        "offset": len(made),
        "action_units": "+".join(map(str, sorted(made.action_units))),
        "fps": FPS,
    }
