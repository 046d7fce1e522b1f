"""Views: what of a prepared clip a network sees, and the targets that go with it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import cv2
import numpy as np

from mefusion.clips.cache import load_arrays
from mefusion.clips.motion import dynamic_image, flow_image
from mefusion.common.errors import MefusionError
from mefusion.faces.alignment import LANDMARK_MIRROR
from mefusion.windows.cutting import Crop, Span, Times, strided_spans

MARGIN = 4  # px that small frames are continued by on each side, for crops to be jittered

Arrays = Mapping[str, np.ndarray]
Window = dict[str, np.ndarray]


class View(Protocol):
    """One way to look at prepared clips; `VIEWS` lists them.

    Attributes:
        scale: factor of the inputs before they are normalised.
        grey: whether the inputs are grey levels, 0..255.
        allows_temporal_jitter: whether its targets are known for whatever frames a window has.
    """

    scale: ClassVar[float]
    grey: ClassVar[bool]
    allows_temporal_jitter: ClassVar[bool]

    def read(self, path: Path) -> Arrays:
        """What it needs of a prepared clip, kept in memory."""
        ...

    def pictures(self, arrays: Arrays) -> np.ndarray:
        """What inputs are cut from, [n, C, H, W]: a frame or an image at a time."""
        ...

    def spans(self, stride: int, length: int, apex: int) -> list[Span]:
        """Windows of a clip of `length * stride` frames, and the place of its apex."""
        ...

    def window(self, arrays: Arrays, times: Times, crop: Crop) -> Window:
        """Inputs and targets of the T frames `times`; parts of the clip's arrays where nothing changes, not copies."""
        ...

    def collate(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        """Fields of `Batch`: inputs and targets of several windows."""
        ...


class Canvas:
    """Frames with the flow between them and their landmarks: inputs [B, T, 1, S, S], as MOL sees clips.

    There are no landmarks where faces were not looked for.
    """

    scale: ClassVar[float] = 1 / 255
    grey: ClassVar[bool] = True
    allows_temporal_jitter: ClassVar[bool] = False  # flow is known a stride apart

    def read(self, path: Path) -> Arrays:
        """See `View.read`."""
        return _load(path, ("frames", "flow"), others=("landmarks",))

    def pictures(self, arrays: Arrays) -> np.ndarray:
        """See `View.pictures`."""
        return arrays["frames"][:, None]

    def spans(self, stride: int, length: int, apex: int) -> list[Span]:
        """See `strided_spans`."""
        return strided_spans(stride, length)

    def window(self, arrays: Arrays, times: Times, crop: Crop) -> Window:
        """inputs [T, S, S] uint8, flow [T-1, 2, S, S] float16 px, landmarks [T-1, 68, 2] float32 px of frames 2..T.

        Mirroring negates the horizontal flow and swaps the landmarks' sides.
        """
        flow = crop(arrays["flow"][times])  # which ends a frame earlier
        if crop.flip:
            flow = flow.copy()
            np.negative(flow[:, 0], out=flow[:, 0])
        window = {"inputs": crop(arrays["frames"][times]), "flow": flow}
        if "landmarks" in arrays:
            landmarks = arrays["landmarks"][times][1:] - (crop.left, crop.top)
            if crop.flip:
                landmarks = (landmarks * (-1, 1) + (crop.size - 1, 0))[:, LANDMARK_MIRROR]
            window["landmarks"] = landmarks.astype(np.float32)
        return window

    def collate(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        """See `View.collate`."""
        batch = _stack(windows)
        return batch | {"inputs": batch["inputs"][:, :, None]}


class Small:
    """Small frames with their dynamic image: inputs [B, T, 1, S, S], as FDP sees clips.

    The frames are prepared as small as FDP sees them: the pixels of their border are repeated around them.
    """

    scale: ClassVar[float] = 1 / 255
    grey: ClassVar[bool] = True
    allows_temporal_jitter: ClassVar[bool] = True  # the dynamic image is computed of the window

    def read(self, path: Path) -> Arrays:
        """See `View.read`."""
        frames = _load(path, ("frames_small",))["frames_small"]
        around = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
        return {"frames_small": np.pad(frames, around, mode="edge")}

    def pictures(self, arrays: Arrays) -> np.ndarray:
        """See `View.pictures`."""
        return arrays["frames_small"][:, None]

    def spans(self, stride: int, length: int, apex: int) -> list[Span]:
        """See `strided_spans`."""
        return strided_spans(stride, length)

    def window(self, arrays: Arrays, times: Times, crop: Crop) -> Window:
        """inputs [T, S, S] uint8."""
        return {"inputs": crop(arrays["frames_small"][times])}

    def collate(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        """See `View.collate`; dynamic_image [B, S, S] is computed of what was cut, for all windows at once."""
        inputs = _stack(windows)["inputs"]
        return {"inputs": inputs[:, :, None], "dynamic_image": dynamic_image(inputs)}


class DualPhase(Small):
    """Small frames, of which a clip has two windows: from its onset to its apex, and from there to its offset.

    As the dual-phase dynamic images of arXiv 2510.15466; each window is a sample of its own, with the clip's label.
    """

    def spans(self, stride: int, length: int, apex: int) -> list[Span]:
        """Onset to apex and apex to offset; not the second where the apex is the last frame: nothing moves there."""
        last = length * stride - 1
        apex = min(apex, last)  # a clip keeps a multiple of T frames, so the apex may be beyond
        return [span for span in (Span(0, apex), Span(apex, last)) if span.first < span.last]


class FlowImage:
    """One image a clip: flow from onset to apex and its strain, inputs [B, 3, S, S], as the baselines see clips.

    Where the data are such images already, still is their grey of 127.5 and flow is without unit.

    Args:
        image_size: side S that the whole canvas is brought to, px.
    """

    scale: ClassVar[float] = 1.0
    grey: ClassVar[bool] = False
    allows_temporal_jitter: ClassVar[bool] = False  # the flow from onset to apex is prepared

    def __init__(self, image_size: int):
        self.image_size = image_size

    def read(self, path: Path) -> Arrays:
        """See `View.read`."""
        arrays = load_arrays(path, ("onset_apex_flow", "flow_image"))
        if "flow_image" in arrays:
            return {"flow_image": _resized(self.image_size, arrays["flow_image"])}
        return {"flow_image": flow_image(arrays["onset_apex_flow"], size=self.image_size)}

    def pictures(self, arrays: Arrays) -> np.ndarray:
        """See `View.pictures`."""
        return arrays["flow_image"][None]

    def spans(self, stride: int, length: int, apex: int) -> list[Span]:
        """One: the clip as a whole."""
        return [Span(0, length * stride - 1)]

    def window(self, arrays: Arrays, times: Times, crop: Crop) -> Window:
        """inputs [3, S, S] float32; mirroring negates the horizontal flow."""
        sign = np.array([-1 if crop.flip else 1, 1, 1], np.float32)
        return {"inputs": crop(arrays["flow_image"]) * sign[:, None, None]}

    def collate(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        """See `View.collate`."""
        return _stack(windows)


VIEWS: dict[str, Callable[[int], View]] = {
    "canvas": lambda image_size: Canvas(),
    "small": lambda image_size: Small(),
    "flow_image": FlowImage,
}


def make_view(name: str, *, image_size: int, dual_phase: bool = False) -> View:
    """View by name, for inputs of one size; with `dual_phase` that of small frames has the windows of `DualPhase`.

    Raises:
        MefusionError: there is none of that name, or it has no dual phase.
    """
    if dual_phase:
        if name != "small":
            raise MefusionError(
                "model.training.windows=dual_phase is for models of dynamic images, as model=fdp_tiny: "
                "this one takes random, all or first"
            )
        return DualPhase()
    if name not in VIEWS:
        raise MefusionError(f"the view {name} is not known: choose from {', '.join(VIEWS)}")
    return VIEWS[name](image_size)


def _load(path: Path, names: Sequence[str], others: Sequence[str] = ()) -> Arrays:
    """Arrays of a prepared clip, without those of `others` that it lacks."""
    arrays = load_arrays(path, (*names, *others))
    if any(name not in arrays for name in names):
        raise MefusionError(
            f"{path} holds a flow image and no {names[0]}: choose a model of flow images, such as model=ststnet"
        )
    return arrays


def _resized(size: int, image: np.ndarray) -> np.ndarray:
    """Flow image [3, S, S] uint8 as float32 [3, size, size]: flow -0.5..0.5, which mirroring negates; strain 0..1."""
    values = image.transpose(1, 2, 0).astype(np.float32) / 255 - np.array([0.5, 0.5, 0], np.float32)
    if size != len(values):
        values = cv2.resize(values, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _stack(windows: Sequence[Window]) -> dict[str, np.ndarray]:
    return {name: np.stack([window[name] for window in windows]) for name in windows[0]}
