"""Imitate the download of a dataset with rendered faces, to try all steps before one has access to the dataset."""

import functools
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from mefusion.clips.motion import optical_strain
from mefusion.common.errors import MefusionError
from mefusion.common.parallel import parallel_map
from mefusion.synthetic.expressions import EMOTIONS
from mefusion.synthetic.layouts import Pictures, Row, get_layout, small_plan, write_clip, write_documents
from mefusion.synthetic.render import Clip, act
from mefusion.synthetic.scene import SyntheticSettings, derived_seed, make_subject, render_frame

FLOW_SIZE = 28  # side of a flow image, px


def write_rendered_download(
    layout: str, folder: Path, settings: SyntheticSettings, *, workers: int | None = None
) -> str:
    """Write a small imitation of a dataset's download, with rendered subjects that have the dataset's subject names.

    Args:
        layout: a key of `LAYOUTS`.
        folder: where the download is written; must be empty, or not exist.
        settings: number of subjects and clips, size, motion and seed; emotions are those of the dataset.
        workers: number of processes; None means one for each core.

    Returns:
        The command to run next.

    Raises:
        MefusionError: the layout does not exist or has too few subjects, or the folder is not empty.
    """
    fewest, most = settings.frames
    plan = small_plan(
        layout,
        subjects=settings.subjects,
        clips_per_class=settings.clips_per_class,
        frames=(fewest, most),
        seed=settings.seed,
    )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MefusionError(f"data.write_to={folder} is not empty: give a new folder, or empty it first")
    folder.mkdir(parents=True, exist_ok=True)
    work = functools.partial(_write_row, plan, layout, folder, settings)
    rows = dict(parallel_map(work, range(len(plan)), description="Rendering", workers=workers))
    # Last, so that an interrupted download does not look complete.
    write_documents(layout, folder, [rows[number] for number in range(len(plan))])
    # dlib finds good landmarks on rendered faces, and needs no download of weights.
    faces = "" if layout == "flow_images" else " faces=dlib"
    return f"mefusion-prepare {get_layout(layout).reader} data.root={folder} data.allow_partial=true{faces}"


def _write_row(plan: Sequence[Row], layout: str, folder: Path, settings: SyntheticSettings, number: int) -> Row:
    """Write a clip; returns its row with the apex and action units of the rendered clip."""
    clip = act_row(layout, plan[number], settings)
    units = "+".join(map(str, sorted(clip.action_units)))
    row = replace(plan[number], apex=plan[number].onset + clip.apex, action_units=units)
    write_clip(layout, folder, row, rendered_pictures(layout, settings))
    return row


def rendered_pictures(layout: str, settings: SyntheticSettings) -> Pictures:
    """Function that `write_download` calls for the picture of each frame: a rendered face, or a flow image."""

    @functools.lru_cache(maxsize=1)
    def acted(subject: str, clip: str, emotion: str, onset: int, offset: int) -> Clip:
        return act_row(layout, Row(subject, clip, emotion, onset, None, offset), settings)

    def picture(row: Row, number: int) -> np.ndarray:
        clip = acted(row.subject, row.clip, row.emotion, row.onset, row.offset)
        return flow_picture(clip) if layout == "flow_images" else render_frame(clip, number - row.onset, settings)

    return picture


def act_row(layout: str, row: Row, settings: SyntheticSettings) -> Clip:
    """The rendered clip of a row, from its onset to its offset; the same row always gives the same clip."""
    known = get_layout(layout)
    scheme, emotion = known.acted[row.emotion]
    subject = known.subjects.index(row.subject)
    return act(
        make_subject(settings, subject),
        EMOTIONS[scheme][emotion],
        frames=row.length,
        amplitude=settings.amplitude,
        seed=derived_seed(settings.seed, subject, zlib.crc32(f"{row.clip} {row.onset}".encode())),
    )


def flow_picture(clip: Clip) -> np.ndarray:
    """Flow from onset to apex on the face as a picture [28, 28, 3] uint8; channels: right, down, strain.

    No motion is 128 in the first two channels and 0 in the third. Each channel is scaled so that its largest
    value is at the end of the range.
    """
    (left, top), (right, bottom) = _box(clip.landmarks(0), clip.subject.size)
    whole = clip.flow(0, clip.apex)[:, top:bottom, left:right]
    flow = np.stack([cv2.resize(part, (FLOW_SIZE, FLOW_SIZE), interpolation=cv2.INTER_AREA) for part in whole])
    strain = optical_strain(flow)
    channels = [128 + 127 * part / max(np.abs(part).max(), 1e-6) for part in flow]
    channels.append(255 * strain / max(strain.max(), 1e-6))
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _box(landmarks: np.ndarray, size: int) -> Sequence[tuple[int, int]]:
    """Corners of the face's bounding box in the picture, px."""
    corners = np.clip([landmarks.min(0), landmarks.max(0) + 1], 0, size).astype(int)
    return [(int(x), int(y)) for x, y in corners]
