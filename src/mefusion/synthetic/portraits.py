"""The photographs that pseudo-subjects are made from."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from skimage.data import astronaut

from mefusion.clips.video import IMAGES, read_image
from mefusion.common.errors import MefusionError
from mefusion.faces.detectors import DlibFaces
from mefusion.synthetic.render import Portrait, crop_portrait


def _grace_hopper() -> np.ndarray:
    from matplotlib.cbook import get_sample_data  # slow to import

    return read_image(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))


BUILT_IN: Mapping[str, Callable[[], np.ndarray]] = {
    "astronaut": astronaut,  # Eileen Collins, by NASA; in scikit-image
    "grace_hopper": _grace_hopper,  # by the United States Navy; in matplotlib
}
"""Portraits in the public domain, which come with other packages."""
ASTRONAUT = ("astronaut",)


def portrait_files(folder: str | None) -> Sequence[Path]:
    """List the photographs of a folder; none if `folder` is None, as built-in portraits are used then.

    Raises:
        MefusionError: the folder does not exist, or has no image.
    """
    if folder is None:
        return ()
    files = sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in IMAGES)
    if not files:
        raise MefusionError(
            f"data.portraits={folder} holds no images ({', '.join(sorted(IMAGES))}): put photographs there"
        )
    return files


def portrait_digests(folder: str | None) -> list[str]:
    """Hash of the content of each photograph."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in portrait_files(folder)]


@functools.lru_cache(maxsize=2)
def load_portraits(folder: str | None, size: int, *, built_in: Sequence[str] = tuple(BUILT_IN)) -> list[Portrait]:
    """Load portraits, cut to the head, with their landmarks; photographs that cannot be used are left out.

    Args:
        folder: of photographs; None means the built-in portraits.
        size: side of the portraits, px.
        built_in: names in `BUILT_IN`, used if `folder` is None.

    Raises:
        MefusionError: no photograph can be used; the message gives the reason for each.
    """
    backend, portraits, problems = DlibFaces(), [], []
    images: dict[Path, Callable[[], np.ndarray]] = {
        path: functools.partial(read_image, path) for path in portrait_files(folder)
    }
    for path, read in (images or {Path(name): BUILT_IN[name] for name in built_in}).items():
        try:
            image = read()
            portraits.append(crop_portrait(image, backend.landmarks([image])[0], size=size))
        except MefusionError as error:
            if not images:  # without one of them, the set would be another one of the same name
                raise
            problems.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    if not portraits:
        raise MefusionError(f"data.portraits={folder} has no photograph that can be used: {'; '.join(problems)}")
    return portraits
