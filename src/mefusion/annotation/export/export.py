"""Stage export: clips of the segments, and the tables that other commands and people read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mefusion.annotation.export.clips import ClipsOfVideo, export_video
from mefusion.annotation.extraction.extraction import read_segments, write_rejected
from mefusion.annotation.extraction.segments import Segment
from mefusion.annotation.extraction.settings import ExportSettings
from mefusion.annotation.running import run_on_videos
from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, write_table, write_text

DATASET = "annotated"
NOTICE = "labels of a model, not truth"
MANIFEST_COLUMNS = (
    "clip_id", "subject", "path", "emotion", "onset", "apex", "offset", "fps", "dataset", "landmarks",
)  # fmt: skip
"""Columns of `manifest.csv`; see `mefusion.datasets.manifest.read_manifest`."""

LABEL_COLUMNS = ("dominant", "emotions", "rationale", "n_runs", "agreement")
"""Columns of the labels that `annotations.parquet` takes over."""


@dataclass(frozen=True)
class Exported:
    """What stage export gave.

    Attributes:
        clips: number of rows of the manifest.
        rejected: number of segments that gave no clip.
        problems: a sentence for each video that cannot be read any more.
    """

    clips: int
    rejected: int
    problems: list[str]


def export(
    output: Path,
    labels: pd.DataFrame | None,
    mapping: Mapping[str, str],
    settings: ExportSettings,
    *,
    workers: int | None = None,
    quiet: bool = False,
) -> Exported:
    """Make a clip of each segment that has a label, and write `manifest.csv` and `annotations.parquet` and `.jsonl`.

    Args:
        output: folder of the run.
        labels: a row for each labelled segment: segment, `LABEL_COLUMNS` and status; one without a dominant emotion is
            not exported. None means that nothing was labelled: then all segments are exported, without an emotion.
        mapping: emotion of the manifest for each label; a label that it lacks stays as it is.
        settings: of export.
        workers: number of videos at once; None means one for each core.
        quiet: whether the progress is told.

    Raises:
        MefusionError: nothing was extracted.
    """
    if not any(output.glob("videos/*/DONE")):
        raise MefusionError(f"{output} has no extracted video: run stage=extract with source.path=DIR first")
    segments = read_segments(output)
    remove_leftovers(output)
    known = {} if labels is None else {str(row["segment"]): row for row in labels.to_dict("records")}
    rejected = []
    if labels is not None:
        rejected = [
            _rejected(segment, str(known.get(segment.name, {}).get("status", "not labelled")))
            for segment in segments
            if not _dominant(known.get(segment.name))
        ]
        write_rejected(output, "label", rejected)
        segments = [segment for segment in segments if _dominant(known.get(segment.name))]
    jobs = _jobs(output, segments, settings)
    lengths = [job.segments[-1].end for job in jobs]
    done = run_on_videos(export_video, jobs, seconds=lengths, description="Exporting", workers=workers, quiet=quiet)
    problems = [result for _, result in done if isinstance(result, str)]
    rows, annotations, lost = [], [], []
    for job in jobs:
        for segment in job.segments:
            facts = job.facts_of(segment)
            if facts is None:
                continue
            label = known.get(segment.name, {})
            annotation = _annotation(segment, label, mapping)
            annotations.append(annotation)
            if not facts["events"]:
                lost.append(_rejected(segment, "no motion of the face is found"))
            rows += _manifest_rows(annotation, facts)
    write_rejected(output, "export", lost)
    write_table(output / "manifest.csv", pd.DataFrame(rows, columns=[*MANIFEST_COLUMNS]))
    write_annotations(output, annotations)
    return Exported(len(rows), len(rejected) + len(lost), problems)


def write_annotations(output: Path, annotations: Sequence[Mapping[str, Any]]) -> None:
    """Write `annotations.parquet` and `annotations.jsonl`: a row for each segment."""
    lines = [json.dumps(each, ensure_ascii=False) for each in annotations]
    write_text(output / "annotations.jsonl", "".join(f"{line}\n" for line in lines))
    write_table(output / "annotations.parquet", pd.DataFrame(annotations))


def _jobs(output: Path, segments: Sequence[Segment], settings: ExportSettings) -> list[ClipsOfVideo]:
    by_video: dict[str, list[Segment]] = {}
    for segment in segments:
        by_video.setdefault(segment.video, []).append(segment)
    jobs = []
    for name, own in by_video.items():
        folder = output / "videos" / name
        identity = (folder / "DONE").read_text(encoding="utf-8").strip()
        ordered = sorted(own, key=lambda segment: segment.start)
        jobs.append(ClipsOfVideo(ordered, folder, output / "clips", identity, settings))
    return jobs


def _annotation(segment: Segment, label: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    dominant = _dominant(label)
    return {
        "segment": segment.name,
        "path": f"clips/{segment.name}.mp4",
        "wav": f"clips/{segment.name}.wav",
        "video": str(segment.path),
        "start": segment.start,
        "end": segment.end,
        "subject": segment.subject,
        "transcript": segment.transcript,
        **{name: _plain(label.get(name)) for name in LABEL_COLUMNS},
        "mapped": mapping.get(dominant, dominant) if dominant else None,
        "articulation": _plain(segment.articulation),
        "sync": _plain(segment.sync),
        "notice": NOTICE if dominant else None,
    }


def _manifest_rows(annotation: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each event of a segment; `<segment>-<number>` where there are several."""
    name, events = annotation["segment"], facts["events"]
    return [
        {
            "clip_id": name if len(events) == 1 else f"{name}-{number}",
            "subject": annotation["subject"],
            "path": annotation["path"],
            "emotion": annotation["mapped"] or "",
            **event,
            "fps": facts["fps"],
            "dataset": DATASET,
            "landmarks": f"clips/{name}.npy",
        }
        for number, event in enumerate(events, 1)
    ]


def _dominant(label: Mapping[str, Any] | None) -> str | None:
    found = (label or {}).get("dominant")
    return found if isinstance(found, str) and found else None


def _rejected(segment: Segment, reason: str) -> dict[str, Any]:
    return {
        "video": segment.video,
        "segment": segment.name,
        "start": segment.start,
        "end": segment.end,
        "reason": reason,
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it: numpy's numbers and arrays as Python's, and None for NaN."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
