"""The long videos of CAS(ME)^3, part A (Li et al., IEEE Trans. Pattern Analysis and Machine Intelligence 2023)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mefusion.common.errors import MefusionError
from mefusion.datasets.cas_me_3 import CasmeCubedSource
from mefusion.datasets.reading.folders import descend, find_file, matching_folders
from mefusion.datasets.reading.recordings import CodedExpression, OfficialRecordings, Video
from mefusion.datasets.reading.tables import Coding, read_sheets


class CasmeCubedRecordings(OfficialRecordings):
    """CAS(ME)^3, part A: frames as in `part_A/spNO.1/a/color/166.jpg`; a recording is a subject's letter, `spNO.1_a`.

    Micro-expressions come from the same table, with the same corrections, as the clips of `data=cas_me_3`;
    macro-expressions from a table of their own. Its columns have different names in its versions: any of
    `macro_columns` is taken. Without that table there are no true macro-expressions, which is told as a problem.
    """

    dataset = "cas_me_3_long"
    clip_dataset = "cas_me_3"
    fps = 30
    letter = re.compile(r"[a-m]", re.IGNORECASE)
    macro_tables = (
        "cas(me)3_part_A_MaE_label_JpgIndex_v2_emotion.xlsx",
        "cas(me)3_part_A_MaE_label_JpgIndex_v2.xlsx",
    )
    macro_columns: Mapping[str, Sequence[str]] = {
        "subject": ("subject", "sub"),
        "letter": ("filename", "seq"),
        "onset": ("onset",),
        "apex": ("apex",),
        "offset": ("offset",),
        "action_units": ("au", "aus"),
        "emotion": ("emotion",),
    }
    macro_required = ("subject", "letter", "onset", "offset")

    def __init__(self, *, root: str, name: str | None = None):
        super().__init__(root=root, name=name)
        self._clips = CasmeCubedSource(root=root, frames="raw")

    def videos(self) -> Iterable[Video]:
        """See `OfficialRecordings.videos`."""
        tree = self._clips.frame_tree()
        for folder in matching_folders(tree, self._clips.entry_folders["raw"]):
            subject = self._clips.subject(folder.name)
            for letter in matching_folders(descend(tree, folder.name, root=self.root), self.letter):
                path = descend(tree, folder.name, letter.name, "color", root=self.root)
                yield Video(subject, f"{subject}_{letter.name.lower()}", path)

    def coded(self, videos: Sequence[Video]) -> Iterator[CodedExpression]:
        """See `OfficialRecordings.coded`."""
        yield from map(self._micro, self._clips.table_rows())
        try:
            path = find_file(self.root, self.macro_tables, stop=self._clips.subject_folder)
        except MefusionError as error:
            self.problems.append(f"{self.dataset}: {error}; without it no macro-expression is known")
            return
        for cells in self._macro_rows(path):
            yield self._expression(cells, "macro")

    def _micro(self, cells: dict[str, str]) -> CodedExpression:
        subject, clip = self._clips.subject(cells["subject"]), self._clips.clip_id(cells)
        coding = Coding(dict(cells))
        coding.correct(known for known in self._clips.corrections if known.clip == f"{subject}/{clip}")
        self.problems += [f"{self.dataset}: {subject}/{clip}: {note}" for note in coding.notes]
        return self._expression(coding.cells, "micro")

    def _expression(self, cells: Mapping[str, str], kind: str) -> CodedExpression:
        recording = f"{self._clips.subject(cells['subject'])}_{cells['letter'].lower()}"
        return CodedExpression(
            recording=recording,
            row=f"{recording} ({kind}, onset {cells['onset']})",
            kind=kind,
            onset=cells["onset"],
            apex=cells.get("apex", ""),
            offset=cells["offset"],
            emotion=cells.get("emotion", ""),
            action_units=cells.get("action_units", ""),
        )

    def _macro_rows(self, path: Path) -> Iterator[dict[str, str]]:
        for rows in read_sheets(path):
            for number, row in enumerate(rows):
                names = [re.sub(r"\s+", "", cell).lower() for cell in row]
                places = {
                    key: names.index(name)
                    for key, known in self.macro_columns.items()
                    for name in known
                    if name in names
                }
                if all(key in places for key in self.macro_required):
                    for below in rows[number + 1 :]:
                        cells = {key: below[at] if at < len(below) else "" for key, at in places.items()}
                        if cells["subject"] and cells["letter"]:
                            yield cells
                    return
        raise MefusionError(
            f"{path} has no header: a row must name the columns "
            f"{', '.join(' or '.join(self.macro_columns[key]) for key in self.macro_required)}"
        )
