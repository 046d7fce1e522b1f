"""Whether the files of prepared clips are as they were written."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mefusion.clips.cache import ClipHeader, load_arrays, read_header, save_clip
from mefusion.common.errors import MefusionError
from mefusion.preparation.arrays import FLOW_IMAGE_SIDES
from mefusion.preparation.settings import PreparationSettings

METADATA = ("state", "content", "n_frames", "apex", "apex_place", "note")
"""What `save_clip` keeps of a clip, beside its arrays."""

_IDENTITY = ("content", "n_frames", "apex_place")  # what the index says of a clip and its file too


def stride_of(n_frames: int, settings: PreparationSettings) -> int:
    """Frames from one of a window to the next, in a clip of so many frames."""
    return max(n_frames // settings.clip_length, 1)


def require_prepared(index: pd.DataFrame, folder: Path, settings: PreparationSettings, *, command: str) -> None:
    """Check that the files of a cache hold the clips of its index, without reading their arrays.

    Args:
        index: rows of the cache's index.
        folder: the cache's folder.
        settings: how the clips were prepared.
        command: the command that prepares them, for messages.

    Raises:
        MefusionError: a clip's file is missing, damaged or another clip's, or its row is wrong.
    """
    for row in index.to_dict("records"):
        path, stride = folder / row["file"], stride_of(row["n_frames"], settings)
        header = read_header(path)
        fault = _fault(header, settings)
        if not fault and any(str(row[name]) != header.metadata[name] for name in _IDENTITY):
            fault = "it is another clip, or another state of it"
        if not fault and row["stride"] != stride:
            fault = f"the index gives it the stride {row['stride']} in place of {stride}"
        if fault:
            raise MefusionError(
                f"{path} is not the clip {row['subject']}/{row['clip_id']} as it was prepared ({fault}): "
                f"run {command}, which makes it anew"
            )


def is_whole(path: Path, header: ClipHeader, settings: PreparationSettings) -> bool:
    """Whether a clip's file is complete and undamaged; one of version 0.1 is given its checksums.

    Args:
        path: the file.
        header: of the file.
        settings: how the clip was prepared.
    """
    if _fault(header, settings):
        return False
    try:
        arrays = load_arrays(path)
    except MefusionError:
        return False
    if not header.checksums:
        save_clip(path, arrays, header.metadata)
    return True


def _fault(header: ClipHeader, settings: PreparationSettings) -> str | None:
    """What is wrong with a clip's file, or None."""
    if not header.arrays:
        return "it is missing or damaged"
    if any(not isinstance(header.metadata.get(name), str) for name in METADATA):
        return "it does not say which clip it is"
    if not header.metadata["n_frames"].isdecimal():
        return "it does not say how many frames the clip has"
    for name, (kind, shape) in _expected_arrays(header, settings).items():
        if name not in header.arrays:
            return f"it has no {name}"
        if header.arrays[name] != (kind, shape):
            found = header.arrays[name]
            return f"its {name} are {found[0]} {list(found[1])} in place of {kind} {list(shape)}"
    return None


def _expected_arrays(header: ClipHeader, settings: PreparationSettings) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of each array, see `prepare_clip` and `flow_image_arrays`."""
    if "flow_image" in header.arrays:
        shapes = [(3, side, side) for side in FLOW_IMAGE_SIDES]
        found = header.arrays["flow_image"][1]
        return {"flow_image": ("U8", found if found in shapes else shapes[0])}
    stride = stride_of(int(header.metadata["n_frames"]), settings)
    frames, canvas, small = stride * settings.clip_length, settings.canvas, settings.small
    arrays: dict[str, tuple[str, tuple[int, ...]]] = {
        "frames": ("U8", (frames, canvas, canvas)),
        "frames_small": ("U8", (frames, small, small)),
        "flow": ("F16", (frames - stride, 2, canvas, canvas)),
        "onset_apex_flow": ("F16", (2, canvas, canvas)),
        "matrices": ("F32", (frames, 2, 3)),
    }
    return arrays | ({} if settings.backend == "none" else {"landmarks": ("F32", (frames, 68, 2))})
