"""CAS(ME)^3, part A (Li et al., IEEE Transactions on Pattern Analysis and Machine Intelligence 2023)."""

import re
from collections.abc import Mapping
from pathlib import Path

from mefusion.datasets.reading.counts import Counts
from mefusion.datasets.reading.folders import descend, frame_tree
from mefusion.datasets.reading.official import OfficialSource
from mefusion.datasets.reading.tables import Correction

_THREE = Counts(88, {"negative": 457, "positive": 55, "surprise": 187})


class CasmeCubedSource(OfficialSource):
    """CAS(ME)^3, part A: 860 clips of 94 subjects.

    Frames are `raw`, whole videos (`part_A/spNO.1/a/color/166.jpg`), or `clips`, the archive with only the frames of
    the expressions (`Part_A_ME_clip/frame/spNo.1_a_355/355.jpg`). One video has several expressions, so a clip's id is
    the video's letter and the onset of the table.
    """

    dataset = "cas_me_3"
    fps = 30
    subject_name = "spNO.{}"
    subject_folder = re.compile(r"spno\..*", re.IGNORECASE)
    kinds = {"raw": "part_a", "clips": "part_a"}
    avoid = re.compile(r"part_?[bc].*|depth", re.IGNORECASE)
    tables = ("cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",)  # the download also has v1, which lists other clips
    columns = {
        "Subject": "subject",
        "Filename": "letter",
        "Onset": "onset",
        "Apex": "apex",
        "Offset": "offset",
        "AU": "action_units",
        "Objective class": "objective_class",
        "emotion": "emotion",
    }
    corrections = (
        Correction("spNO.149/d_112", "apex", "83", "160", "it lies before the onset 112"),
        Correction("spNO.216/d_3647", "onset", "3647", "2647", "it lies after the offset 2694"),
        Correction("spNO.40/e_1812", "offset", "0", "1845", "0 is no offset"),
        Correction("spNO.40/e_2327", "offset", "0", "2403", "0 is no offset"),
        Correction("spNO.214/c_5", "offset", "3460", "34", "a guess: 3460 would make a clip of two minutes"),
        Correction("spNO.216/e_0", "onset", "0", "1", "there is no frame 0"),
        Correction("spNO.216/e_0", "apex", "0", "1", "there is no frame 0"),
    )
    counts = {
        "three": _THREE,
        "three_wide": _THREE,
        "four": Counts(94, {"negative": 457, "positive": 55, "surprise": 187, "others": 161}),
        "seven": Counts(
            94,
            {"disgust": 250, "surprise": 187, "others": 161, "fear": 86, "anger": 64, "sadness": 57, "happiness": 55},
        ),
    }

    entry_folders = {
        "raw": re.compile(r"spno\.\d+", re.IGNORECASE),
        "clips": re.compile(r"spno\.\d+_[a-m]_\d+", re.IGNORECASE),
    }

    def frame_tree(self) -> Path:
        """Folder whose children are the subjects' folders or, for `clips`, the folders of the clips."""
        kinds = {self.frames: self.kinds[self.frames]}
        return frame_tree(self.root, self.entry_folders[self.frames], frames=self.frames, kinds=kinds, avoid=self.avoid)

    def clip_id(self, cells: Mapping[str, str]) -> str:
        """Letter of the video and onset, such as `a_355`."""
        return f"{cells['letter'].lower()}_{cells['onset']}"

    def clip_folder(self, tree: Path, subject: str, cells: Mapping[str, str]) -> Path:
        """See `OfficialSource.clip_folder`; folders of `clips` are named by the onset before its correction."""
        if self.frames == "clips":
            return descend(tree, f"{subject}_{self.clip_id(cells)}", root=self.root)
        return descend(tree, subject, cells["letter"].lower(), "color", root=self.root)
