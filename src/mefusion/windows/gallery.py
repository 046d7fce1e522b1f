"""Read prepared clips in the form that the figures of `mefusion.plots` need."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mefusion.clips.cache import load_arrays, read_index
from mefusion.clips.motion import dynamic_image
from mefusion.common.errors import MefusionError

_COMMAND = "mefusion-prepare"


def open_cache(folder: str | Path) -> tuple[Path, pd.DataFrame]:
    """Find a cache of prepared clips and read its index.

    Args:
        folder: the folder of a cache, `cache/<data>/<hash>`, or a folder above it. If it contains several caches, the
            one prepared last is taken.

    Returns:
        The cache's folder and its index.

    Raises:
        MefusionError: there is no cache, or its index cannot be read.
    """
    found = sorted(Path(folder).glob("**/index.parquet"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise MefusionError(f"{folder} holds no prepared clips (no index.parquet): run {_COMMAND} first")
    return found[-1].parent, read_index(found[-1].parent, command=_COMMAND)


def prepared_example(folder: Path, clip: Mapping[str, Any]) -> dict[str, Any]:
    """Read the first window of a prepared clip, with its targets.

    Args:
        folder: the cache's folder.
        clip: a row of its index.

    Returns:
        `clip_id`, `subject`, `label` (the emotion), `frames` uint8 [T, H, W], `flow_target` float16 [T-1, 2, H, W] px,
        `dynamic_image_target` float32 [H, W], 0..1, and, if the clip has landmarks, `landmarks_target` float32
        [T-1, 68, 2] px of frames 2..T.

    Raises:
        MefusionError: the clip's file is missing or damaged, or is a flow image, which has no frames.
    """
    arrays, stride = load_arrays(folder / clip["file"]), int(clip["stride"])
    if not {"frames", "flow"} <= arrays.keys():
        raise MefusionError(f"{folder / clip['file']} is a flow image or damaged: it has no frames with flow to show")
    frames = arrays["frames"][::stride]
    example = {
        "clip_id": str(clip["clip_id"]),
        "subject": str(clip["subject"]),
        "label": str(clip["emotion"]),
        "frames": frames,
        "flow_target": arrays["flow"][::stride],
        "dynamic_image_target": dynamic_image(frames),
    }
    if "landmarks" in arrays:
        example["landmarks_target"] = arrays["landmarks"][::stride][1:]
    return example
