"""Stage extract: from videos to segments of speech with their speakers, and subjects over all videos.

Each video has a folder below `videos/`, whose file `DONE` is written last: a video that was interrupted is begun anew,
and one that is done is not read again.
"""

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.extraction.settings import ExtractSettings, IdentitySettings, Speaker, Transcript, Vad
from mefusion.annotation.extraction.speaker import make_scorer
from mefusion.annotation.extraction.speech import INSTALL
from mefusion.annotation.extraction.subjects import assign_subjects, read_subjects
from mefusion.annotation.extraction.tracks import EMBEDDING
from mefusion.annotation.extraction.video import Video, extract_video
from mefusion.annotation.running import run_on_videos
from mefusion.clips.stream import Stream
from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, write_table
from mefusion.spotting.listing import list_recordings

REJECTED_COLUMNS = ("stage", "video", "segment", "start", "end", "reason")
"""Columns of `rejected.csv`: a row for each video or segment that gives no clip; without a segment, the whole video."""


@dataclass(frozen=True)
class Extracted:
    """What stage extract gave.

    Attributes:
        segments: with a speaker.
        rejected: number of videos and segments without one.
        problems: a sentence for each video that cannot be read.
    """

    segments: list[Segment]
    rejected: int
    problems: list[str]


def extract(
    source: Path,
    output: Path,
    settings: ExtractSettings,
    identity: IdentitySettings,
    *,
    workers: int | None = None,
    quiet: bool = False,
) -> Extracted:
    """Extract all videos of a folder that are not done yet, and find their subjects.

    Args:
        source: a folder of videos, or one video.
        output: folder of the run.
        settings: of extraction.
        identity: of subjects.
        workers: number of videos at once; None means one for each core.
        quiet: whether the progress is told.

    Raises:
        MefusionError: there is no video, or a package is not installed.
    """
    if not source.exists():
        raise MefusionError(f"source.path={source} is not there: give a folder of videos, or one video")
    _require_packages(settings)
    videos = [Video(name, path, output / "videos" / name, settings) for name, path in list_recordings([source]).items()]
    remove_leftovers(output)
    waiting = [video for video in videos if not video.done]
    lengths = [_length(video) for video in waiting]
    done = run_on_videos(
        extract_video, waiting, seconds=lengths, description="Extracting", workers=workers, quiet=quiet
    )
    problems = [result for _, result in done if isinstance(result, str)]
    find_subjects(output, identity)
    media = {folder.name: facts for folder, facts in _done_videos(output)}
    rejected = [{"video": name, **row} for name, facts in media.items() for row in facts["rejected"]]
    write_rejected(output, "extract", rejected)
    return Extracted(read_segments(output), len(rejected), problems)


def find_subjects(output: Path, settings: IdentitySettings) -> None:
    """Write `identities.csv`: the subject of each track that speaks, over all videos.

    Raises:
        MefusionError: the table is there and cannot be read.
    """
    rows, means = [], []
    for folder, facts in _done_videos(output):
        segments = pd.read_parquet(folder / "segments.parquet")
        if segments.empty:
            continue
        embeddings = pd.read_parquet(folder / "embeddings.parquet").set_index("track")
        for track, count in segments.groupby("track").size().items():
            start, end = facts["tracks"][str(track)]
            rows.append({"video": folder.name, "track": track, "start": start, "end": end, "segments": count})
            own = embeddings.loc[[track], [*EMBEDDING]] if track in embeddings.index else None
            means.append(np.full(len(EMBEDDING), np.nan) if own is None else own.to_numpy(float).mean(axis=0))
    tracks = pd.DataFrame(rows, columns=["video", "track", "start", "end", "segments"])
    assign_subjects(tracks, np.array(means).reshape(-1, len(EMBEDDING)), settings, output / "identities.csv")


def read_segments(output: Path) -> list[Segment]:
    """All segments of a run, with the subjects that `identities.csv` has now.

    Raises:
        MefusionError: nothing was extracted, or the table of subjects lacks a track.
    """
    found: list[Segment] = []
    subjects: Mapping[tuple[str, int], str] | None = None
    file = output / "identities.csv"
    for folder, facts in _done_videos(output):
        for row in pd.read_parquet(folder / "segments.parquet").to_dict("records"):
            subjects = read_subjects(file) if subjects is None else subjects
            key = (folder.name, int(row["track"]))
            if key not in subjects:
                raise MefusionError(f"{file} lacks track {key[1]} of {key[0]}: run stage=extract again")
            found.append(
                Segment(
                    name=row["name"],
                    video=folder.name,
                    path=Path(facts["path"]),
                    start=row["start"],
                    end=row["end"],
                    track=key[1],
                    subject=subjects[key],
                    transcript=row["transcript"],
                    articulation=row["articulation"],
                    sync=row["sync"],
                )
            )
    return found


def write_rejected(output: Path, stage: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a stage's rows of `rejected.csv` in place of its earlier ones; those of other stages stay.

    Args:
        output: folder of the run.
        stage: name.
        rows: with `REJECTED_COLUMNS`; stage may be missing, and start and end of a whole video.
    """
    file = output / "rejected.csv"
    before = pd.DataFrame(columns=[*REJECTED_COLUMNS])
    if file.is_file():
        try:
            texts = dict.fromkeys(("stage", "video", "segment", "reason"), str)
            empty = {"start": [""], "end": [""]}  # a video may be called NA
            before = pd.read_csv(file, dtype=texts, keep_default_na=False, na_values=empty)
            before = before[before["stage"] != stage]
        except (ValueError, KeyError):  # it is written anew by all stages
            pass
    table = pd.DataFrame([{**row, "stage": stage} for row in rows], columns=[*REJECTED_COLUMNS])
    joined = [part for part in (before, table) if len(part)] or [table]
    write_table(file, pd.concat(joined)[[*REJECTED_COLUMNS]].round({"start": 3, "end": 3}))


def _done_videos(output: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and `media.json` of each video that is done, in the order of their names."""
    for file in sorted((output / "videos").glob("*/DONE")):
        try:
            yield file.parent, json.loads((file.parent / "media.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MefusionError(f"{file.parent} is damaged: delete it, and extract again") from error


def _length(video: Video) -> float:
    """Length of a video, s; for the progress alone."""
    try:
        return Stream(video.path).facts().seconds
    except MefusionError:  # told when it is extracted
        return 0.0


def _require_packages(settings: ExtractSettings) -> None:
    wanted = [("silero_vad", "mefusion-annotate", INSTALL)]
    if settings.vad.name == Vad.webrtc:
        wanted.append(("webrtcvad", "vad=webrtc", "pip install webrtcvad-wheels"))
    if settings.transcript.name == Transcript.faster_whisper:
        wanted.append(("faster_whisper", "transcript=faster_whisper", "pip install faster-whisper"))
    for package, setting, install in wanted:
        if importlib.util.find_spec(package) is None:
            raise MefusionError(f"{setting} needs the package {package}: {install}")
    if settings.speaker.name == Speaker.onnx:
        make_scorer(settings.speaker)  # a network that cannot be loaded is told before anything is read
