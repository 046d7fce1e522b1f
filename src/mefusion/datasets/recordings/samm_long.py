"""SAMM Long Videos (Yap, Kendrick and Yap, FG 2020)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mefusion.common.errors import MefusionError
from mefusion.datasets.reading.folders import find_file
from mefusion.datasets.reading.recordings import CodedExpression, OfficialRecordings, Video, find_recordings
from mefusion.datasets.reading.tables import read_table
from mefusion.datasets.samm import SammSource


class SammLongRecordings(OfficialRecordings):
    """SAMM Long Videos: 147 recordings; frames as in `SAMM_longvideos/006_1/006_1_0001.jpg`.

    An expression's name is that of its recording and a number: `006_1_2` is in `006_1`. The table has no emotions. If
    the table of SAMM's micro-expressions lies in the download too, those of the same name have theirs from there.
    """

    dataset = "samm_long"
    clip_dataset = "samm"
    fps = 200
    official: Mapping[str, int] = {"recordings": 147, "micro": 159, "macro": 343}
    recording_name = re.compile(r"\d{3}_\d+")
    tables = tuple(f"SAMM_LongVideos_V{version}_Release.xlsx" for version in (3, 2, 1))
    columns: Mapping[str, str] = {
        "Subject": "subject",
        "Filename": "expression",
        "Onset": "onset",
        "Apex": "apex",
        "Offset": "offset",
        "Type": "kind",
        "Action Units": "action_units",
    }

    def videos(self) -> Iterable[Video]:
        """See `OfficialRecordings.videos`."""
        for path in find_recordings(self.root, self.recording_name):
            yield Video(path.stem.split("_")[0], path.stem, path)

    def coded(self, videos: Sequence[Video]) -> Iterator[CodedExpression]:
        """See `OfficialRecordings.coded`."""
        emotions = self._emotions()
        for cells in read_table(find_file(self.root, self.tables, stop=self.recording_name), self.columns):
            name = re.match(r"0*(\d+)_(\d+)_", cells["expression"])
            micro = cells["kind"].lower().startswith("micro")
            yield CodedExpression(
                recording=f"{int(name[1]):03d}_{name[2]}" if name else None,
                row=f"{cells['expression']} (onset {cells['onset']})",
                kind=cells["kind"],
                onset=cells["onset"],
                apex=cells["apex"],
                offset=cells["offset"],
                emotion=emotions.get(cells["expression"], "") if micro else "",
                action_units=cells["action_units"],
            )

    def _emotions(self) -> dict[str, str]:
        """Emotion of each of SAMM's micro-expressions; empty if its table is not there."""
        try:
            path = find_file(self.root, SammSource.tables, stop=self.recording_name)
        except MefusionError:
            return {}
        return {cells["clip"]: cells["emotion"] for cells in read_table(path, SammSource.columns)}
