"""CAS(ME)^3, part A (Li et al., IEEE Transactions on Pattern Analysis and Machine Intelligence 2023)."""

import re
from collections.abc import Iterator
from pathlib import Path

from mefusion.common.errors import MefusionError
from mefusion.datasets.folders import child, frame_tree
from mefusion.datasets.official import OfficialSource
from mefusion.datasets.tables import Coding, read_table, subject_name

TABLES = ("cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",)  # v1 lies beside it and lists other clips
COLUMNS = {
    "Subject": "subject",
    "Filename": "letter",
    "Onset": "onset",
    "Apex": "apex",
    "Offset": "offset",
    "AU": "action_units",
    "Objective class": "objective_class",
    "emotion": "emotion",
}
ENTRIES = {
    "raw": re.compile(r"spno\.\d+", re.IGNORECASE),  # spNO.1/a/color/166.jpg
    "clips": re.compile(r"spno\.\d+_[a-m]_\d+", re.IGNORECASE),  # spNo.1_a_355/355.jpg
}
OTHER_PARTS = re.compile(r"part_?[bc].*|depth", re.IGNORECASE)


class CasmeCubedSource(OfficialSource):
    """CAS(ME)^3, part A: 860 clips of 94 subjects, 30 fps.

    One video holds several expressions, so a clip is named by the video's letter and the table's onset.

    Args:
        root: folder with the label table and the frames.
        name: of the data.
        frames: `raw` (part_A/spNO.1/a/color) or `clips` (Part_A_ME_clip, cut to the expressions).
        allow_partial: see `OfficialSource`.
    """

    official = ("cas_me_3",)
    tables = TABLES
    subject_folder = re.compile(r"spno\..*", re.IGNORECASE)

    def __init__(self, *, root: str, name: str = "cas_me_3", frames: str = "raw", allow_partial: bool = False):
        super().__init__(root=root, name=name, allow_partial=allow_partial, options={"frames": frames})
        if frames not in ENTRIES:
            raise MefusionError(f"data.frames={frames}: choose from {', '.join(ENTRIES)}")
        self.frames = frames

    def rows(self) -> Iterator[dict[str, object]]:
        """Rows of the clip table."""
        entry = ENTRIES[self.frames]
        tree = frame_tree(self.root, entry, frames=self.frames, kinds={self.frames: "part_a"}, avoid=OTHER_PARTS)
        for cells in read_table(self.table_file(), COLUMNS):
            letter, subject = cells["letter"].lower(), subject_name("cas_me_3", cells["subject"])
            coding = Coding("cas_me_3", subject, f"{letter}_{cells['onset']}", cells)
            folder = self._folder(tree, subject, letter, cells["onset"])
            coding.correct()
            yield coding.row(path=folder, fps=30)

    def _folder(self, tree: Path, subject: str, letter: str, onset: str) -> Path:
        if self.frames == "clips":  # named by the onset before it is corrected
            return child(tree, f"{subject}_{letter}_{onset}", root=self.root)
        video = child(child(tree, subject, root=self.root), letter, root=self.root)
        return child(video, "color", root=self.root)
