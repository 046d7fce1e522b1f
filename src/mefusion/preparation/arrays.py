"""Compute the arrays that the models read from a clip's raw frames."""

import functools
from collections.abc import Collection, Sequence

import cv2
import numpy as np

from mefusion.clips.motion import dis_flow, farneback_flow, require_tvl1, tvl1_flow
from mefusion.common.errors import MefusionError
from mefusion.faces.alignment import alignment_matrix, fill_missing, stabilised_matrices, transform, warp
from mefusion.faces.detectors import FaceBackend
from mefusion.preparation.settings import Alignment, FaceSettings, FlowMethod, MissingApex, PreparationSettings

FLOW_IMAGE_SIDES = (28, 56, 112)  # px
FLOWS = ("flow", "onset_apex_flow")  # arrays of a prepared clip


def prepare_clip(
    frames: Sequence[np.ndarray],
    backend: FaceBackend | None,
    settings: PreparationSettings,
    *,
    apex: int | None = None,
    flows: Collection[str] = FLOWS,
    flow_device: str | None = None,
) -> dict[str, np.ndarray]:
    """Compute aligned frames and targets of one clip.

    A clip of n frames has the stride s = n // T. Its first T s frames are used: window j consists of the frames
    j, j + s, j + 2 s, ... So the flow is computed from each frame f to frame f + s.

    Args:
        frames: n >= T pictures [H, W, 3] uint8 RGB.
        backend: finds the landmarks; None if the frames show only the face already; they are then resized as they are.
        settings: sizes and clip length.
        apex: index of the apex among the frames; None if it is unknown.
        flows: which of `FLOWS` to compute; they take most of the time, and a prediction does not need a target.
        flow_device: see `measure_flow`.

    Returns:
        `frames` [T s, 144, 144] uint8, `frames_small` [T s, 64, 64] uint8, `landmarks` [T s, 68, 2] float32 px of
        `frames` (only with a backend), `flow` [(T - 1) s, 2, 144, 144] float16 px, `onset_apex_flow` [2, 144, 144]
        float16 px, `matrices` [T s, 2, 3] float32 from raw to aligned coordinates, and `apex_place` [], index of the
        apex among the n frames. 144 and 64 are the sizes by default.

    Raises:
        MefusionError: no face is found, or too many frames in a row have none.
    """
    stride = len(frames) // settings.clip_length
    used = slice(stride * settings.clip_length)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    arrays = {}
    if backend is None:
        canvas, matrices = resize(grey, size=settings.canvas)
        small, _ = resize(grey, size=settings.small)
    else:
        landmarks = fill_missing(backend.landmarks(frames), limit=settings.faces.max_missing)
        canvas, matrices = align(grey, landmarks, settings.faces, size=settings.canvas)
        small, _ = align(grey, landmarks, settings.faces, size=settings.small)
        points = np.stack([transform(p, m) for p, m in zip(landmarks, matrices, strict=True)])
        arrays["landmarks"] = points[used].astype(np.float32)
    if not apex:
        apex = largest_motion(canvas) if settings.missing_apex == MissingApex.largest_motion else len(canvas) // 2
    arrays |= {"frames": canvas[used], "frames_small": small[used]}
    measure = functools.partial(measure_flow, method=settings.flow, device=flow_device)
    if "flow" in flows:
        arrays["flow"] = measure(canvas[used][:-stride], canvas[used][stride:]).astype(np.float16)
    if "onset_apex_flow" in flows:
        arrays["onset_apex_flow"] = measure(canvas[:1], canvas[apex : apex + 1])[0].astype(np.float16)
    return arrays | {"matrices": matrices[used].astype(np.float32), "apex_place": np.array(apex)}


def require_flow(method: FlowMethod, *, device: str | None = None) -> None:
    """Check that flow can be measured, see `measure_flow`.

    Raises:
        MefusionError: OpenCV lacks TV-L1, the device cannot be used, or it is given with another method than TV-L1.
    """
    if device is None:
        if method == FlowMethod.tvl1:
            require_tvl1()
        return
    if method != FlowMethod.tvl1:
        raise MefusionError(f"flow_device={device} is for flow=tvl1, and OpenCV measures flow={method}: leave it out")
    from mefusion.acceleration.tvl1 import require_device

    require_device(device)


def measure_flow(
    first: np.ndarray, second: np.ndarray, *, method: FlowMethod = FlowMethod.tvl1, device: str | None = None
) -> np.ndarray:
    """Optical flow of pairs of pictures.

    Args:
        first, second: [n, H, W] uint8 grey.
        method: how it is measured.
        device: where torch measures TV-L1, many pairs at once; None means OpenCV, as for the other methods.

    Returns:
        [n, 2, H, W] float32 px: for each pixel of `first`, how far it moves to the right and down until `second`.

    Raises:
        MefusionError: see `require_flow`.
    """
    if device is not None:
        from mefusion.acceleration.tvl1 import tvl1_flows  # torch takes a second to import

        return tvl1_flows(first, second, device=device)
    flow = {FlowMethod.tvl1: tvl1_flow, FlowMethod.dis: dis_flow, FlowMethod.farneback: farneback_flow}[method]
    return np.stack([flow(*pair) for pair in zip(first, second, strict=True)])


def random_clip(settings: PreparationSettings) -> dict[str, np.ndarray]:
    """Make random arrays like those of a prepared clip of T frames, to measure a model without any data."""
    generator, length, size = np.random.default_rng(0), settings.clip_length, settings.canvas
    landmarks = size * generator.random((length, 68, 2), dtype=np.float32)
    # The landmark loss is divided by the distance between the eyes, which must not be near 0.
    landmarks[:, 36:42], landmarks[:, 42:48] = size * np.array([0.35, 0.4]), size * np.array([0.65, 0.4])
    return {
        "frames": generator.integers(256, size=(length, size, size), dtype=np.uint8),
        "frames_small": generator.integers(256, size=(length, settings.small, settings.small), dtype=np.uint8),
        "landmarks": landmarks,
        "flow": generator.standard_normal((length - 1, 2, size, size)).astype(np.float16),
        "onset_apex_flow": generator.standard_normal((2, size, size)).astype(np.float16),
    }


def align(
    grey: Sequence[np.ndarray], landmarks: np.ndarray, settings: FaceSettings, *, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Align pictures [H, W] by their landmarks [n, 68, 2]; returns [n, size, size] and the matrices [n, 2, 3]."""
    if settings.alignment == Alignment.stabilised:
        matrices = stabilised_matrices(landmarks, size=size, enlarge=settings.enlarge)
    else:
        matrices = np.stack([alignment_matrix(p, size=size, enlarge=settings.enlarge) for p in landmarks])
    return np.stack([warp(g, m, size=size) for g, m in zip(grey, matrices, strict=True)]), matrices


def resize(grey: Sequence[np.ndarray], *, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Resize pictures [H, W] to squares [n, size, size]; also returns the matrices [n, 2, 3] of this change."""
    height, width = grey[0].shape
    way = cv2.INTER_AREA if min(height, width) > size else cv2.INTER_LINEAR
    down, right = size / height, size / width
    # Coordinates are those of pixel centres, so the picture's corner is at (-0.5, -0.5).
    matrix = np.array([[right, 0, (right - 1) / 2], [0, down, (down - 1) / 2]])
    return np.stack([cv2.resize(g, (size, size), interpolation=way) for g in grey]), np.stack([matrix] * len(grey))


def flow_image_arrays(image: np.ndarray) -> dict[str, np.ndarray]:
    """Make the arrays of a clip that is a flow image.

    Args:
        image: [S, S, 3] uint8, S one of `FLOW_IMAGE_SIDES`.

    Returns:
        `flow_image` [3, S, S] uint8: flow to the right, flow downwards, and strain.

    Raises:
        MefusionError: the image has another size.
    """
    height, width, _ = image.shape
    if height != width or width not in FLOW_IMAGE_SIDES:
        sides = " or ".join(f"{side}x{side}" for side in FLOW_IMAGE_SIDES)
        raise MefusionError(
            f"the image has {width}x{height} pixels: a clip must be a flow image of {sides}, a folder of frames or a "
            "video file"
        )
    return {"flow_image": image.transpose(2, 0, 1)}


def largest_motion(frames: np.ndarray) -> int:
    """Index of the frame with the largest mean absolute difference from the first; frames [n, H, W]."""
    return int(np.abs(frames.astype(np.int16) - frames[0]).mean(axis=(1, 2)).argmax())


def interpolate_in_time(frames: Sequence[np.ndarray], length: int) -> list[np.ndarray]:
    """Interpolate a clip linearly in time to `length` frames."""
    return list(np.rint(blend_in_time(np.stack(frames).astype(np.float32), length)).astype(np.uint8))


def blend_in_time(values: np.ndarray, length: int) -> np.ndarray:
    """Interpolate an array linearly along its first axis, to `length` evenly spaced values."""
    positions = np.linspace(0, len(values) - 1, length)
    lower = np.minimum(positions.astype(int), max(len(values) - 2, 0))
    weight = (positions - lower).reshape(-1, *[1] * (values.ndim - 1))
    upper = np.minimum(lower + 1, len(values) - 1)
    return values[lower] * (1 - weight) + values[upper] * weight
