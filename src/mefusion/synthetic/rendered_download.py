"""Imitate the download of a dataset with rendered faces, to try all steps before one has access to the dataset."""

import functools
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mefusion.clips.motion import optical_strain
from mefusion.clips.video import write_image
from mefusion.common.errors import MefusionError
from mefusion.common.files import told_if_unwritable
from mefusion.processes.parallel import parallel_map
from mefusion.synthetic.layouts import Layout, Row, get_layout
from mefusion.synthetic.mixtures import MIXTURES
from mefusion.synthetic.render import Clip
from mefusion.synthetic.scene import JPEG_QUALITY, SyntheticSettings, act_emotion, derived_seed, render_frame

FLOW_SIZE = 28  # side of a flow image, px
SPACING = 200  # frames from one onset to the next


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
    known, rows = get_layout(layout), small_plan(layout, settings)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MefusionError(f"data.write_to={folder} is not empty: give a new folder, or empty it first")
    folder.mkdir(parents=True, exist_ok=True)
    work = functools.partial(_render_row, rows, layout, folder, settings)
    rendered = dict(parallel_map(work, range(len(rows)), description="Rendering", workers=workers))
    # Last, so that a download that was interrupted is not taken for a whole one.
    if known.write_table:
        known.write_table(folder, [rendered[number] for number in range(len(rows))])
    # dlib's landmarks do for rendered faces, and need no weights to be downloaded.
    faces = "" if known.flow else " faces=dlib"
    return f"mefusion-prepare {known.reader} data.root={folder} data.allow_partial=true{faces}"


def small_plan(layout: str, settings: SyntheticSettings) -> list[Row]:
    """Clips of a dataset's first subjects, for each emotion that the renderer can act; apex in the middle.

    Raises:
        MefusionError: the dataset has fewer subjects.
    """
    known, rng = get_layout(layout), np.random.default_rng(settings.seed)
    if settings.subjects > len(known.subjects):
        raise MefusionError(
            f"data.subjects={settings.subjects}: the layout {layout} has {len(known.subjects)} subjects, choose no more"
        )
    fewest, most = settings.frames
    rows = []
    for subject in known.subjects[: settings.subjects]:
        acted = [emotion for emotion in known.acted for _ in range(settings.clips_per_class)]
        for number, emotion in enumerate(acted):
            onset = 1 + number * max(SPACING, most)  # clips of one long video do not meet
            length = int(rng.integers(fewest, most, endpoint=True))
            clip = known.clip_name(subject, emotion, number)
            rows.append(Row(subject, clip, emotion, onset, onset + length // 2, onset + length - 1))
    return rows


def write_clip(layout: Layout, folder: Path, row: Row, picture: Callable[[int], np.ndarray]) -> None:
    """Write a clip's frames; `picture` is frame number -> picture [H, W, 3] uint8 RGB."""
    for number in [row.apex] if layout.flow else range(row.onset, row.offset + 1):
        path = folder / layout.frame.format(row=row, number=number)
        with told_if_unwritable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, Image.fromarray(picture(number)).convert("L" if layout.grey else "RGB"), quality=JPEG_QUALITY)


def act_row(layout: Layout, row: Row, settings: SyntheticSettings) -> Clip:
    """The rendered clip of a row, from its onset to its offset, the same whenever it is asked for."""
    scheme, emotion = layout.acted[row.emotion]
    subject = layout.subjects.index(row.subject)
    return act_emotion(
        settings,
        subject,
        MIXTURES[scheme][emotion],
        frames=row.length,
        seed=derived_seed(settings.seed, subject, zlib.crc32(f"{row.clip} {row.onset}".encode())),
    )


def _render_row(rows: Sequence[Row], name: str, folder: Path, settings: SyntheticSettings, number: int) -> Row:
    """Write a clip; returns its row with the apex and the action units that were acted."""
    layout = get_layout(name)
    clip = act_row(layout, rows[number], settings)
    units = "+".join(map(str, sorted(clip.action_units)))
    row = replace(rows[number], apex=rows[number].onset + clip.apex, action_units=units)

    def picture(frame: int) -> np.ndarray:
        return flow_picture(clip) if layout.flow else render_frame(clip, frame - row.onset, settings)

    write_clip(layout, folder, row, picture)
    return row


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
