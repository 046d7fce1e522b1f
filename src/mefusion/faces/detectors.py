"""Find faces and their landmarks, and follow a face through a clip."""

import functools
import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.error import URLError

import cv2
import dlib
import numpy as np

from mefusion.common import opencv
from mefusion.common.errors import MefusionError
from mefusion.faces.alignment import has_eyes, warp
from mefusion.faces.identity import weights_of

Box = tuple[float, float, float, float]  # left, top, right, bottom, px

THUMBNAIL_SIZE = 32  # px; a face is compared with its detection by small pictures of this side
MIN_CORRELATION = 0.6  # of a face's thumbnail with that of its detection; below, the face is lost


class FaceBackend(Protocol):
    """Finds landmarks; the version of its package is part of the cache's hash."""

    package: str

    def landmarks(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Landmarks [n, 68, 2] px of the face in a clip's frames [H, W, 3] uint8 RGB, NaN where no face is found.

        Raises:
            MefusionError: no frame shows a face.
        """
        ...


@dataclass(frozen=True)
class Found:
    """What a finder sees in a clip.

    Attributes:
        landmarks: [n, 68, 2] px of one face, NaN in frames where it is not found.
        faces: most faces in one of the frames where faces were detected.
    """

    landmarks: np.ndarray
    faces: int


class FaceFinder(ABC):
    """A `FaceBackend` that finds faces and landmarks in single frames.

    Attributes:
        name: as in `faces=name`.
        package: see `FaceBackend`.
    """

    name: str
    package: str

    @abstractmethod
    def detect_all(self, frame: np.ndarray) -> list[Box]:
        """Boxes of all faces, the largest first."""

    def detect(self, frame: np.ndarray) -> Box | None:
        """Box of the largest face, or None."""
        return next(iter(self.detect_all(frame)), None)

    @abstractmethod
    def predict(self, frame: np.ndarray, box: Box) -> np.ndarray:
        """Landmarks [68, 2] px of the face in a box."""

    def landmarks(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """See `FaceBackend.landmarks`."""
        return self.find(frames).landmarks

    def find(self, frames: Sequence[np.ndarray]) -> Found:
        """See `FaceBackend.landmarks`, which this gives with the number of faces."""
        counting = _Counting(self)
        landmarks = track_face(frames, counting)
        if landmarks is None:
            raise MefusionError(f"{self.name} finds no face in any frame: give one where a face looks into the camera")
        return Found(landmarks, counting.faces)


class _Counting:
    """Detects and predicts as a finder does, and keeps the most faces that it saw in a frame."""

    def __init__(self, finder: FaceFinder):
        self.finder, self.predict, self.faces = finder, finder.predict, 0

    def detect(self, frame: np.ndarray) -> Box | None:
        boxes = self.finder.detect_all(frame)
        self.faces = max(self.faces, len(boxes))
        return boxes[0] if boxes else None


@dataclass(frozen=True)
class Detection:
    """Box of a face in the frame where it was detected, and its thumbnail there, see `thumbnail_of`."""

    box: Box
    thumbnail: np.ndarray

    @classmethod
    def of(cls, frame: np.ndarray, box: Box) -> "Detection":
        """The detection of a box in a frame [H, W(, 3)]."""
        return cls(box, thumbnail_of(frame, box))

    def still_visible(self, frame: np.ndarray) -> bool:
        """Whether the box shows the same face in another frame."""
        return float((self.thumbnail * thumbnail_of(frame, self.box)).sum()) >= MIN_CORRELATION

    def surrounds(self, points: np.ndarray) -> bool:
        """Whether the centre of landmarks lies in the inner half of the box."""
        left, top, right, bottom = self.box
        middle, size = np.array([left + right, top + bottom]) / 2, np.array([right - left, bottom - top])
        return bool((np.abs(points.mean(0) - middle) <= size / 4).all())


def thumbnail_of(frame: np.ndarray, box: Box) -> np.ndarray:
    """Small grey picture of what a box shows, without its brightness and contrast.

    Its mean is 0 and the sum of its squares 1, so that the product of two thumbnails is their correlation; a flat
    picture gives zeros.
    """
    left, top, right, bottom = (max(round(edge), 0) for edge in box)
    cut = frame[top:bottom, left:right]
    if not cut.size:
        return np.zeros((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    small = cv2.resize(cut, (THUMBNAIL_SIZE, THUMBNAIL_SIZE), interpolation=cv2.INTER_AREA).astype(float)
    small = small.mean(axis=2) if small.ndim == 3 else small
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def track_face(frames: Sequence[np.ndarray], finder: FaceFinder | _Counting) -> np.ndarray | None:
    """Landmarks of the face in a clip's frames; the face is detected once, and again only if it is lost.

    The box of the first frame with a face is used for the whole clip: in a micro-expression the head moves by a few
    pixels only, and if the box jumped, so would the landmarks. In a frame the face is lost if the box no longer shows
    what it showed at the detection (correlation below 0.6, which allows for changing light), if the landmarks' centre
    is outside the inner half of the box, or if the eyes coincide. Then the face is detected again in that frame.

    Returns:
        [n, 68, 2] px, NaN in frames where it is lost and not found again; None if no frame shows a face.
    """
    detect = functools.cache(lambda t: finder.detect(frames[t]))
    first, start = next(((t, box) for t in range(len(frames)) if (box := detect(t)) is not None), (0, None))
    if start is None:
        return None
    landmarks = np.full((len(frames), 68, 2), np.nan)
    for times in (range(first, len(frames)), range(first - 1, -1, -1)):  # forwards, then backwards
        last = Detection.of(frames[first], start)
        for t in times:
            points = finder.predict(frames[t], last.box) if last.still_visible(frames[t]) else None
            if points is None or not (has_eyes(points) and last.surrounds(points)):
                box = detect(t)
                if box is None:
                    continue
                last, points = Detection.of(frames[t], box), finder.predict(frames[t], box)
            if has_eyes(points):
                landmarks[t] = points
    return landmarks


class DlibFaces(FaceFinder):
    """dlib's HOG detector and 68-point regression trees (Kazemi and Sullivan 2014); a package has the weights."""

    name = "dlib"
    package = "dlib-bin"

    def __init__(self) -> None:
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(weights_of("shape_predictor_68_face_landmarks.dat")))

    def detect_all(self, frame: np.ndarray) -> list[Box]:
        """See `FaceFinder.detect_all`; if no face is found, the frame is enlarged to find small ones."""
        found = self._detector(frame, 0) or self._detector(frame, 1)
        found = sorted(found, key=lambda box: box.area(), reverse=True)
        return [(box.left(), box.top(), box.right(), box.bottom()) for box in found]

    def predict(self, frame: np.ndarray, box: Box) -> np.ndarray:
        """See `FaceFinder.predict`; the face is enlarged first, since dlib rounds landmarks to whole pixels."""
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

    Its weights are read from torch hub's folder; missing ones are downloaded.

    Raises:
        MefusionError: the package is not installed, or weights are missing and cannot be downloaded; the message
            names the files and the folder.
    """

    name = "face_alignment"
    package = "face-alignment"

    def __init__(self) -> None:
        try:
            import face_alignment
        except ImportError as error:
            raise MefusionError(
                "faces=face_alignment needs the package face-alignment: pip install 'mefusion[face-alignment]'; then "
                f"mend OpenCV, which it overwrites: {opencv.REINSTALL}"
            ) from error
        # Since 1.5 both are on by default: flipping takes twice the time, compiling minutes at the start.
        self._model = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D,
            device="cpu",
            flip_input=False,
            compile=False,
            face_detector="sfd",
            # With a path, the package loads the detector by torch's safe loading; without one, as a pickle.
            face_detector_kwargs={"path_to_detector": str(_face_alignment_weights()[0])},
        )

    def detect_all(self, frame: np.ndarray) -> list[Box]:
        """See `FaceFinder.detect_all`."""
        boxes = [tuple(box[:4]) for box in self._model.face_detector.detect_from_image(frame.copy())]
        return sorted(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), reverse=True)

    def predict(self, frame: np.ndarray, box: Box) -> np.ndarray:
        """See `FaceFinder.predict`."""
        return self._model.get_landmarks_from_image(frame, detected_faces=[box])[0].astype(np.float64)


def _face_alignment_weights() -> list[Path]:
    """Weight files of the detector and the landmark network in torch hub's folder; downloads missing ones."""
    # Inside the function, since face-alignment is an optional package and torch takes seconds to import.
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
            f"put the files into this folder (from {' and '.join(urls.values())}) or use faces=dlib"
        ) from error
    return list(urls)


BACKENDS: dict[str, type[FaceFinder]] = {finder.name: finder for finder in (DlibFaces, FaceAlignmentFaces)}
NO_BACKEND = ("precomputed", "none")  # landmarks come from files, or are not needed


def backend_version(name: str) -> str:
    """Version of a backend's package, without importing it; `missing` if it is not installed.

    Raises:
        MefusionError: there is no backend of that name.
    """
    if name in NO_BACKEND:
        return name
    if name not in BACKENDS:
        raise MefusionError(f"faces={name} is not known: choose from {', '.join([*BACKENDS, *NO_BACKEND])}")
    try:
        return importlib.metadata.version(BACKENDS[name].package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


@functools.cache
def make_backend(name: str) -> FaceFinder | None:
    """Make the landmark backend of a name, once in each process; None for `NO_BACKEND`.

    A backend that cannot be used is an error, and is never replaced by another one.

    Raises:
        MefusionError: there is no backend of that name, or it cannot be used; the message says what to do.
    """
    backend_version(name)  # raises for unknown names
    return BACKENDS[name]() if name in BACKENDS else None
