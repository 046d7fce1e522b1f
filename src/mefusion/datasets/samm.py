"""SAMM (Davison, Lansley, Costen, Tan and Yap, IEEE Transactions on Affective Computing 2018)."""

import re
from collections.abc import Iterator

from mefusion.datasets.folders import child, frame_tree
from mefusion.datasets.official import OfficialSource
from mefusion.datasets.tables import Coding, read_table, subject_name

TABLES = ("SAMM_Micro_FACS_Codes_v2.xlsx",)
COLUMNS = {
    "Subject": "subject",
    "Filename": "clip",
    "Onset Frame": "onset",
    "Apex Frame": "apex",
    "Offset Frame": "offset",
    "Action Units": "action_units",
    "Estimated Emotion": "emotion",
    "Objective Classes": "objective_class",
}
SUBJECT = re.compile(r"\d{3}")


class SammSource(OfficialSource):
    """SAMM: 159 clips of 29 subjects, 200 fps.

    Args:
        root: folder with the table of FACS codes and the frames (`006/006_1_2/006_05562.jpg`).
        name: of the data.
        allow_partial: see `OfficialSource`.
    """

    official = ("samm",)
    tables = TABLES
    subject_folder = SUBJECT

    def __init__(self, *, root: str, name: str = "samm", allow_partial: bool = False):
        super().__init__(root=root, name=name, allow_partial=allow_partial, options={})

    def rows(self) -> Iterator[dict[str, object]]:
        """Rows of the clip table."""
        tree = frame_tree(self.root, SUBJECT, frames="raw", kinds={"raw": "samm"})
        for cells in read_table(self.table_file(), COLUMNS):
            coding = Coding("samm", subject_name("samm", cells["subject"]), cells["clip"], cells)
            coding.correct()
            folder = child(child(tree, coding.subject, root=self.root), coding.clip_id, root=self.root)
            yield coding.row(path=folder, fps=200)
