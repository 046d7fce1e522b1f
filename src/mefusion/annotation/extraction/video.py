"""From one video to segments of speech with their speakers."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mefusion.annotation.extraction.contents import segment_pictures
from mefusion.annotation.extraction.media import Sound, read_sound, streams_of
from mefusion.annotation.extraction.segments import Segment, Span, cut_segments
from mefusion.annotation.extraction.settings import ExtractSettings
from mefusion.annotation.extraction.speaker import (
    FACE_RATE,
    FACE_SIDE,
    Candidate,
    Scores,
    SpeakerScorer,
    face_picture,
    make_scorer,
)
from mefusion.annotation.extraction.speech import find_speech, make_detector
from mefusion.annotation.extraction.subjects import face_file
from mefusion.annotation.extraction.tracks import BOX, follow_faces, landmarks_of, read_track_rows, write_tracks
from mefusion.annotation.extraction.transcripts import transcribe
from mefusion.clips.cache import settings_hash
from mefusion.clips.stream import Stream
from mefusion.clips.video import write_image
from mefusion.common.errors import MefusionError
from mefusion.common.files import replacing, write_table, write_text

EXTRACTION = 1  # raise it when a change of the code makes the same settings give other segments
FACE_SIZE = 192  # px, of the picture of a track
GAP = 0.2  # s; a face that is not seen for longer is not there

SEGMENT_COLUMNS = {
    "name": "string",
    "start": "float64",
    "end": "float64",
    "track": "int32",
    "transcript": "string",
    "articulation": "float64",
    "sync": "float64",
    "network": "float64",
}
"""Columns of `segments.parquet`: a row for each segment with a speaker."""


@dataclass(frozen=True)
class Video:
    """A video to extract from.

    Attributes:
        name: of its folder.
        path: of the file.
        folder: of what is extracted.
        settings: of extraction.
    """

    name: str
    path: Path
    folder: Path
    settings: ExtractSettings

    def __str__(self) -> str:
        return str(self.path)

    @property
    def identity(self) -> str:
        """Hash of the file's facts and the settings: what was extracted under another one is of no use."""
        facts = self.path.stat()
        return settings_hash(
            {
                "file": (str(self.path), facts.st_size, facts.st_mtime_ns),
                "settings": asdict(self.settings),
                "version": EXTRACTION,
            }
        )

    @property
    def done(self) -> bool:
        """Whether it was extracted already, with these settings."""
        try:
            return (self.folder / "DONE").read_text(encoding="utf-8").strip() == self.identity
        except OSError:
            return False


def extract_video(video: Video, say: Callable[[float], None]) -> None:
    """Write a video's `media.json`, `tracks.parquet`, `embeddings.parquet`, `segments.parquet`, and `DONE` last.

    Raises:
        MefusionError: the video cannot be read, or not to its end.
    """
    kinds = {"video"} if video.path.is_dir() else streams_of(video.path)
    identity = video.identity
    shutil.rmtree(video.folder, ignore_errors=True)
    video.folder.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"path": str(video.path), "identity": identity, "problems": []}
    if kinds == {"video", "audio"}:
        facts |= _extract(video, say)
    else:
        missing = "no sound" if "video" in kinds else "no picture"
        facts["rejected"] = [_rejected(reason=missing)]
        write_table(video.folder / "segments.parquet", _segment_table([]))
    write_text(video.folder / "media.json", json.dumps(facts, indent=2))
    write_text(video.folder / "DONE", f"{identity}\n")


def _extract(video: Video, say: Callable[[float], None]) -> dict[str, Any]:
    """Extract a video that has picture and sound; what `media.json` tells of it."""
    settings, folder = video.settings, video.folder
    stream, sound = Stream(video.path), Sound(video.path)
    media = stream.facts()
    speech = find_speech(sound.blocks(), make_detector(settings.vad), settings.vad)
    _require_whole(sound.problem, settings)
    facts: dict[str, Any] = {**asdict(media), "speech": speech, "problems": [sound.problem] if sound.problem else []}
    if not cut_segments(speech, [], np.inf, settings.segments):
        reason = "no speech" if not speech else f"no speech of {settings.segments.shortest:g} s"
        write_table(folder / "segments.parquet", _segment_table([]))
        return facts | {"rejected": [_rejected(reason=reason)]}
    with replacing(folder / "pieces.parquet") as temporary:
        followed = follow_faces(stream, temporary, speech, say=say)
        _require_whole(stream.problem, settings)
        spans = write_tracks(temporary, folder, followed)
    (folder / "pieces.parquet").unlink()
    segments = cut_segments(speech, followed.cuts, followed.end, settings.segments)
    rows, rejected = _find_speakers(video, segments, stream)
    words = transcribe(video.path, [(row["start"], row["end"]) for row in rows], settings.transcript)
    for row, text in zip(rows, words, strict=True):
        row["transcript"] = text
    _write_faces(video, rows)
    if not segments:
        rejected = [_rejected(reason=f"no speech of {settings.segments.shortest:g} s in one scene")]
    write_table(folder / "segments.parquet", _segment_table(rows))
    return facts | {
        "cuts": followed.cuts,
        "frames": followed.frames,
        "end": followed.end,
        "tracks": {str(track): span for track, span in spans.items()},
        "rejected": rejected,
        "problems": [*facts["problems"], *([stream.problem] if stream.problem else [])],
    }


def _require_whole(problem: str | None, settings: ExtractSettings) -> None:
    if problem and not settings.allow_broken:
        raise MefusionError(f"{problem}: replace it, or give allow_broken=true to use it up to there")


def _find_speakers(
    video: Video, segments: Sequence[Span], stream: Stream
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of segments with a speaker, and of those without."""
    scorer = make_scorer(video.settings.speaker)
    rows, rejected = [], []
    for number, (start, end) in enumerate(segments, 1):
        name = f"{video.name}-{number:03d}"
        found = _speaker(video, (start, end), stream, scorer)
        if isinstance(found, str):
            rejected.append(_rejected(segment=name, start=start, end=end, reason=found))
        else:
            rows.append({"name": name, "start": start, "end": end, "track": found[0], **asdict(found[1])})
    return rows, rejected


def _speaker(video: Video, segment: Span, stream: Stream, scorer: SpeakerScorer) -> tuple[int, Scores] | str:
    """The speaker's track with its scores, or why there is none."""
    faces = read_track_rows(video.folder / "tracks.parquet", *segment)
    if faces.empty:
        return "no face"
    tracks = {int(track): rows for track, rows in faces.groupby("track")}
    seen = {track: rows for track, rows in tracks.items() if _covered(rows, segment) >= video.settings.speaker.coverage}
    if not seen:
        return "no face is seen throughout"
    sound = read_sound(video.path, *segment)
    pictures = _pictures(stream, seen, segment) if scorer.sees_faces else {}
    scores = {
        track: scorer.scores(
            Candidate(rows["time"].to_numpy() - segment[0], landmarks_of(rows), pictures.get(track)), sound
        )
        for track, rows in seen.items()
    }
    chosen = scorer.choose(scores)
    return "nobody articulates" if chosen is None else (chosen, scores[chosen])


def _write_faces(video: Video, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a picture of each track that speaks, by which people can tell who it is."""
    for row in {row["track"]: row for row in reversed(rows)}.values():
        segment = Segment(row["name"], video.name, video.path, row["start"], row["end"], row["track"], "")
        (face,) = segment_pictures(segment, video.folder.parents[1], count=1, size=FACE_SIZE, picture="face")
        path = video.folder / face_file(row["track"])
        path.parent.mkdir(exist_ok=True)
        write_image(path, Image.fromarray(face), quality=90)


def _covered(rows: pd.DataFrame, segment: Span) -> float:
    """Share of a segment in which a face is seen."""
    steps = np.diff(rows["time"].to_numpy(), prepend=segment[0], append=segment[1])
    longest = max(GAP, 1.5 * float(np.median(steps)))  # a few frames a second have long steps
    return float(steps[steps <= longest].sum() / (segment[1] - segment[0]))


def _pictures(stream: Stream, tracks: Mapping[int, pd.DataFrame], segment: Span) -> dict[int, np.ndarray]:
    """Faces of a segment as a network sees them: for each track [moments, 112, 112] grey, at 25 Hz."""
    count = int((segment[1] - segment[0]) * FACE_RATE)
    first = min((int(rows["frame"].iloc[0]), float(rows["time"].iloc[0])) for rows in tracks.values())
    boxes = {track: rows.set_index("frame")[[*BOX]] for track, rows in tracks.items()}
    faces = {track: np.full((count, FACE_SIDE, FACE_SIDE), 110, np.uint8) for track in tracks}
    moment = 0
    for frame in stream.frames(after=first):
        until = min(int(np.floor((frame.time - segment[0]) * FACE_RATE + 0.5)) + 1, count)
        for track, own in boxes.items():
            if frame.number in own.index and until > moment:
                faces[track][moment:] = face_picture(frame.grey, own.loc[frame.number].tolist())
        moment = max(moment, until)
        if moment >= count:
            break
    return faces


def _segment_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([*rows], columns=[*SEGMENT_COLUMNS]).astype(SEGMENT_COLUMNS)


def _rejected(
    *, reason: str, segment: str = "", start: float | None = None, end: float | None = None
) -> dict[str, Any]:
    return {"segment": segment, "start": start, "end": end, "reason": reason}
