"""Views: which inputs and targets are made from a prepared clip."""

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
from mefusion.windows.flow import FlowSettings, Normalisation

SMALLEST_STD = 1e-6  # below it a channel counts as constant

Arrays = Mapping[str, np.ndarray]
Window = dict[str, np.ndarray]


class View(Protocol):
    """One way to make inputs and targets from prepared clips; `VIEWS` lists all views.

    Attributes:
        needs: arrays of a prepared clip that the inputs are made from.
        scale: the inputs are multiplied by this before they are normalised.
        grey: whether the inputs are grey levels, 0..255.
        margin: the pictures are padded by this on each side, px.
        allows_temporal_jitter: whether the targets can be made for any frames of a clip.
        is_normalised: whether the inputs are normalised already, so that the training subjects' mean and standard
            deviation do not count.
        mirrors_test: whether test windows are predicted mirrored too.
    """

    needs: ClassVar[tuple[str, ...]]
    scale: ClassVar[float]
    grey: ClassVar[bool]
    margin: ClassVar[int]
    allows_temporal_jitter: ClassVar[bool]
    is_normalised: bool
    mirrors_test: bool

    def read(self, path: Path) -> Arrays:
        """Read the arrays of a prepared clip that the view needs; they are kept in memory."""
        ...

    def take(self, arrays: Arrays) -> Arrays:
        """The same from the arrays of a clip that was prepared in memory; targets may be missing."""
        ...

    def pictures(self, arrays: Arrays) -> np.ndarray:
        """Pictures that inputs are cut from, [n, C, H, W]: the frames, or one image."""
        ...

    def spans(self, stride: int, length: int, apex: int) -> list[Span]:
        """Windows of a clip.

        Args:
            stride: the clip has `length * stride` frames.
            length: number of frames T of a window.
            apex: index of the apex frame.
        """
        ...

    def window(self, arrays: Arrays, times: Times, crop: Crop) -> Window:
        """Cut inputs and targets of the T frames `times`; parts that are not changed are not copied."""
        ...

    def collate(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        """Join windows to the fields of a `Batch`: inputs and targets."""
        ...


class Canvas:
    """View of MOL: inputs are frames [B, T, 1, S, S], targets the flow between them and their landmarks.

    With faces=none there are no landmarks.
    """

    needs: ClassVar[tuple[str, ...]] = ("frames",)
    scale: ClassVar[float] = 1 / 255
    grey: ClassVar[bool] = True
    margin: ClassVar[int] = 0
    allows_temporal_jitter: ClassVar[bool] = False  # flow is prepared between frames that are a stride apart
    is_normalised = mirrors_test = False

    def read(self, path: Path) -> Arrays:
        """See `View.read`."""
        return self.take(_load(path, ("frames", "flow"), others=("landmarks",)))

    def take(self, arrays: Arrays) -> Arrays:
        """See `View.take`."""
        return {name: arrays[name] for name in ("frames", "flow", "landmarks") if name in arrays}

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
        window = {"inputs": crop(arrays["frames"][times])}
        if "flow" in arrays:
            flow = crop(arrays["flow"][times])  # one less than the frames, since no flow starts at the last frame
            if crop.flip:
                flow = flow.copy()
                np.negative(flow[:, 0], out=flow[:, 0])
            window["flow"] = flow
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
    """View of FDP: inputs are small frames [B, T, 1, S, S], the target is their dynamic image.

    The prepared frames already have the size of FDP's input. They are padded by repeating the pixels of their border.
    """

    needs: ClassVar[tuple[str, ...]] = ("frames_small",)
    scale: ClassVar[float] = 1 / 255
    grey: ClassVar[bool] = True
    margin: ClassVar[int] = 4  # so that crops can be jittered
    allows_temporal_jitter: ClassVar[bool] = True  # the dynamic image is computed from the window
    is_normalised = mirrors_test = False

    def read(self, path: Path) -> Arrays:
        """See `View.read`."""
        return self.take(_load(path, ("frames_small",)))

    def take(self, arrays: Arrays) -> Arrays:
        """See `View.take`."""
        around = ((0, 0), (self.margin, self.margin), (self.margin, self.margin))
        return {"frames_small": np.pad(arrays["frames_small"], around, mode="edge")}

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
        """See `View.collate`; dynamic_image [B, S, S] is computed from the crops, for all windows at once."""
        inputs = _stack(windows)["inputs"]
        return {"inputs": inputs[:, :, None], "dynamic_image": dynamic_image(inputs)}


class DualPhase(Small):
    """View of FDP with two windows for each clip: from onset to apex, and from apex to offset.

    As in the dual-phase dynamic images of arXiv 2510.15466. Each window is a sample of its own, with the clip's label.
    """

    def spans(self, stride: int, length: int, apex: int) -> list[Span]:
        """Onset to apex, and apex to offset; a span of a single frame is left out, since nothing moves there."""
        last = length * stride - 1
        apex = min(apex, last)  # only a multiple of T frames is kept, so the apex may be after the last one
        return [span for span in (Span(0, apex), Span(apex, last)) if span.first < span.last]


class FlowImage:
    """View of the baselines: inputs are one image for each clip, the flow from onset to apex and its strain.

    The inputs are [B, 3, S, S]. If the data already are flow images, grey 127.5 means no motion, and the flow has no
    unit.

    Args:
        image_size: side S of the images, px; the whole canvas is resized to it.
        settings: what the network sees of them.
    """

    needs: ClassVar[tuple[str, ...]] = ("onset_apex_flow",)
    scale: ClassVar[float] = 1.0
    grey: ClassVar[bool] = False
    margin: ClassVar[int] = 0
    allows_temporal_jitter: ClassVar[bool] = False  # only the flow from onset to apex is prepared

    def __init__(self, image_size: int, settings: FlowSettings):
        self.image_size, self.settings = image_size, settings
        self.is_normalised = settings.normalisation != Normalisation.pixels
        self.mirrors_test = settings.mirror_test

    def read(self, path: Path) -> Arrays:
        """See `View.read`."""
        return self.take(load_arrays(path, ("onset_apex_flow", "flow_image")))

    def take(self, arrays: Arrays) -> Arrays:
        """See `View.take`."""
        if "flow_image" in arrays:
            image = _resized(self.image_size, arrays["flow_image"])
        else:
            image = flow_image(arrays["onset_apex_flow"], size=self.image_size)
        image = _NORMALISED[self.settings.normalisation](image)
        if not self.settings.strain:
            image[2] = 0
        return {"flow_image": image}

    def pictures(self, arrays: Arrays) -> np.ndarray:
        """See `View.pictures`."""
        return arrays["flow_image"][None]

    def spans(self, stride: int, length: int, apex: int) -> list[Span]:
        """One span: the whole clip."""
        return [Span(0, length * stride - 1)]

    def window(self, arrays: Arrays, times: Times, crop: Crop) -> Window:
        """inputs [3, S, S] float32; mirroring negates the horizontal flow."""
        sign = np.array([-1 if crop.flip else 1, 1, 1], np.float32)
        return {"inputs": crop(arrays["flow_image"]) * sign[:, None, None]}

    def collate(self, windows: Sequence[Window]) -> dict[str, np.ndarray]:
        """See `View.collate`."""
        return _stack(windows)


VIEWS: dict[str, Callable[[int, FlowSettings], View]] = {
    "canvas": lambda image_size, flow: Canvas(),
    "small": lambda image_size, flow: Small(),
    "flow_image": FlowImage,
}


def make_view(name: str, *, image_size: int, dual_phase: bool = False, flow: FlowSettings | None = None) -> View:
    """Make a view.

    Args:
        name: a key of `VIEWS`.
        image_size: side of the inputs, px.
        dual_phase: make `DualPhase`, the view `small` with two windows for each clip.
        flow: what the view `flow_image` shows; None means the default.

    Raises:
        MefusionError: there is no view of that name, `dual_phase` is set for another view than `small`, or `flow` for
            another view than `flow_image`.
    """
    flow = flow or FlowSettings()
    if flow != FlowSettings() and name != "flow_image":
        raise MefusionError("model.flow is for models of flow images, such as model=ststnet: leave it out")
    if dual_phase:
        if name != "small":
            raise MefusionError(
                "model.training.windows=dual_phase is for models of dynamic images, such as model=fdp_tiny: "
                "choose random, all or first"
            )
        return DualPhase()
    if name not in VIEWS:
        raise MefusionError(f"the view {name} is not known: choose from {', '.join(VIEWS)}")
    return VIEWS[name](image_size, flow)


def _load(path: Path, names: Sequence[str], others: Sequence[str] = ()) -> Arrays:
    """Read arrays of a prepared clip: `names`, and those of `others` that it has."""
    arrays = load_arrays(path, (*names, *others))
    if any(name not in arrays for name in names):
        raise MefusionError(
            f"{path} is a flow image and has no {names[0]}: choose a model of flow images, such as model=ststnet"
        )
    return arrays


def _resized(size: int, image: np.ndarray) -> np.ndarray:
    """Resize a flow image [3, S, S] uint8 to float32 [3, size, size]: flow in -0.5..0.5, strain in 0..1.

    The flow is centred at 0, so that mirroring can negate it.
    """
    values = image.transpose(1, 2, 0).astype(np.float32) / 255 - np.array([0.5, 0.5, 0], np.float32)
    if size != len(values):
        way = cv2.INTER_AREA if size < len(values) else cv2.INTER_LINEAR
        values = cv2.resize(values, (size, size), interpolation=way)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def _stretched(image: np.ndarray) -> np.ndarray:
    """Stretch each channel of an image [3, S, S] to its range, see `Normalisation`; a constant channel gives 0."""
    low, high = (end(axis=(1, 2), keepdims=True) for end in (image.min, image.max))
    middle = np.array([0.5, 0.5, 0], np.float32)[:, None, None]
    span = high - low
    return np.where(span > 0, (image - low) / np.where(span > 0, span, 1) - middle, 0).astype(np.float32)


def _standardised(image: np.ndarray) -> np.ndarray:
    """Standardise each channel of an image [3, S, S], see `Normalisation`; a constant flow gives 0."""
    # The median, since most of a face does not move. Strain has a zero of its own.
    middle = np.median(image, axis=(1, 2), keepdims=True) * np.array([1, 1, 0])[:, None, None]
    std = image.std(axis=(1, 2), keepdims=True, dtype=np.float64)
    return ((image - middle) / np.where(std > SMALLEST_STD, std, 1)).astype(np.float32)


_NORMALISED = {
    Normalisation.pixels: lambda image: image,
    Normalisation.stretched: _stretched,
    Normalisation.standardised: _standardised,
}


def _stack(windows: Sequence[Window]) -> dict[str, np.ndarray]:
    return {name: np.stack([window[name] for window in windows]) for name in windows[0]}
