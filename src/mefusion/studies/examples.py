"""The example clips that a fold keeps for the report's pictures."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from mefusion.clips.cache import save_arrays
from mefusion.common.errors import MefusionError, first_line
from mefusion.common.files import is_irregular


def save_examples(path: Path, examples: Sequence[dict[str, Any]], table: pd.DataFrame) -> None:
    """Save a fold's example clips for the report's pictures; writes no file if there are none.

    Args:
        path: the file.
        examples: see `mefusion.training.examples.predict_examples`.
        table: the fold's predictions. The pictures show these, since they are made from all windows of a clip.
    """
    if not examples:
        return
    arrays: dict[str, np.ndarray] = {}
    metadata: dict[str, str] = {}
    answers = table.set_index(["subject", "clip_id"])["prediction"]
    for example in examples:
        clip_id, subject = example["clip_id"], example["subject"]
        key = clip_id if clip_id not in metadata else f"{subject} {clip_id}"  # two subjects' clips may have one id
        for name, array in example.items():
            if isinstance(array, np.ndarray):
                # Arrays with the height and width of the frames are saved in half precision.
                half = array.dtype == np.float32 and array.shape[-2:] == example["frames"].shape[-2:]
                arrays[f"{key}|{name}"] = array.astype(np.float16) if half else array
        answer = {"label": example["label"], "prediction": answers[subject, clip_id], "subject": subject}
        metadata[key] = json.dumps(answer)
    save_arrays(path, arrays, metadata)


def load_examples(file: str | Path, wanted: Collection[tuple[str, str]] | None = None) -> list[dict[str, Any]]:
    """Read the example clips that a fold saved for pictures.

    Args:
        file: an `examples.safetensors`.
        wanted: subject and id of the clips to read; None reads all.

    Returns:
        One dict for each clip: `clip_id`, `label`, `prediction`, `subject`, `frames` uint8 [T, H, W]; if the tasks
        were on, `flow`, `flow_target` float16 [T-1, 2, H, W] px, `landmarks`, `landmarks_target` float32
        [T-1, 68, 2] px, `dynamic_image`, `dynamic_image_target` float16 [H, W], 0..1 and `rank_scores` float32 [T];
        if the network learns, `attention` float16 [T, H, W], 0..1; from version 0.2 on, `times` int64 [T], the numbers
        of the frames in the prepared clip, from 0, `apex` int64 [1], that of its apex, and `apex_flow` float16
        [2, H, W] px, the flow from onset to apex.

    Raises:
        MefusionError: the file cannot be read, or an array in it has a wrong shape.
    """
    examples: dict[str, dict[str, Any]] = {}
    try:
        if is_irregular(Path(file)):
            raise OSError("no regular file")
        with safe_open(str(file), framework="np") as archive:
            metadata = archive.metadata() or {}
            for key in sorted(archive.keys()):
                clip_id, _, name = key.rpartition("|")
                if wanted is not None and not _is_wanted(clip_id, json.loads(metadata[clip_id])["subject"], wanted):
                    continue
                examples.setdefault(clip_id, {})[name] = archive.get_tensor(key)
        for clip_id, example in examples.items():
            _check_shapes(example)
            description = json.loads(metadata[clip_id])
            example |= {key: str(description[key]) for key in ("label", "prediction", "subject")}
            example["clip_id"] = clip_id
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise MefusionError(
            f"{file} has no readable example clips ({first_line(error)}); delete it to report without a contact sheet."
        ) from error
    return list(examples.values())


def _is_wanted(key: str, subject: str, wanted: Collection[tuple[str, str]]) -> bool:
    # Of two subjects' clips with one id, the second is saved with its subject before the id.
    return (subject, key) in wanted or (subject, key.removeprefix(f"{subject} ")) in wanted


def _check_shapes(example: dict[str, Any]) -> None:
    frames = example["frames"]
    if frames.ndim != 3:
        raise ValueError(f"frames have the shape {frames.shape}, not [T, H, W]")
    length, height, width = frames.shape
    shapes = {
        "flow": (length - 1, 2, height, width),
        "landmarks": (length - 1, 68, 2),
        "dynamic_image": (height, width),
        "attention": frames.shape,
        "times": (length,),
        "apex": (1,),
        "apex_flow": (2, height, width),
    }
    if example.get("rank_scores", frames[:, 0, 0]).shape != (length,):
        raise ValueError(f"rank_scores have the shape {example['rank_scores'].shape}, not {(length,)}")
    for name, shape in shapes.items():
        for key in (name, f"{name}_target"):
            if key in example and example[key].shape != shape:
                raise ValueError(f"{key} has the shape {example[key].shape}, not {shape}")
