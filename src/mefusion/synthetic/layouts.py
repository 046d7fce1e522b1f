"""Official layouts of the datasets: what is needed to write a small download with rendered faces."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters

from mefusion.common.errors import MefusionError


@dataclass(frozen=True)
class Row:
    """One clip of a download.

    Attributes:
        subject, clip, emotion: names as written in the download.
        onset, apex, offset: frame numbers; onset and offset are the first and the last frame.
        action_units: such as `4+7`.
    """

    subject: str
    clip: str
    emotion: str
    onset: int
    apex: int
    offset: int
    action_units: str = ""

    @property
    def subject_number(self) -> str:
        """The digits of the subject's name: `01` of `sub01`."""
        return self.subject.lstrip(ascii_letters)

    @property
    def length(self) -> int:
        """Number of frames from onset to offset."""
        return self.offset - self.onset + 1


WriteTable = Callable[[Path, Sequence[Row]], None]


@dataclass(frozen=True)
class Layout:
    """How one dataset's official download is laid out.

    Attributes:
        reader: override of the commands that selects the dataset's reader.
        subjects: names of all subjects.
        acted: emotion as written in the download -> (scheme, emotion) that the renderer shows.
        clip_name: (subject, emotion, number from 0) -> name of a clip.
        frame: path of a frame, a format string with `row` and `number`.
        write_table: function (folder, rows) that writes the annotation table; None if the download has none.
        grey: whether the frames are grey.
        flow: whether the download has one flow image for each clip instead of frames.
    """

    reader: str
    subjects: Sequence[str]
    acted: Mapping[str, tuple[str, str]]
    clip_name: Callable[[str, str, int], str]
    frame: str
    write_table: WriteTable | None = None
    grey: bool = False
    flow: bool = False


def get_layout(name: str) -> Layout:
    """Find a layout by its name.

    Raises:
        MefusionError: no layout has this name.
    """
    if name not in LAYOUTS:
        raise MefusionError(f"data.layout={name} is not known: choose from {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def _table(name: str, columns: Mapping[str, str]) -> WriteTable:
    """Make a function that writes a workbook with a header; `columns`: column of the workbook -> attribute of a row."""

    def write(folder: Path, rows: Sequence[Row]) -> None:
        _write_workbook(folder / name, [list(columns), *([getattr(row, a) for a in columns.values()] for row in rows)])

    return write


def _write_workbook(path: Path, *sheets: Sequence[Sequence[object]]) -> None:
    import openpyxl  # takes long, and a complete study is to say so at once

    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    book.save(path)


_THREE = {name: ("three", name) for name in ("negative", "positive", "surprise")}
_CASME2_SUBJECTS = [f"sub{number:02d}" for number in range(1, 27)]
_SMIC_OTHER_SUBJECTS = [f"s{number}" for number in (11, 12, 13, 14, 15, 18, 19, 20)]
_CAS_ME_2_SUBJECTS = [f"s{number}" for number in (15, 16, *range(19, 28), *range(29, 39), 40)]
_CAS_ME_2_VIDEOS = {  # a clip's name before its number -> code of the long video
    **{"disgust1": "0101", "disgust2": "0102", "anger1": "0401", "anger2": "0402"},
    **{"happy1": "0502", "happy2": "0503", "happy3": "0505", "happy4": "0507", "happy5": "0508"},
}
_CAS_ME_3_NUMBERS = (
    *(*range(1, 16), 17, *range(39, 43), 77, 138, 139, *range(142, 151), *range(152, 164)),
    *(*range(165, 191), *range(192, 199), *range(200, 205), *range(206, 218)),
)


def _casme2_clip(subject: str, emotion: str, number: int) -> str:
    return f"EP{number // 9 + 1:02d}_{number % 9 + 1:02d}{'f' * (number % 2)}"


def _smic(reader: str, camera: str, subjects: Sequence[str]) -> Layout:
    short = {"negative": "ne", "positive": "po", "surprise": "sur"}
    return Layout(
        reader=reader,
        subjects=subjects,
        acted=_THREE,
        clip_name=lambda subject, emotion, number: f"{subject}_{short[emotion]}_{number + 1:02d}",
        frame=f"SMIC_all_raw/{camera}/{{row.subject}}/micro/{{row.emotion}}/{{row.clip}}/image{{number:06d}}.jpg",
    )


def _cas_me_2_clip(subject: str, emotion: str, number: int) -> str:
    kinds = {"positive": ("happy",), "negative": ("disgust", "anger")}.get(emotion, ("",))
    videos = [video for video in _CAS_ME_2_VIDEOS if video.startswith(kinds)]
    return f"{videos[number % len(videos)]}_{number // len(videos) + 1}"


def _write_cas_me_2_table(folder: Path, rows: Sequence[Row]) -> None:
    """Write three sheets without a header: the codes, the numbers of the subjects, and the codes of the videos."""
    index = {subject: number for number, subject in enumerate(_CAS_ME_2_SUBJECTS, start=1)}
    kind = "micro-expression"
    codes = [
        [index[row.subject], row.clip, row.onset, row.apex, row.offset, row.action_units, row.emotion, kind]
        for row in rows
    ]
    subjects = [[subject[1:], subject, number] for subject, number in index.items()]
    videos = [[code, video] for video, code in _CAS_ME_2_VIDEOS.items()]
    _write_workbook(folder / "CAS(ME)^2code_final.xlsx", codes, subjects, videos)


def _write_flow_table(folder: Path, rows: Sequence[Row]) -> None:
    """Write the composite's CSV, with only the clips of CASME II."""
    with (folder / "combined_3_class.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["dataset", "sub", "filename_o", "label"])
        writer.writerows(["casme2", row.subject, row.clip, list(_THREE).index(row.emotion)] for row in rows)


LAYOUTS: Mapping[str, Layout] = {
    "casme2": Layout(
        reader="data=casme2",
        subjects=_CASME2_SUBJECTS,
        acted={name: ("five", name) for name in ("others", "disgust", "happiness", "repression", "surprise")},
        clip_name=_casme2_clip,
        frame="CASME2_RAW_selected/CASME2_RAW_selected/{row.subject}/{row.clip}/img{number}.jpg",
        write_table=_table(
            "CASME2-coding-20140508.xlsx",
            {
                **{"Subject": "subject_number", "Filename": "clip", "OnsetFrame": "onset", "ApexFrame": "apex"},
                **{"OffsetFrame": "offset", "Action Units": "action_units", "Estimated Emotion": "emotion"},
            },
        ),
    ),
    "samm": Layout(
        reader="data=samm",
        subjects=[f"{number:03d}" for number in (6, 7, *range(9, 27), 28, *range(30, 38))],
        acted={
            "Anger": ("seven", "anger"),
            "Other": ("seven", "others"),
            "Happiness": ("seven", "happiness"),
            "Surprise": ("seven", "surprise"),
            "Contempt": ("five", "others"),  # action unit 14; the renderer has no contempt, this emotion is the closest
        },
        clip_name=lambda subject, emotion, number: f"{subject}_{number // 9 + 1}_{number % 9 + 1}",
        frame="SAMM/{row.subject}/{row.clip}/{row.subject}_{number:05d}.jpg",
        write_table=_table(
            "SAMM_Micro_FACS_Codes_v2.xlsx",
            {
                **{"Subject": "subject", "Filename": "clip", "Onset Frame": "onset", "Apex Frame": "apex"},
                **{"Offset Frame": "offset", "Action Units": "action_units", "Estimated Emotion": "emotion"},
                **{"Objective Classes": "emotion"},  # used here in place of the class by action units alone
            },
        ),
        grey=True,
    ),
    "smic": _smic("data=smic", "HS", [*(f"s{number}" for number in (*range(1, 7), 8, 9)), *_SMIC_OTHER_SUBJECTS]),
    "smic_vis": _smic("data=smic data.modality=VIS", "VIS", _SMIC_OTHER_SUBJECTS),
    "smic_nir": _smic("data=smic data.modality=NIR", "NIR", _SMIC_OTHER_SUBJECTS),
    "cas_me_2": Layout(
        reader="data=cas_me_2",
        subjects=_CAS_ME_2_SUBJECTS,
        acted={**_THREE, "others": ("five", "others")},
        clip_name=_cas_me_2_clip,
        frame="selectedpic/{row.subject}/{row.clip}/img{number}.jpg",
        write_table=_write_cas_me_2_table,
    ),
    "cas_me_3": Layout(
        reader="data=cas_me_3",
        subjects=[f"spNO.{number}" for number in _CAS_ME_3_NUMBERS],
        acted={
            **{name: ("seven", name) for name in ("disgust", "surprise", "others", "fear", "anger")},
            **{"sad": ("seven", "sadness"), "happy": ("seven", "happiness")},
        },
        clip_name=lambda subject, emotion, number: "abcdefghijklm"[number % 13],
        frame="part_A/{row.subject}/{row.clip}/color/{number}.jpg",
        write_table=_table(
            "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
            {
                **{"Subject": "subject", "Filename": "clip", "Onset": "onset", "Apex": "apex", "Offset": "offset"},
                **{"AU": "action_units", "Objective class": "emotion", "emotion": "emotion"},
            },
        ),
    ),
    "flow_images": Layout(
        reader="data=flow_images",
        subjects=_CASME2_SUBJECTS,
        acted=_THREE,
        clip_name=_casme2_clip,
        frame="{row.subject}_{row.clip}.png",
        write_table=_write_flow_table,
        flow=True,
    ),
}
