"""CAS(ME)^2 (Qu et al., IEEE Transactions on Affective Computing 2018)."""

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from mefusion.common.errors import MefusionError
from mefusion.datasets.folders import child, entries, frame_tree
from mefusion.datasets.official import OfficialSource
from mefusion.datasets.tables import Coding, read_sheets, subject_name

TABLES = ("CAS(ME)^2code_final(Updated).xlsx", "CAS(ME)^2code_final (Updated).xlsx", "CAS(ME)^2code_final.xlsx")
# The sheet has no header.
COLUMNS = ("index", "clip", "onset", "apex", "offset", "action_units", "emotion", "type")
SUBJECT = re.compile(r"s?\d{1,2}", re.IGNORECASE)
KINDS = {"cropped": "crop", "selected": "select", "raw": "raw"}


class CasmeSquaredSource(OfficialSource):
    """Micro-expressions of CAS(ME)^2: 22 subjects, 30 fps; releases have 53 to 57 clips, so no count is asserted.

    One clip may hold several expressions, so a clip's id has its onset too.

    Args:
        root: folder with the code table and the frames.
        name: of the data.
        frames: `selected` (selectedpic/s15/anger1_1), `cropped` (cropped/15/anger1_1), or `raw`, whole videos
            (rawpic/s15/15_0101disgustingteeth).
        allow_partial: see `OfficialSource`.
    """

    official = ("cas_me_2",)
    tables = TABLES
    subject_folder = SUBJECT

    def __init__(self, *, root: str, name: str = "cas_me_2", frames: str = "selected", allow_partial: bool = False):
        super().__init__(root=root, name=name, allow_partial=allow_partial, options={"frames": frames})
        self.frames = frames

    def rows(self) -> Iterator[dict[str, object]]:
        """Rows of the clip table."""
        tree = frame_tree(self.root, SUBJECT, frames=self.frames, kinds=KINDS)
        codes, subjects, videos = self._sheets()
        for cells in codes:
            if cells["index"] not in subjects:
                raise MefusionError(
                    f"{self.table_file()} has no subject of index {cells['index']} in its first naming rule: "
                    "copy the table anew from the download"
                )
            subject = subjects[cells["index"]]
            coding = Coding("cas_me_2", subject, f"{cells['clip']}_{cells['onset']}", cells)
            coding.correct()
            _mend_offset(coding)
            yield coding.row(path=self._folder(tree, subject, cells["clip"], videos), fps=30)

    def _sheets(self) -> tuple[list[dict[str, str]], dict[str, str], dict[str, str]]:
        """Codes of micro-expressions; index -> subject; video's name (`anger1`) -> its code (`0401`)."""
        sheets = read_sheets(self.table_file())
        if len(sheets) < 3 or not all(sheets[:3]) or len(sheets[0][0]) < len(COLUMNS):
            raise MefusionError(
                f"{self.table_file()} must have a sheet of codes with {len(COLUMNS)} columns and two sheets of "
                "naming rules: copy it anew from the download"
            )
        codes = [dict(zip_longest(COLUMNS, row[: len(COLUMNS)], fillvalue="")) for row in sheets[0]]
        micro = [cells for cells in codes if cells["type"].lower().startswith("micro")]
        subjects = {row[2]: subject_name("cas_me_2", row[1]) for row in sheets[1] if row[2:] and row[2].isdigit()}
        return micro, subjects, {row[1].lower(): row[0].zfill(4) for row in sheets[2] if row[1:]}

    def _folder(self, tree: Path, subject: str, clip: str, videos: dict[str, str]) -> Path:
        folder = tree / subject
        if not folder.is_dir():  # the cropped subjects have no letter
            folder = tree / subject.removeprefix("s")
        if self.frames != "raw" or not folder.is_dir():
            return child(folder, clip, root=self.root)
        code = videos.get(clip.rsplit("_", 1)[0].lower(), clip)
        video = next(iter(entries(folder, re.compile(rf"\d+_{re.escape(code)}.*"))), folder / clip)
        return child(folder, video.name, root=self.root)


def _mend_offset(coding: Coding) -> None:
    """An offset of 0 was not coded; the apex is the last frame that surely shows the expression."""
    if coding.cells["offset"] != "0":
        return
    apex = coding.number("apex")
    coding.cells["offset"] = str(apex) if apex else ""
    if apex:
        coding.notes.append(f"offset 0 was not coded: the apex {apex} is taken")
