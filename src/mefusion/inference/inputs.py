"""Make a network's inputs from the frames of a clip, in memory, as `mefusion-prepare` and training do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mefusion.clips.video import read_clip
from mefusion.common.errors import MefusionError
from mefusion.faces.alignment import transform
from mefusion.faces.detectors import make_backend
from mefusion.inference.likeness import motion_size
from mefusion.preparation.arrays import FLOWS, random_clip
from mefusion.preparation.checking import stride_of
from mefusion.preparation.clips import prepare_frames, too_few_frames
from mefusion.preparation.settings import PreparationSettings, ShortClips
from mefusion.windows.cutting import centre_crops
from mefusion.windows.flow import FlowSettings
from mefusion.windows.settings import Windows
from mefusion.windows.views import Arrays, View, Window, make_view


@dataclass(frozen=True)
class PreparedClip:
    """What a network sees of a clip.

    Attributes:
        windows: the clip's windows, as `View.window` gives them.
        facts: what was recorded at the preparation: `n_frames`, `content` (hash of what the clip shows), `note` (how it
            was changed, or empty), and, where faces were looked for, `faces` (most in a picture),
            `frames_without_face` and `edge`.
        landmarks: [n, 68, 2] px in the pictures that the windows are cut from, before these were aligned; None if there
            are none.
        motion: see `mefusion.inference.likeness.motion_size`, px; None if the network does not see flow.
    """

    windows: Sequence[Window]
    facts: dict[str, str]
    landmarks: np.ndarray | None = None
    motion: float | None = None


@dataclass(frozen=True)
class InputMaker:
    """Makes the inputs of one network.

    Attributes:
        preparation: how clips are prepared.
        view: a key of `mefusion.windows.views.VIEWS`.
        image_size: side of the inputs, px.
        windows: which windows of a clip.
        flow: what a network of flow images sees.
    """

    preparation: PreparationSettings
    view: str
    image_size: int
    windows: Windows
    flow: FlowSettings = field(default_factory=FlowSettings)

    def make_view(self) -> View:
        """The view that cuts the inputs."""
        dual_phase = self.windows == Windows.dual_phase
        return make_view(self.view, image_size=self.image_size, dual_phase=dual_phase, flow=self.flow)

    def __call__(
        self,
        clip: Sequence[np.ndarray] | str | Path,
        *,
        apex: int | None = None,
        landmarks: np.ndarray | None = None,
        origin: object = "the clip",
    ) -> PreparedClip:
        """Prepare a clip and cut its windows.

        Args:
            clip: pictures [H, W, 3] uint8 RGB of one size; or the path of a folder of frames, or of a video.
            apex: index of the apex among the pictures; None if it is unknown.
            landmarks: [n, 68, 2] px, iBUG order, NaN where there is no face; None if they are to be found. Not used
                by a network that was trained on pictures that show the face only (faces=none).
            origin: where the pictures come from, for messages.

        Raises:
            MefusionError: the clip cannot be read, it has no face, or an argument does not fit it.
        """
        if isinstance(clip, str | Path):
            clip, origin = read_clip(Path(clip)), clip
        frames = list(clip)
        _check(frames, apex, landmarks, origin)
        settings, view = self.preparation, self.make_view()
        if len(frames) < settings.clip_length and settings.short_clips == ShortClips.leave_out:
            raise MefusionError(f"{too_few_frames(origin, len(frames), settings)}: give a longer clip")
        if settings.backend == "none":
            landmarks = None
        elif landmarks is None and settings.backend == "precomputed":
            raise MefusionError(f"{origin} has no landmarks, and this network needs them with each clip: give them")
        backend = make_backend(settings.backend) if landmarks is None else None
        flows = [name for name in FLOWS if name in view.needs]
        points = None if landmarks is None else np.asarray(landmarks, np.float64)
        arrays, facts = prepare_frames(
            frames, backend, settings, apex=apex, landmarks=points, origin=origin, flows=flows
        )
        stride = stride_of(int(facts["n_frames"]), settings)
        windows = self.cut(view, view.take(arrays), stride=stride, apex=int(facts["apex_place"]))
        flow = arrays.get("onset_apex_flow")
        return PreparedClip(windows, facts, _landmarks(arrays), None if flow is None else motion_size(flow))

    def example(self) -> Window:
        """A window of random pictures, to try a network on."""
        view = self.make_view()
        arrays = view.take(random_clip(self.preparation))
        return self.cut(view, arrays, stride=1, apex=self.preparation.clip_length // 2)[0]

    def cut(self, view: View, arrays: Arrays, *, stride: int, apex: int) -> list[Window]:
        """Cut the windows of a clip, as `mefusion.windows.store.TestWindows` does.

        Args:
            view: from `make_view`.
            arrays: what the view has taken of a prepared clip.
            stride, apex: see `View.spans`.
        """
        length = self.preparation.clip_length
        spans = view.spans(stride, length, apex)[: 1 if self.windows == Windows.first else None]
        crops = centre_crops(view.pictures(arrays).shape[-1], self.image_size, mirrored=view.mirrors_test)
        return [view.window(arrays, span.times(length), crop) for span in spans for crop in crops]


def _landmarks(arrays: Arrays) -> np.ndarray | None:
    """Landmarks [n, 68, 2] px of the pictures before they were aligned."""
    if "landmarks" not in arrays:
        return None
    back = [cv2.invertAffineTransform(np.asarray(matrix, np.float64)) for matrix in arrays["matrices"]]
    return np.stack([transform(points, matrix) for points, matrix in zip(arrays["landmarks"], back, strict=True)])


def _check(frames: list[np.ndarray], apex: int | None, landmarks: np.ndarray | None, origin: object) -> None:
    if not frames:
        raise MefusionError(f"{origin} has no frame: give at least one picture")
    for number, frame in enumerate(frames):
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise MefusionError(f"frame {number} of {origin} is no picture: give arrays [H, W, 3] of uint8, in RGB")
        if frame.shape != frames[0].shape:
            raise MefusionError(f"frame {number} of {origin} has another size than the first: give frames of one size")
    if apex is not None and not 0 <= apex < len(frames):
        raise MefusionError(f"apex={apex} is not among the {len(frames)} frames of {origin}: give its index, from 0")
    if landmarks is not None and np.shape(landmarks) != (len(frames), 68, 2):
        raise MefusionError(
            f"the landmarks of {origin} have the shape {list(np.shape(landmarks))}: give [{len(frames)}, 68, 2]"
        )
