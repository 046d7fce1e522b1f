"""The long videos of CAS(ME)^2 (Qu et al., IEEE Transactions on Affective Computing 2018)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mefusion.datasets.cas_me_2 import CasmeSquaredSource
from mefusion.datasets.reading.recordings import (
    CodedExpression,
    OfficialRecordings,
    Video,
    find_recordings,
    frame_number,
)


class CasmeSquaredRecordings(OfficialRecordings):
    """CAS(ME)^2: frames as in `rawpic/s15/15_0101disgustingteeth/img001.jpg`, or videos as in `rawvideo/s15/`.

    A recording's name is the subject's number, the code of the video and its title. The table's naming rules lead from
    an expression such as `anger1_1` to subject and code; its frame numbers are those of `rawpic`, from 1.
    """

    dataset = "cas_me_2_long"
    clip_dataset = "cas_me_2"
    fps = 30
    official: Mapping[str, int] = {"recordings": 97, "micro": 57, "macro": 300}
    recording_name = re.compile(r"\d{1,2}_\d{4}.*")
    avoid = re.compile(r".*(cropped|selected).*", re.IGNORECASE)

    def videos(self) -> Iterable[Video]:
        """See `OfficialRecordings.videos`."""
        for path in find_recordings(self.root, self.recording_name, avoid=self.avoid):
            yield Video(CasmeSquaredSource.subject(path.stem.split("_")[0]), path.stem, path)

    def coded(self, videos: Sequence[Video]) -> Iterator[CodedExpression]:
        """See `OfficialRecordings.coded`."""
        names = {(video.subject, video.recording.split("_")[1][:4]): video.recording for video in videos}
        for cells in CasmeSquaredSource(root=str(self.root), frames="raw").coded_rows():
            row = f"{cells['subject']}/{cells['clip']} (onset {cells['onset']})"
            yield CodedExpression(
                recording=names.get((CasmeSquaredSource.subject(cells["subject"]), cells["video"])),
                row=row,
                kind=cells["type"],
                onset=cells["onset"],
                apex="" if cells["apex"] == "0" else cells["apex"],
                offset=self._offset(row, cells),
                emotion=cells["emotion"],
                action_units=cells["action_units"],
            )

    def _offset(self, row: str, cells: Mapping[str, str]) -> str:
        """The offset; one of 0 was not coded, and the expression is taken to end as slowly as it began."""
        onset, apex = frame_number(cells["onset"]), frame_number(cells["apex"])
        if cells["offset"] != "0" or onset is None or not apex:
            return cells["offset"]
        self.problems.append(
            f"{self.dataset}: {row}: offset 0 means that it was not coded: {2 * apex - onset}, as far from the apex "
            f"{apex} as the onset, is used"
        )
        return str(2 * apex - onset)
