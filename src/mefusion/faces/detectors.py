"""What finds a face and its landmarks, and follows it through a clip."""

import functools
import importlib.metadata
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.error import URLError

import cv2
import dlib
import numpy as np

from mefusion.common.errors import MefusionError
from mefusion.faces.alignment import has_eyes, warp

Box = tuple[float, float, float, float]  # left, top, right, bottom, px

LOOK = 32  # side of the small picture that tells whether a face is still there, px
ALIKE = 0.6  # least correlation of a face's look with that where it was detected


class FaceBackend(Protocol):
    """What finds landmarks; the version of its package is part of the cache's hash."""

    package: str

    def landmarks(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Landmarks [n, 68, 2] px of the face in frames [H, W, 3] uint8 RGB of one clip, NaN where none is seen.

        Raises:
            MefusionError: no frame shows a face.
        """
        ...


class FaceFinder(ABC):
    """A `FaceBackend` that looks at one frame at a time.

    Attributes:
        name: as in `faces=name`.
        package: see `FaceBackend`.
    """

    name: str
    package: str

    @abstractmethod
    def detect(self, frame: np.ndarray) -> Box | None:
        """Box of the largest face, or None."""

    @abstractmethod
    def predict(self, frame: np.ndarray, box: Box) -> np.ndarray:
        """Landmarks [68, 2] px of the face that a box surrounds."""

    def landmarks(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """See `FaceBackend.landmarks`."""
        found = track_face(frames, self)
        if found is None:
            raise MefusionError(f"{self.name} finds no face in any frame: show one that looks into the camera")
        return found


@dataclass(frozen=True)
class _Sighting:
    """Where a face was detected, and what it looked like there."""

    box: Box
    look: np.ndarray

    @classmethod
    def of(cls, frame: np.ndarray, box: Box) -> "_Sighting":
        return cls(box, _look(frame, box))

    def lasts(self, frame: np.ndarray) -> bool:
        return float((self.look * _look(frame, self.box)).sum()) >= ALIKE

    def surrounds(self, points: np.ndarray) -> bool:
        """Whether the centre of landmarks is nearer to the box's centre than to its border."""
        left, top, right, bottom = self.box
        middle, size = np.array([left + right, top + bottom]) / 2, np.array([right - left, bottom - top])
        return bool((np.abs(points.mean(0) - middle) <= size / 4).all())


def _look(frame: np.ndarray, box: Box) -> np.ndarray:
    """What a box shows, small, grey and free of brightness and contrast: the sum of its squares is 1, or 0 if flat."""
    left, top, right, bottom = (max(round(edge), 0) for edge in box)
    cut = frame[top:bottom, left:right]
    if not cut.size:
        return np.zeros((LOOK, LOOK))
    small = cv2.resize(cut, (LOOK, LOOK), interpolation=cv2.INTER_AREA).mean(axis=2)
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def track_face(frames: Sequence[np.ndarray], finder: FaceFinder) -> np.ndarray | None:
    """Landmarks of the face in the frames of a clip, detected once and again only where it is lost.

    The box of the first frame that shows a face serves the whole clip, since a micro-expression moves the head by a
    few pixels and a box that jumps makes the landmarks jump. The face is lost where the box no longer shows what it
    did when it was detected (correlation below 0.6, so that light may change), or the landmarks' centre has left
    the inner half of the box, or the eyes coincide; then it is looked for anew in that frame.

    Returns:
        [n, 68, 2] px, NaN in frames where it is lost and not found again; None where no frame shows a face.
    """
    detect = functools.cache(lambda t: finder.detect(frames[t]))
    first, start = next(((t, box) for t in range(len(frames)) if (box := detect(t)) is not None), (0, None))
    if start is None:
        return None
    landmarks = np.full((len(frames), 68, 2), np.nan)
    for times in (range(first, len(frames)), range(first - 1, -1, -1)):  # onwards, and back from there
        seen = _Sighting.of(frames[first], start)
        for t in times:
            points = finder.predict(frames[t], seen.box) if seen.lasts(frames[t]) else None
            if points is None or not (has_eyes(points) and seen.surrounds(points)):
                box = detect(t)
                if box is None:
                    continue
                seen, points = _Sighting.of(frames[t], box), finder.predict(frames[t], box)
            if has_eyes(points):
                landmarks[t] = points
    return landmarks


class DlibFaces(FaceFinder):
    """dlib's HOG detector and 68-point regression trees (Kazemi and Sullivan 2014), weights included."""

    name = "dlib"
    package = "dlib-bin"

    def __init__(self) -> None:
        # Found, not imported: the package imports pkg_resources, which new Pythons lack.
        spec = importlib.util.find_spec("face_recognition_models")
        if spec is None or spec.origin is None:
            raise MefusionError(
                "faces=dlib needs the package face_recognition_models: pip install face_recognition_models"
            )
        weights = Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(weights))

    def detect(self, frame: np.ndarray) -> Box | None:
        """See `FaceFinder.detect`; small faces are looked for in the frame enlarged."""
        for upsampling in (0, 1):
            found = self._detector(frame, upsampling)
            if found:
                box = max(found, key=lambda r: r.area())
                return box.left(), box.top(), box.right(), box.bottom()
        return None

    def predict(self, frame: np.ndarray, box: Box) -> np.ndarray:
        """See `FaceFinder.predict`; found on the face enlarged, since dlib rounds to whole pixels."""
        left, top, right, bottom = box
        side = right - left
        scale = 480 / side
        origin = np.array([left - side / 2, top - side / 2])
        matrix = np.array([[scale, 0, -scale * origin[0]], [0, scale, -scale * origin[1]]])
        enlarged = warp(frame, matrix, size=960)
        near = dlib.rectangle(240, 240, 720, round(240 + scale * (bottom - top)))
        points = np.array([(p.x, p.y) for p in self._predictor(enlarged, near).parts()], np.float64)
        return points / scale + origin


class FaceAlignmentFaces(FaceFinder):
    """The face-alignment package (Bulat and Tzimiropoulos 2017): S3FD detector and FAN landmarks, on the CPU.

    Its weights are looked for in torch hub's folder and downloaded there where they are missing.

    Raises:
        MefusionError: the package is not installed, or weights are missing and cannot be downloaded;
            names the files and the folder.
    """

    name = "face_alignment"
    package = "face-alignment"

    def __init__(self) -> None:
        try:
            import face_alignment
        except ImportError as error:
            raise MefusionError(
                "faces=face_alignment needs the package face-alignment: pip install 'face-alignment>=1.5,<1.6'"
            ) from error
        # Flipping and compiling are on by default since 1.5: twice the time, and minutes at the start.
        self._model = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D,
            device="cpu",
            flip_input=False,
            compile=False,
            face_detector="sfd",
            # Given a path, the detector is loaded by torch's safe loading; without one, as a pickle.
            face_detector_kwargs={"path_to_detector": str(_face_alignment_weights()[0])},
        )

    def detect(self, frame: np.ndarray) -> Box | None:
        """See `FaceFinder.detect`."""
        boxes = [box[:4] for box in self._model.face_detector.detect_from_image(frame.copy())]
        return max(map(tuple, boxes), key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), default=None)

    def predict(self, frame: np.ndarray, box: Box) -> np.ndarray:
        """See `FaceFinder.predict`."""
        return self._model.get_landmarks_from_image(frame, detected_faces=[box])[0].astype(np.float64)


def _face_alignment_weights() -> list[Path]:
    """Weight files of detector and landmarks in torch hub's folder, downloaded where they are missing."""
    # Here, since face-alignment is an extra and torch takes seconds to import.
    import torch
    from face_alignment.api import models_urls as landmark_urls
    from face_alignment.detection.sfd.sfd_detector import models_urls as detector_urls

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    urls = {folder / Path(url).name: url for url in (detector_urls["s3fd"], landmark_urls["2DFAN-4"])}
    try:
        for path, url in urls.items():
            if not path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(url, str(path))
    except (URLError, OSError) as error:
        missing = " and ".join(path.name for path in urls if not path.exists())
        raise MefusionError(
            f"faces=face_alignment lacks its weights {missing} in {folder} and cannot download them ({error}): "
            f"put the files there (from {' and '.join(urls.values())}) or use faces=dlib"
        ) from error
    return list(urls)


BACKENDS: dict[str, type[FaceBackend]] = {finder.name: finder for finder in (DlibFaces, FaceAlignmentFaces)}
WITHOUT = ("precomputed", "none")  # landmarks come from files, or there are none


def backend_version(name: str) -> str:
    """Version of a backend's package, found without loading it; `missing` where it is not installed.

    Raises:
        MefusionError: there is no backend of that name.
    """
    if name in WITHOUT:
        return name
    if name not in BACKENDS:
        raise MefusionError(f"faces={name} is not known: choose from {', '.join([*BACKENDS, *WITHOUT])}")
    try:
        return importlib.metadata.version(BACKENDS[name].package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


@functools.cache
def make_backend(name: str) -> FaceBackend | None:
    """Landmark backend by name, made once a process; None for the names that look for no face.

    A backend is never swapped for another silently.

    Raises:
        MefusionError: there is none of that name, or it cannot be used; says what to do.
    """
    backend_version(name)  # refuses unknown names
    return BACKENDS[name]() if name in BACKENDS else None
