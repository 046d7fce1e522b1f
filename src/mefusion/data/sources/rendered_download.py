"""A dataset's official layout with rendered faces in it, to try the dataset's whole path before its licence arrives."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from mefusion.data.motion import optical_strain
from mefusion.data.parallel import parallel_map
from mefusion.data.sources.synthetic import SyntheticSettings, derived_seed, make_subject, render_frame
from mefusion.data.synthetic.action_units import EMOTIONS
from mefusion.data.synthetic.layouts import Row, get_layout, small_plan, write_clip, write_documents
from mefusion.data.synthetic.render import Clip, act
from mefusion.errors import MefusionError

FLOW_SIZE = 28  # side of a flow image, px


@dataclass(frozen=True)
class Part:
    """One clip to render: the row of the plan, and its subject's and its own number."""

    row: Row
    subject: int
    number: int


def write_rendered_download(
    layout: str, folder: Path, settings: SyntheticSettings, *, workers: int | None = None
) -> str:
    """Write a small download in which rendered subjects bear the dataset's names.

    Args:
        layout: a key of `LAYOUTS`.
        folder: receives the download; must be empty or not there.
        settings: number of subjects and clips, size, motion and seed; the scheme is the dataset's own.
        workers: number of processes; None is one a core.

    Returns:
        What to run next.

    Raises:
        MefusionError: the layout is not known or has too few subjects, or the folder is not empty.
    """
    most = max(settings.frames)
    reader = get_layout(layout).reader
    plan = small_plan(layout, subjects=settings.subjects, clips_per_class=settings.clips_per_class, length=most)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MefusionError(f"data.write_to={folder} is not empty: give a new folder, or empty it first")
    subjects = list(dict.fromkeys(row.subject for row in plan))
    parts = [Part(row, subjects.index(row.subject), number) for number, row in enumerate(plan)]
    folder.mkdir(parents=True, exist_ok=True)
    work = functools.partial(_write_part, layout, folder, settings)
    done = parallel_map(work, parts, description="Rendering", workers=workers)
    rows = {part.number: row for part, row in done}
    # Last, so that a download that was interrupted is not taken for a whole one.
    write_documents(layout, folder, [rows[part.number] for part in parts])
    program = "mefusion-check" if layout == "flow_images" else "mefusion-prepare"  # flow images are prepared already
    return f"{program} {reader} data.root={folder} data.allow_partial=true"


def _write_part(layout: str, folder: Path, settings: SyntheticSettings, part: Part) -> Row:
    clip = make_part(layout, settings, part)
    row = replace(
        part.row,
        apex=part.row.onset + clip.apex,
        offset=part.row.onset + len(clip) - 1,
        action_units="+".join(map(str, sorted(clip.action_units))),
    )

    def picture(row: Row, number: int) -> np.ndarray:
        return flow_picture(clip) if layout == "flow_images" else render_frame(clip, number - row.onset, settings)

    write_clip(layout, folder, row, picture)
    return row


def make_part(layout: str, settings: SyntheticSettings, part: Part) -> Clip:
    """The rendered clip, the same whenever it is asked for."""
    scheme, emotion = get_layout(layout).acted[part.row.emotion]
    seed = derived_seed(settings.seed, part.subject, part.number)
    fewest, most = settings.frames
    return act(
        make_subject(settings, part.subject),
        EMOTIONS[scheme][emotion],
        frames=int(np.random.default_rng(seed).integers(fewest, most + 1)),
        amplitude=settings.amplitude,
        seed=seed,
    )


def flow_picture(clip: Clip) -> np.ndarray:
    """Flow from onset to apex on the face as a picture [28, 28, 3] uint8: right, down, strain.

    Still is the grey 128 in the first two channels and black in the third; each channel's largest motion
    is at the end of its range.
    """
    (left, top), (right, bottom) = _box(clip.landmarks(0), clip.subject.size)
    whole = clip.flow(0, clip.apex)[:, top:bottom, left:right]
    flow = np.stack([cv2.resize(part, (FLOW_SIZE, FLOW_SIZE), interpolation=cv2.INTER_AREA) for part in whole])
    strain = optical_strain(flow)
    channels = [128 + 127 * part / max(np.abs(part).max(), 1e-6) for part in flow]
    channels.append(255 * strain / max(strain.max(), 1e-6))
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _box(landmarks: np.ndarray, size: int) -> Sequence[tuple[int, int]]:
    """Corners of the face within the picture, px."""
    corners = np.clip([landmarks.min(0), landmarks.max(0) + 1], 0, size).astype(int)
    return [(int(x), int(y)) for x, y in corners]
