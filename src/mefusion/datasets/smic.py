"""SMIC (Li, Pfister, Huang, Zhao and Pietikainen, FG 2013)."""

import re
from collections.abc import Iterator
from pathlib import Path

from mefusion.clips.video import list_frames
from mefusion.common.errors import MefusionError
from mefusion.datasets.folders import frame_tree, inside
from mefusion.datasets.official import OfficialSource
from mefusion.datasets.tables import subject_name

MODALITIES = {"HS": ("smic", 100), "VIS": ("smic_vis", 25), "NIR": ("smic_nir", 25)}  # dataset, fps
SUBJECT = re.compile(r"s\d{1,2}", re.IGNORECASE)
CLIP = re.compile(r"s0*(\d+)_(ne|po|sur)_(\d+)", re.IGNORECASE)
EMOTIONS = {"ne": "negative", "po": "positive", "sur": "surprise"}
KINDS = {"cropped": "crop", "raw": "raw"}


class SmicSource(OfficialSource):
    """SMIC: 164 clips of 16 subjects (HS, 100 fps), 71 of 8 (VIS and NIR, 25 fps).

    Labels are those of the folders. There is no apex.

    Args:
        root: folder of the download (`SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image090823.jpg`).
        name: of the data.
        modality: `HS`, `VIS` or `NIR`.
        frames: `raw` or `cropped`.
        allow_partial: see `OfficialSource`.
    """

    def __init__(
        self,
        *,
        root: str,
        name: str = "smic",
        modality: str = "HS",
        frames: str = "raw",
        allow_partial: bool = False,
    ):
        if modality not in MODALITIES:
            raise MefusionError(f"data.modality={modality}: choose from {', '.join(MODALITIES)}")
        options = {"modality": modality, "frames": frames}
        super().__init__(root=root, name=name, allow_partial=allow_partial, options=options)
        self.modality, self.frames = modality, frames
        self.dataset, self.fps = MODALITIES[modality]
        self.official = (self.dataset,)

    def rows(self) -> Iterator[dict[str, object]]:
        """Rows of the clip table."""
        for folder in self._clip_folders():
            subject, clip_id, emotion = _read_name(folder)
            frames = _frame_numbers(folder)
            yield {
                "dataset": self.dataset,
                # The three cameras filmed the same people, who must never be on both sides of a fold.
                "subject": f"smic/{subject}",
                "clip_id": clip_id,
                "path": str(folder),
                "onset": min(frames, default=None),
                "offset": max(frames, default=None),
                "emotion": emotion,
                "fps": self.fps,
            }

    def annotation(self) -> bytes:
        """Names of the clips, in place of a table, of which there is none."""
        return "\n".join(str(folder.relative_to(self.root)) for folder in self._clip_folders()).encode()

    def _clip_folders(self) -> list[Path]:
        others = "|".join(other for other in MODALITIES if other != self.modality)
        avoid = re.compile(rf"(.*[ _-])?({others})([ _-].*)?|non_?micro", re.IGNORECASE)
        tree = frame_tree(self.root, SUBJECT, frames=self.frames, kinds=KINDS, avoid=avoid)
        level, found = [tree], []
        for _ in range(5):  # s1/micro/negative/s1_ne_01, and once more where it is nested
            inner = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
            found += [inside(child, self.root) for child in inner if CLIP.fullmatch(child.name)]
            level = [child for child in inner if not CLIP.fullmatch(child.name) and not avoid.fullmatch(child.name)]
        return found


def _read_name(folder: Path) -> tuple[str, str, str]:
    """Subject, clip and emotion of `s1_ne_01`, also where it is written `s01_ne_01`."""
    match = CLIP.fullmatch(folder.name)
    assert match is not None
    subject, kind = subject_name("smic", match[1]), match[2].lower()
    above = folder.parent.name.lower()
    if above in EMOTIONS.values() and above != EMOTIONS[kind]:
        raise MefusionError(f"{folder} is a clip of {EMOTIONS[kind]} by its name: copy it anew from the download")
    return subject, f"{subject}_{kind}_{match[3]}", EMOTIONS[kind]


def _frame_numbers(folder: Path) -> list[int]:
    """Numbers of a clip's frames; none where they cannot be listed, which is told when they are read."""
    try:
        return list(list_frames(folder))
    except MefusionError:
        return []
