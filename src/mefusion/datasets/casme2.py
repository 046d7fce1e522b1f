"""CASME II (Yan et al., PLoS ONE 2014)."""

import re
from collections.abc import Iterator

from mefusion.datasets.folders import child, frame_tree
from mefusion.datasets.official import OfficialSource
from mefusion.datasets.tables import Coding, read_table, subject_name

TABLES = ("CASME2-coding-20190701.xlsx", "CASME2-coding-20140508.xlsx")
COLUMNS = {
    "Subject": "subject",
    "Filename": "clip",
    "OnsetFrame": "onset",
    "ApexFrame": "apex",
    "OffsetFrame": "offset",
    "Action Units": "action_units",
    "Estimated Emotion": "emotion",
}
SUBJECT = re.compile(r"sub\d+", re.IGNORECASE)
KINDS = {"cropped": "crop", "raw": "raw"}


class Casme2Source(OfficialSource):
    """CASME II: 255 clips of 26 subjects, 200 fps.

    Args:
        root: folder with the coding table and the frames (`sub01/EP02_01f/img46.jpg`).
        name: of the data.
        frames: `raw` (CASME2_RAW_selected) or `cropped` (Cropped).
        allow_partial: see `OfficialSource`.
    """

    official = ("casme2",)
    tables = TABLES
    subject_folder = SUBJECT

    def __init__(self, *, root: str, name: str = "casme2", frames: str = "raw", allow_partial: bool = False):
        super().__init__(root=root, name=name, allow_partial=allow_partial, options={"frames": frames})
        self.frames = frames

    def rows(self) -> Iterator[dict[str, object]]:
        """Rows of the clip table."""
        tree = frame_tree(self.root, SUBJECT, frames=self.frames, kinds=KINDS)
        for cells in read_table(self.table_file(), COLUMNS):
            coding = Coding("casme2", subject_name("casme2", cells["subject"]), cells["clip"], cells)
            coding.correct()
            folder = child(child(tree, coding.subject, root=self.root), coding.clip_id, root=self.root)
            yield coding.row(path=folder, fps=200)
