"""SMIC (Li, Pfister, Huang, Zhao and Pietikainen, FG 2013)."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mefusion.clips.video import list_frames
from mefusion.common.errors import MefusionError
from mefusion.datasets.reading.counts import Counts, CountsByScheme
from mefusion.datasets.reading.folders import require_inside
from mefusion.datasets.reading.official import OfficialSource

CLIP = re.compile(r"s0*(\d+)_(ne|po|sur)_(\d+)", re.IGNORECASE)
EMOTIONS = {"ne": "negative", "po": "positive", "sur": "surprise"}
_HS = Counts(
    16,
    {"negative": 70, "positive": 51, "surprise": 43},
    per_subject={
        "smic/s1": 6, "smic/s2": 6, "smic/s3": 39, "smic/s4": 19, "smic/s5": 2, "smic/s6": 4, "smic/s8": 13,
        "smic/s9": 4, "smic/s11": 7, "smic/s12": 9, "smic/s13": 10, "smic/s14": 10, "smic/s15": 4, "smic/s18": 7,
        "smic/s19": 2, "smic/s20": 22,
    },
)  # fmt: skip
_OTHER = Counts(8, clips=71)


class SmicSource(OfficialSource):
    """SMIC: 164 clips of 16 subjects (HS), 71 clips of 8 subjects (VIS, NIR); frames are `raw` or `cropped`.

    There is no annotation table: labels come from the folders' names (`HS/s1/micro/negative/s1_ne_01/image090823.jpg`).
    The apex is not coded.

    Args:
        modality: the camera: `HS` (high speed), `VIS` (visible light) or `NIR` (near infrared).
        options: see `OfficialSource`.

    Raises:
        MefusionError: the camera or the kind of frames does not exist.
    """

    # Camera -> dataset, frames per second, counts.
    cameras: Mapping[str, tuple[str, float, CountsByScheme]] = {
        "HS": ("smic", 100, {"three": _HS, "three_wide": _HS}),
        "VIS": ("smic_vis", 25, {"three": _OTHER, "three_wide": _OTHER}),
        "NIR": ("smic_nir", 25, {"three": _OTHER, "three_wide": _OTHER}),
    }
    dataset, fps, counts = cameras["HS"]
    subject_name = "s{}"
    subject_folder = re.compile(r"s\d{1,2}", re.IGNORECASE)
    kinds = {"cropped": "crop", "raw": "raw"}

    def __init__(self, *, modality: str = "HS", **options: Any):
        if modality not in self.cameras:
            raise MefusionError(f"data.modality={modality}: choose from {', '.join(self.cameras)}")
        super().__init__(**options)
        self.modality = modality
        self.dataset, self.fps, self.counts = self.cameras[modality]
        self.official = {self.dataset: self.counts}
        others = "|".join(camera for camera in self.cameras if camera != modality)
        self.avoid = re.compile(rf"(.*[ _-])?({others})([ _-].*)?|non_?micro", re.IGNORECASE)

    def identity(self) -> dict[str, object]:
        """See `Source.identity`."""
        return super().identity() | {"modality": self.modality}

    def annotation(self) -> bytes:
        """Names of the clips, which replace an annotation table."""
        return "\n".join(str(folder.relative_to(self.root)) for folder in self._clip_folders()).encode()

    def rows(self) -> Iterator[dict[str, object]]:
        """Make the rows of the clip table."""
        for folder in self._clip_folders():
            subject, clip_id, emotion = self._read_name(folder)
            frames = _frame_numbers(folder)
            yield {
                "dataset": self.dataset,
                # The three cameras filmed the same people; a person must not be a training and a test subject at once.
                "subject": f"smic/{subject}",
                "clip_id": clip_id,
                "path": str(folder),
                "onset": min(frames, default=None),
                "offset": max(frames, default=None),
                "emotion": emotion,
                "fps": self.fps,
            }

    def _clip_folders(self) -> list[Path]:
        avoid, level, found = self.avoid, [self.frame_tree()], []
        assert avoid is not None
        for _ in range(5):  # levels of s1/micro/negative/s1_ne_01, and one more for nested folders
            inner = [child for folder in level for child in sorted(folder.iterdir()) if child.is_dir()]
            found += [require_inside(child, self.root) for child in inner if CLIP.fullmatch(child.name)]
            level = [child for child in inner if not CLIP.fullmatch(child.name) and not avoid.fullmatch(child.name)]
        return found

    def _read_name(self, folder: Path) -> tuple[str, str, str]:
        """Subject, clip and emotion of a folder's name, such as `s1_ne_01` or `s01_ne_01`."""
        match = CLIP.fullmatch(folder.name)
        assert match is not None
        subject, kind = self.subject(match[1]), match[2].lower()
        above = folder.parent.name.lower()
        if above in EMOTIONS.values() and above != EMOTIONS[kind]:
            raise MefusionError(
                f"{folder} is a clip of {EMOTIONS[kind]} by its name, but not by its folder: copy it again "
                "from the download"
            )
        return subject, f"{subject}_{kind}_{match[3]}", EMOTIONS[kind]


def _frame_numbers(folder: Path) -> list[int]:
    """Numbers of a clip's frames; empty if they cannot be listed, since reading them will report the error."""
    try:
        return list(list_frames(folder))
    except MefusionError:
        return []
