"""Full-size imitations of the official downloads: each layout with its quirks, filled with pictures of one's choice.

    plan = full_plan("casme2")
    write_download("casme2", folder, plan)  # tiny grey frames

Written from what is known of the downloads, and apart from the code that reads them, so that each checks the other.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from imitations.cas_me_2 import CAS_ME_2
from imitations.cas_me_3 import CAS_ME_3
from imitations.casme2 import CASME2
from imitations.flow_images import FLOW_IMAGES
from imitations.plan import Imitation, Row
from imitations.samm import SAMM
from imitations.smic import SMIC, SMIC_NIR, SMIC_VIS
from imitations.writing import tiny_picture, write_picture
from mefusion.synthetic import rendered_download
from mefusion.synthetic.layouts import get_layout
from mefusion.synthetic.scene import SyntheticSettings

IMITATIONS: Mapping[str, Imitation] = {
    "casme2": CASME2,
    "samm": SAMM,
    "smic": SMIC,
    "smic_vis": SMIC_VIS,
    "smic_nir": SMIC_NIR,
    "cas_me_2": CAS_ME_2,
    "cas_me_3": CAS_ME_3,
    "flow_images": FLOW_IMAGES,
}
Pictures = Callable[[Row, int], np.ndarray]


def full_plan(name: str, *, seed: int = 0) -> list[Row]:
    """All clips of a dataset, with the numbers and the quirks of its official table; the same for the same seed."""
    return IMITATIONS[name].full_plan(np.random.default_rng(seed))


def tiny_frames(row: object, number: int) -> np.ndarray:
    """The same flat grey picture for every frame."""
    return tiny_picture()


def write_small(name: str, folder: Path, pictures: Pictures = tiny_frames, **settings: object) -> None:
    """Write a download as `data.layout=` does, but with pictures of one's choice; settings are `SyntheticSettings`."""
    layout, rows = get_layout(name), rendered_download.small_plan(name, SyntheticSettings(**settings))
    for row in rows:
        rendered_download.write_clip(layout, folder, row, functools.partial(pictures, row))
    if layout.write_table:
        layout.write_table(folder, rows)


def write_download(
    name: str,
    folder: Path,
    plan: Sequence[Row],
    pictures: Pictures = tiny_frames,
    *,
    variant: str | None = None,
    frames_per_clip: int | None = None,
) -> None:
    """Write a dataset's download: its documents and the frames of each clip of a plan.

    Args:
        name: a key of `IMITATIONS`.
        folder: receives the download.
        plan: its clips.
        pictures: (row, frame number) -> picture [H, W, 3] uint8 RGB.
        variant: one of the imitation's `variants`; None is the first.
        frames_per_clip: None is all frames from onset to offset; a number is that many, evenly spread, and the apex.
    """
    known = IMITATIONS[name]
    known.write_documents(folder, plan, variant or known.variants[0])
    for row in plan:
        write_clip(name, folder, row, pictures, variant=variant, frames_per_clip=frames_per_clip)


def write_clip(
    name: str,
    folder: Path,
    row: Row,
    pictures: Pictures = tiny_frames,
    *,
    variant: str | None = None,
    frames_per_clip: int | None = None,
) -> None:
    """Write the frames of one clip; see `write_download`."""
    known = IMITATIONS[name]
    variant = variant or known.variants[0]
    assert variant in known.variants
    for number in _numbers(row, frames_per_clip):
        path = known.frame_path(row, number, variant)
        if path is not None:
            write_picture(folder / path, pictures(row, number), grey=known.grey)


def _numbers(row: Row, count: int | None) -> list[int]:
    if count is None:
        return list(range(row.onset, row.offset + 1))
    spread = {round(number) for number in np.linspace(row.onset, row.offset, count)}
    return sorted(spread if row.apex is None else spread | {row.apex})
