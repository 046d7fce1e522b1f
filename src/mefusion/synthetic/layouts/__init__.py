"""Fake downloads: each dataset's official layout, with its quirks, filled with pictures of one's choice.

    plan = full_plan("casme2")
    write_download("casme2", folder, plan)  # tiny grey frames

Written from what is known of the downloads, and apart from the code that reads them, so that each checks the other.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mefusion.common.errors import MefusionError
from mefusion.synthetic.layouts.cas_me_2 import CAS_ME_2
from mefusion.synthetic.layouts.cas_me_3 import CAS_ME_3
from mefusion.synthetic.layouts.casme2 import CASME2
from mefusion.synthetic.layouts.flow_images import FLOW_IMAGES
from mefusion.synthetic.layouts.plan import Layout, Row
from mefusion.synthetic.layouts.samm import SAMM
from mefusion.synthetic.layouts.smic import SMIC, SMIC_NIR, SMIC_VIS
from mefusion.synthetic.layouts.writing import tiny_picture, write_picture

LAYOUTS: Mapping[str, Layout] = {
    "casme2": CASME2,
    "samm": SAMM,
    "smic": SMIC,
    "smic_vis": SMIC_VIS,
    "smic_nir": SMIC_NIR,
    "cas_me_2": CAS_ME_2,
    "cas_me_3": CAS_ME_3,
    "flow_images": FLOW_IMAGES,
}
SPACING = 200  # frames from one onset to the next in a small plan

Pictures = Callable[[Row, int], np.ndarray]


def get_layout(name: str) -> Layout:
    """Layout by its name.

    Raises:
        MefusionError: there is none of that name.
    """
    if name not in LAYOUTS:
        raise MefusionError(f"data.layout={name} is not known: choose from {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def full_plan(layout: str, *, seed: int = 0) -> list[Row]:
    """All clips of a dataset, with the numbers and the quirks of its official table; the same for the same seed."""
    return get_layout(layout).full_plan(np.random.default_rng(seed))


def small_plan(
    layout: str, *, subjects: int, clips_per_class: int, frames: tuple[int, int] = (16, 23), seed: int = 0
) -> list[Row]:
    """Clips of the first subjects, for each emotion that the renderer can act; apex in the middle.

    Args:
        layout: a key of `LAYOUTS`.
        subjects: how many, at most as many as the dataset has.
        clips_per_class: clips of each emotion a subject shows.
        frames: fewest and most a clip.
        seed: of the clips' lengths.

    Raises:
        MefusionError: the dataset has fewer subjects.
    """
    known, rng = get_layout(layout), np.random.default_rng(seed)
    if subjects > len(known.subjects):
        raise MefusionError(
            f"data.subjects={subjects}: the layout {layout} has {len(known.subjects)} subjects, choose no more"
        )
    rows = []
    for subject in known.subjects[:subjects]:
        acted = [emotion for emotion in known.acted for _ in range(clips_per_class)]
        for number, emotion in enumerate(acted):
            onset = 1 + number * max(SPACING, frames[1])  # clips of one long video do not meet
            length = int(rng.integers(*frames, endpoint=True))
            clip = known.clip_name(subject, emotion, number)
            rows.append(Row(subject, clip, emotion, onset, onset + length // 2, onset + length - 1))
    return rows


def tiny_frames(row: Row, number: int) -> np.ndarray:
    """The same flat grey picture for every frame."""
    return tiny_picture()


def write_download(
    layout: str,
    folder: Path,
    plan: Sequence[Row],
    frames: Pictures = tiny_frames,
    *,
    variant: str | None = None,
    frames_per_clip: int | None = None,
) -> None:
    """Write a dataset's download: its documents and the frames of each clip of a plan.

    Args:
        layout: a key of `LAYOUTS`.
        folder: receives the download.
        plan: its clips.
        frames: (row, frame number) -> picture [H, W, 3] uint8 RGB.
        variant: one of the layout's `variants`; None is the first.
        frames_per_clip: None is all frames from onset to offset; a number is that many, evenly spread, and the apex.
    """
    write_documents(layout, folder, plan, variant=variant)
    for row in plan:
        write_clip(layout, folder, row, frames, variant=variant, frames_per_clip=frames_per_clip)


def write_documents(layout: str, folder: Path, plan: Sequence[Row], *, variant: str | None = None) -> None:
    """Write all that is no frame of a clip; see `write_download`."""
    known = get_layout(layout)
    known.write_documents(folder, plan, _variant(known, variant))


def write_clip(
    layout: str,
    folder: Path,
    row: Row,
    frames: Pictures = tiny_frames,
    *,
    variant: str | None = None,
    frames_per_clip: int | None = None,
) -> None:
    """Write the frames of one clip; see `write_download`."""
    known = get_layout(layout)
    for number in _numbers(row, frames_per_clip):
        path = known.frame_path(row, number, _variant(known, variant))
        if path is not None:
            write_picture(folder / path, frames(row, number), grey=known.grey)


def _numbers(row: Row, count: int | None) -> list[int]:
    if count is None:
        return list(range(row.onset, row.offset + 1))
    spread = {round(number) for number in np.linspace(row.onset, row.offset, count)}
    return sorted(spread if row.apex is None else spread | {row.apex})


def _variant(layout: Layout, variant: str | None) -> str:
    if variant is None:
        return layout.variants[0]
    if variant not in layout.variants:
        raise MefusionError(f"variant={variant} is not known: choose from {', '.join(layout.variants)}")
    return variant
