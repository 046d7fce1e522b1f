"""CAS(ME)^2 (Qu et al., IEEE Transactions on Affective Computing 2018)."""

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from mefusion.common.errors import MefusionError
from mefusion.datasets.reading.folders import descend, matching_folders
from mefusion.datasets.reading.official import OfficialSource
from mefusion.datasets.reading.tables import Coding, read_sheets

# The sheet of codes has no header.
CODES = ("index", "clip", "onset", "apex", "offset", "action_units", "emotion", "type")


class CasmeSquaredSource(OfficialSource):
    """Micro-expressions of CAS(ME)^2: 22 subjects; releases have 53 to 57 clips, so no count is asserted.

    Frames are `selected` (`selectedpic/s15/anger1_1/img557.jpg`), `cropped` (`cropped/15/anger1_1/img557.jpg`) or
    `raw`, whole videos (`rawpic/s15/15_0101disgustingteeth/img001.jpg`). One clip may hold several expressions, so
    its id has its onset too.
    """

    dataset = "cas_me_2"
    fps = 30
    subject_name = "s{}"
    subject_folder = re.compile(r"s?\d{1,2}", re.IGNORECASE)
    kinds = {"cropped": "crop", "selected": "select", "raw": "raw"}
    frames = "selected"
    tables = ("CAS(ME)^2code_final(Updated).xlsx", "CAS(ME)^2code_final (Updated).xlsx", "CAS(ME)^2code_final.xlsx")

    def table_rows(self) -> Iterator[dict[str, str]]:
        """Cells of each micro-expression."""
        return self.coded_rows(kind="micro")

    def coded_rows(self, *, kind: str = "") -> Iterator[dict[str, str]]:
        """Cells of each expression whose type begins with `kind`.

        The sheets of naming rules give its `subject` and the code of its `video`.
        """
        codes, subject_rule, video_rule = self._sheets()
        subjects = {row[2]: row[1] for row in subject_rule if row[2:] and row[2].isdigit()}
        videos = {row[1].lower(): row[0].zfill(4) for row in video_rule if row[1:]}  # anger1 -> 0401
        for row in codes:
            cells = dict(zip_longest(CODES, row[: len(CODES)], fillvalue=""))
            if not cells["type"].lower().startswith(kind):
                continue
            if cells["index"] not in subjects:
                raise MefusionError(
                    f"{self.table_file()} has no subject of index {cells['index']} in its first naming rule: "
                    "copy the table again from the download"
                )
            video = cells["clip"].rsplit("_", 1)[0].lower()
            yield {**cells, "subject": subjects[cells["index"]], "video": videos.get(video, cells["clip"])}

    def _sheets(self) -> list[list[list[str]]]:
        sheets = read_sheets(self.table_file())
        if len(sheets) < 3 or not all(sheets[:3]) or len(sheets[0][0]) < len(CODES):
            raise MefusionError(
                f"{self.table_file()} must have a sheet of codes with {len(CODES)} columns and two sheets of "
                "naming rules: copy it again from the download"
            )
        return sheets[:3]

    def clip_id(self, cells: Mapping[str, str]) -> str:
        """Clip and onset, such as `anger1_1_557`."""
        return f"{cells['clip']}_{cells['onset']}"

    def clip_folder(self, tree: Path, subject: str, cells: Mapping[str, str]) -> Path:
        """See `OfficialSource.clip_folder`; a folder of `raw` frames is a whole video."""
        folder, clip = tree / subject, cells["clip"]
        if not folder.is_dir():  # folders of `cropped` frames are named without the `s`
            folder = tree / subject.removeprefix("s")
        if self.frames == "raw" and folder.is_dir():
            videos = matching_folders(folder, re.compile(rf"\d+_{re.escape(cells['video'])}.*"))
            clip = videos[0].name if videos else clip
        return descend(folder, clip, root=self.root)

    def correct_by_rule(self, coding: Coding) -> None:
        """Replace an offset of 0, which was not coded, by the apex: the last frame known to show the expression."""
        if coding.cells["offset"] != "0":
            return
        apex = coding.number("apex")
        coding.cells["offset"] = str(apex) if apex else ""
        if apex:
            coding.notes.append(f"offset 0 means that it was not coded: the apex {apex} is used")
