"""Face detection, 68 landmarks (iBUG order) and alignment."""

import functools
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from mefusion.errors import MefusionError

# Landmark i becomes LANDMARK_MIRROR[i] when the picture is flipped left to right.
LANDMARK_MIRROR = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])  # fmt: skip


def alignment_matrix(landmarks: np.ndarray, *, size: int, enlarge: float = 2.5) -> np.ndarray:
    """Similarity that levels the eyes and fits eyes, nose tip and mouth corners into a square.

    Rotate so that the eye centres are level; bounding box of the eye centres, nose tip (30) and mouth
    corners (48, 54) after the rotation; half size = 0.5 x enlarge x the larger side; scale =
    (size - 1) / 2 / half size. As in MOL (arXiv 2506.14511).

    Args:
        landmarks: [68, 2] px.
        size: side of the aligned picture, px.
        enlarge: side of the square in sides of the bounding box.

    Returns:
        [2, 3] matrix from picture to aligned coordinates.

    Raises:
        ValueError: the eye centres or the five points coincide.
    """
    left, right = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    dx, dy = right - left
    length = np.hypot(dx, dy)
    if not length > 0:
        raise ValueError("the two eye centres coincide, so the face cannot be aligned")
    rotation = np.array([[dx, dy], [-dy, dx]]) / length
    points = np.array([left, right, landmarks[30], landmarks[48], landmarks[54]]) @ rotation.T
    low, high = points.min(0), points.max(0)
    half = 0.5 * enlarge * (high - low).max()
    scale = (size - 1) / 2 / half
    return np.column_stack([scale * rotation, scale * (half - (low + high) / 2)])


# Eye corners, ridge and base of the nose: facial action units hardly move them.
RIGID = [36, 39, 42, 45, 27, 28, 29, 30, 33]


def stabilised_matrices(landmarks: np.ndarray, *, size: int, enlarge: float = 2.5) -> np.ndarray:
    """Alignment of a clip's frames that takes out the head's motion and leaves the face's.

    Aligning each frame by its own landmarks moves the picture by their error, which is as large as a
    micro-expression, and with the mouth corners that an expression moves. Here the clip's mean landmarks give
    one alignment, and a similarity a frame, fitted by least squares to points that hold still and smoothed
    over neighbouring frames (standard deviation one frame), brings the head back to its mean place.

    Args:
        landmarks: [n, 68, 2] px.
        size, enlarge: see `alignment_matrix`.

    Returns:
        [n, 2, 3] matrices from picture to aligned coordinates.

    Raises:
        ValueError: see `alignment_matrix`.
    """
    mean = landmarks.mean(0)
    aligned = transform(mean, alignment_matrix(mean, size=size, enlarge=enlarge))
    smooth = gaussian_filter1d(landmarks, sigma=1, axis=0, mode="nearest")
    return np.stack([fit_similarity(points[RIGID], aligned[RIGID]) for points in smooth])


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares rotation, scale and shift [2, 3] that takes points [n, 2] to points [n, 2]."""
    a, b = (points @ np.array([1, 1j]) for points in (source, target))
    factor = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    shift = b.mean() - factor * a.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [..., 2] under a matrix [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(image: np.ndarray, matrix: np.ndarray, *, size: int) -> np.ndarray:
    """Picture [H, W(, 3)] under a matrix [2, 3], `size` px, linear, 128 beyond its border."""
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))


def align_face(
    image: np.ndarray, landmarks: np.ndarray, size: int, enlarge: float = 2.5
) -> tuple[np.ndarray, np.ndarray]:
    """Align one picture by its own landmarks.

    Args:
        image: [H, W] or [H, W, 3] uint8.
        landmarks: [68, 2] px, iBUG order.
        size: side of the aligned picture, px.
        enlarge: side of the square in sides of the bounding box of eyes, nose tip and mouth corners.

    Returns:
        The aligned picture [size, size(, 3)] and the landmarks [68, 2] in its pixels.

    Raises:
        ValueError: the eye centres coincide.
    """
    matrix = alignment_matrix(landmarks, size=size, enlarge=enlarge)
    return warp(image, matrix, size=size), transform(landmarks, matrix)


class FaceBackend(Protocol):
    """What finds landmarks; the version of its package is part of the cache's hash.

    The face is detected in the first frame that shows one. Its box serves the whole clip, since a
    micro-expression moves the head by a few pixels and a box that jumps makes the landmarks jump.
    """

    package: str

    def landmarks(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Landmarks [n, 68, 2] px of the face in frames [H, W, 3] uint8 RGB of one clip.

        Raises:
            MefusionError: no frame shows a face.
        """
        ...


class DlibFaces:
    """dlib's HOG detector and 68-point regression trees (Kazemi and Sullivan 2014), weights included."""

    package = "dlib-bin"

    def __init__(self) -> None:
        import dlib

        # Found, not imported: the package imports pkg_resources, which new Pythons lack.
        spec = importlib.util.find_spec("face_recognition_models")
        if spec is None or spec.origin is None:
            raise MefusionError(
                "faces=dlib needs the package face_recognition_models: pip install face_recognition_models"
            )
        weights = Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(weights))
        self._rectangle = dlib.rectangle

    def detect(self, image: np.ndarray) -> tuple[float, float, float, float] | None:
        """Box (left, top, right, bottom) px of the largest face, or None."""
        for upsampling in (0, 1):
            found = self._detector(image, upsampling)
            if found:
                box = max(found, key=lambda r: r.area())
                return box.left(), box.top(), box.right(), box.bottom()
        return None

    def landmarks(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """See `FaceBackend.landmarks`."""
        box = next((box for box in map(self.detect, frames) if box is not None), None)
        if box is None:
            raise MefusionError("dlib finds no face in any frame")
        return np.stack([self._predict(frame, box) for frame in frames])

    def _predict(self, frame: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        """Landmarks [68, 2] of one frame, found on the face enlarged, since dlib rounds to whole pixels."""
        left, top, right, bottom = box
        side = right - left
        scale = 480 / side
        origin = np.array([left - side / 2, top - side / 2])
        matrix = np.array([[scale, 0, -scale * origin[0]], [0, scale, -scale * origin[1]]])
        enlarged = warp(frame, matrix, size=960)
        near = self._rectangle(240, 240, 720, round(240 + scale * (bottom - top)))
        points = np.array([(p.x, p.y) for p in self._predictor(enlarged, near).parts()], np.float64)
        return points / scale + origin


class FaceAlignmentFaces:
    """The face-alignment package (Bulat and Tzimiropoulos 2017): S3FD detector and FAN landmarks, on the CPU.

    Its weights are looked for in torch hub's folder and downloaded there where they are missing.

    Raises:
        MefusionError: the package is not installed, or weights are missing and cannot be downloaded;
            names the files and the folder.
    """

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

    def landmarks(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """See `FaceBackend.landmarks`."""
        detector = self._model.face_detector
        boxes = next((found for frame in frames if len(found := detector.detect_from_image(frame.copy()))), None)
        if boxes is None:
            raise MefusionError("face_alignment finds no face in any frame")
        largest = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        points = [self._model.get_landmarks_from_image(frame, detected_faces=[largest])[0] for frame in frames]
        return np.stack(points).astype(np.float64)


def _face_alignment_weights() -> list[Path]:
    """Weight files of detector and landmarks in torch hub's folder, downloaded where they are missing."""
    from urllib.error import URLError

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


BACKENDS: dict[str, type[FaceBackend]] = {"dlib": DlibFaces, "face_alignment": FaceAlignmentFaces}


def _backend(name: str) -> type[FaceBackend]:
    if name not in BACKENDS:
        raise MefusionError(f"faces={name} is not known: choose from {', '.join(BACKENDS)}")
    return BACKENDS[name]


def backend_version(name: str) -> str:
    """Version of a backend's package, found without loading it; `missing` where it is not installed.

    Raises:
        MefusionError: there is no backend of that name.
    """
    try:
        return importlib.metadata.version(_backend(name).package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


@functools.cache
def make_backend(name: str) -> FaceBackend:
    """Landmark backend by name, made once a process; never swapped for another silently.

    Raises:
        MefusionError: there is none of that name, or it cannot be used; says what to do.
    """
    return _backend(name)()
