"""Tell people apart by their faces, so that a face that returns gets its old number."""

import functools
import importlib.util
from collections.abc import Collection, Sequence
from pathlib import Path

import dlib
import numpy as np

from mefusion.common.errors import MefusionError

SAME_PERSON = 0.6  # Euclidean distance of two descriptors below which dlib takes them for one person
KEPT = 8  # descriptors of a person


def weights_of(name: str) -> Path:
    """File of the package face_recognition_models.

    Raises:
        MefusionError: the package is not installed.
    """
    # Do not import this package: it imports pkg_resources, which is missing from new versions of Python.
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise MefusionError("faces=dlib needs the package face_recognition_models: pip install face_recognition_models")
    return Path(spec.origin).parent / "models" / name


@functools.cache
def _network() -> "dlib.face_recognition_model_v1":
    return dlib.face_recognition_model_v1(str(weights_of("dlib_face_recognition_resnet_model_v1.dat")))


def descriptor(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Describe a face by 128 numbers that are similar for pictures of one person (dlib's residual network).

    Args:
        image: [H, W, 3] uint8 RGB.
        landmarks: [68, 2] px.

    Returns:
        [128] float64.
    """
    points = dlib.points([dlib.point(round(x), round(y)) for x, y in landmarks])
    (left, top), (right, bottom) = np.rint(landmarks.min(0)).astype(int), np.rint(landmarks.max(0)).astype(int)
    shape = dlib.full_object_detection(dlib.rectangle(int(left), int(top), int(right), int(bottom)), points)
    return np.array(_network().compute_face_descriptor(image, shape))


class People:
    """The people that were seen so far, numbered from 1 in the order in which they first appeared.

    Args:
        descriptors: of each known person, [n, 128].
    """

    def __init__(self, descriptors: Sequence[np.ndarray] = ()):
        self.descriptors = [np.asarray(known) for known in descriptors]

    def number(self, found: np.ndarray, *, taken: Collection[int] = ()) -> int:
        """Number of the person with a descriptor; a person who is not known yet gets the next number.

        Args:
            found: [128].
            taken: numbers of people who are in the picture at another place.
        """
        distances = [
            np.inf if number in taken else np.linalg.norm(known - found, axis=1).min()
            for number, known in enumerate(self.descriptors, 1)
        ]
        if distances and min(distances) < SAME_PERSON:
            number = int(np.argmin(distances)) + 1
            self.descriptors[number - 1] = np.vstack([self.descriptors[number - 1], found])[-KEPT:]
            return number
        self.descriptors.append(found[None])
        return len(self.descriptors)
